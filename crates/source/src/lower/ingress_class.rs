//! IngressClass.

use model::facts::IngressClass;

use super::Fields;

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn lower(class: &api::IngressClass, fields: &mut Fields<'_>) -> IngressClass {
    IngressClass {
        controller: fields.text(&class.spec.controller),
        is_default: class.metadata.annotations.0.get(IS_DEFAULT).is_some_and(|value| &**value == "true"),
    }
}
