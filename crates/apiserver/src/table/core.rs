//! The kinds with little to show.

use serde_json::Value;

use super::{Now, name};
use crate::value::Get;

fn count(object: &Value, field: &str) -> usize {
    object.at(field).as_object().map_or(0, |entries| entries.len())
}

pub(super) fn config_map(object: &Value, now: Now) -> Vec<Value> {
    let data = count(object, "data") + count(object, "binaryData");
    vec![name(object), data.into(), now.age(object)]
}

pub(super) fn secret(object: &Value, now: Now) -> Vec<Value> {
    vec![name(object), object.text("type").into(), count(object, "data").into(), now.age(object)]
}

pub(super) fn namespace(object: &Value, now: Now) -> Vec<Value> {
    vec![name(object), object.at("status").text("phase").into(), now.age(object)]
}

pub(super) fn lease(object: &Value, now: Now) -> Vec<Value> {
    vec![name(object), object.at("spec").text("holderIdentity").into(), now.age(object)]
}

pub(super) fn claim(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let phase = if object.at("metadata").has("deletionTimestamp") { "Terminating" } else { status.text("phase") };
    let bound = !spec.text("volumeName").is_empty();
    let modes = status.texts("accessModes").into_iter().map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    let modes: Vec<&str> = modes.collect();
    let unset = |field: &str| spec.at(field).as_str().unwrap_or("<unset>").to_owned();
    vec![
        name(object),
        phase.into(),
        spec.text("volumeName").into(),
        if bound { status.at("capacity").text("storage") } else { "" }.into(),
        if bound { modes.join(",") } else { String::new() }.into(),
        spec.text("storageClassName").into(),
        unset("volumeAttributesClassName").into(),
        now.age(object),
        unset("volumeMode").into(),
    ]
}
