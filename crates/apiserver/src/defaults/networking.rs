//! IngressClass. Source: pkg/apis/networking/v1/defaults.go.

use super::{Object, set_default};

pub(super) fn class_parameters(parameters: &mut Object) {
    set_default(parameters, "scope", "Cluster");
}
