//! The two kinds of Event: one object, two sets of names. Stored is the core one.
//!
//! Source: pkg/apis/events/v1/conversion.go.

use serde_json::{Map, Value};

/// Field of `v1`, field of `events.k8s.io/v1`.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From core to `events.k8s.io`.
pub(super) fn outward(event: &mut Value) {
    let Some(event) = event.as_object_mut() else { return };
    for (core, other) in NAMES {
        rename(event, core, other);
    }
    // The core kind writes these when empty, the other one does not.
    for name in ["reportingController", "reportingInstance"] {
        if event.get(name).is_some_and(|value| value == "") {
            event.remove(name);
        }
    }
}

/// From `events.k8s.io` to core.
pub(super) fn inward(event: &mut Value) {
    let Some(event) = event.as_object_mut() else { return };
    for (core, other) in NAMES {
        rename(event, other, core);
    }
    for name in ["reportingComponent", "reportingInstance"] {
        event.entry(name).or_insert_with(|| "".into());
    }
}

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
