//! Namespace, Node, Secret, PersistentVolumeClaim: the kinds with little to fill in. Source: pkg/apis/core/v1/defaults.go and conversion.go.

use base64::Engine as _;
use serde_json::Value;

use super::{Object, inner, inner_or_new, set_default, text};

pub(super) fn namespace(object: &mut Object) {
    let Some(name) = inner(object, "metadata").map(|meta| text(meta, "name").to_owned()).filter(|name| !name.is_empty()) else { return };
    if let Some(labels) = inner(object, "metadata").and_then(|meta| inner_or_new(meta, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

pub(super) fn namespace_status(status: &mut Object) {
    set_default(status, "phase", "Active");
}

/// `podCIDR` and `podCIDRs` say the same; the older field wins.
pub(super) fn node_spec(spec: &mut Object) {
    let first = spec.get("podCIDRs").and_then(|cidrs| cidrs.get(0)).and_then(Value::as_str).unwrap_or_default().to_owned();
    let single = text(spec, "podCIDR").to_owned();
    if single.is_empty() && !first.is_empty() {
        spec.insert("podCIDR".to_owned(), first.into());
    } else if !single.is_empty() && single != first {
        spec.insert("podCIDRs".to_owned(), vec![Value::from(single)].into());
    }
}

/// Fields of a feature that is off by default (CoordinatedLeaderElection).
pub(super) fn lease_spec(spec: &mut Object) {
    for field in ["strategy", "preferredHolder"] {
        spec.remove(field);
    }
}

pub(super) fn node_status(status: &mut Object) {
    if let (None, Some(capacity)) = (status.get("allocatable"), status.get("capacity")) {
        status.insert("allocatable".to_owned(), capacity.clone());
    }
}

/// `stringData` is a convenience of writers: it is folded into `data` and never shown.
pub(super) fn secret(object: &mut Object) {
    set_default(object, "type", "Opaque");
    if let Some(Value::Object(plain)) = object.remove("stringData")
        && !plain.is_empty()
        && let Some(data) = inner_or_new(object, "data")
    {
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(text).into());
        }
    }
}

pub(super) fn claim(object: &mut Object) {
    if let Some(status) = inner_or_new(object, "status") {
        set_default(status, "phase", "Pending");
    }
    if let Some(spec) = inner_or_new(object, "spec") {
        set_default(spec, "volumeMode", "Filesystem");
    }
}
