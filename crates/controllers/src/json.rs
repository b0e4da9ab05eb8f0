//! Reading the fields that all objects share out of JSON.

use api::Selector;
use serde_json::{Map, Value, json};

pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

pub fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

pub fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// resourceVersions are ordered numbers (KEP-5504).
pub fn resource_version(object: &Value) -> u64 {
    text(&object["metadata"]["resourceVersion"]).parse().unwrap_or(0)
}

pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

pub fn labels(object: &Value) -> Map<String, Value> {
    object["metadata"]["labels"].as_object().cloned().unwrap_or_default()
}

/// The owner that says it is the controller.
pub fn controller(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// What an object that `owner` controls says of it.
pub fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// How an Event names an object.
pub fn reference(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "namespace": namespace(object),
        "name": name(object),
        "uid": uid(object),
        "resourceVersion": object["metadata"]["resourceVersion"],
    })
}

/// Whether a `{key: value}` selector (a Service's) covers the labels of `object`. An empty one covers nothing.
pub fn covers(selector: &Value, object: &Value) -> bool {
    let Some(selector) = selector.as_object().filter(|selector| !selector.is_empty()) else { return false };
    let labels = &object["metadata"]["labels"];
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a label selector (matchLabels and matchExpressions) covers the labels of `object`.
pub fn selects(selector: &Value, object: &Value) -> bool {
    let Ok(selector) = serde_json::from_value::<api::selector::LabelSelector>(selector.clone()) else { return false };
    let Ok(selector) = Selector::try_from(&selector) else { return false };
    // Labels that are not text were refused by the API.
    let labels = serde_json::from_value::<Option<api::Map>>(object["metadata"]["labels"].clone()).unwrap_or_default();
    selector.matches(&labels.unwrap_or_default())
}

/// The condition of this type in `status.conditions`.
pub fn condition<'a>(object: &'a Value, condition_type: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == condition_type)
}

pub fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// A point in time as the API writes it.
pub fn time(value: &Value) -> Option<std::time::SystemTime> {
    let time = api::Time::parse(text(value))?;
    // Objects are never older than 1970.
    Some(std::time::UNIX_EPOCH + std::time::Duration::new(u64::try_from(time.seconds).ok()?, time.nanos))
}

/// `now` as the API writes it.
pub fn timestamp(now: std::time::SystemTime) -> Value {
    runtime::time::Rfc3339(now).to_string().into()
}
