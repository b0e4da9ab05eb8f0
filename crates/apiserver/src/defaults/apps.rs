//! Deployment and ReplicaSet. Source: pkg/apis/apps/v1/defaults.go.

use super::{Object, inner_or_new, set_default, text};

pub(super) fn deployment(object: &mut Object) {
    let Some(spec) = inner_or_new(object, "spec") else { return };
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = inner_or_new(spec, "strategy") else { return };
    set_default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = inner_or_new(strategy, "rollingUpdate")
    {
        set_default(rolling, "maxUnavailable", "25%");
        set_default(rolling, "maxSurge", "25%");
    }
}

pub(super) fn replica_set(object: &mut Object) {
    let Some(spec) = inner_or_new(object, "spec") else { return };
    set_default(spec, "replicas", 1);
}
