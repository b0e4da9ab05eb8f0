//! Deployment, ReplicaSet, and their scale.

use serde_json::Value;

use super::{Now, name, or};
use crate::value::Get;

pub(super) fn deployment(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let ready = format!("{}/{}", status.int("readyReplicas"), spec.int("replicas"));
    let (containers, images) = containers(spec);
    vec![
        name(object),
        ready.into(),
        status.int("updatedReplicas").into(),
        status.int("availableReplicas").into(),
        now.age(object),
        containers,
        images,
        selector(spec.at("selector")).into(),
    ]
}

pub(super) fn replica_set(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let (containers, images) = containers(spec);
    let selector = selector(spec.at("selector"));
    vec![
        name(object),
        spec.int("replicas").into(),
        status.int("replicas").into(),
        status.int("readyReplicas").into(),
        now.age(object),
        containers,
        images,
        or(&selector, "<none>").into(),
    ]
}

pub(super) fn scale(object: &Value, now: Now) -> Vec<Value> {
    vec![name(object), object.at("spec").int("replicas").into(), object.at("status").int("replicas").into(), now.age(object)]
}

fn containers(spec: &Value) -> (Value, Value) {
    let containers = spec.at("template").at("spec").items("containers");
    let column = |field: &str| containers.iter().map(|container| container.text(field)).collect::<Vec<_>>().join(",");
    (column("name").into(), column("image").into())
}

/// A LabelSelector in the form of a request: `a=b,c in (d,e),!f`, by key.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = selector.pairs("matchLabels").map(|(key, value)| (key, format!("{key}={value}"))).collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key");
        let mut values = expression.texts("values");
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<invalid>".to_owned(),
        };
        parts.push((key, text));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}
