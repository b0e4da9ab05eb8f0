use serde_json::{Value, json};

use super::*;

fn writer<'a>(manager: &'a str, time: &'a str) -> Writer<'a> {
    Writer { manager, operation: Operation::Update, subresource: "", time }
}

/// Defaults `new`, records the write, and gives the object.
fn written(old: Option<&Value>, new: Value, writer: Writer<'_>) -> Value {
    let schema = Schema::load();
    let gvk = Gvk::of(&new).expect("a kind");
    let mut new = new;
    crate::defaults::apply(&schema, &gvk, &mut new);
    update(&schema, &gvk, old, &mut new, writer);
    new
}

/// The entries, shortened to `manager operation time: fields`.
fn check(object: &Value, wanted: &[(&str, Value)]) {
    let entry = |entry: &Value| {
        let sub = entry.text("subresource");
        let name = format!(
            "{} {}{}{sub} {}",
            entry.text("manager"),
            entry.text("operation"),
            if sub.is_empty() { "" } else { "/" },
            entry.text("time")
        );
        (name, entry["fieldsV1"].clone())
    };
    let found: Vec<(String, Value)> = object["metadata"].items("managedFields").iter().map(entry).collect();
    let wanted: Vec<(String, Value)> = wanted.iter().map(|(name, fields)| ((*name).to_owned(), fields.clone())).collect();
    assert_eq!(found, wanted);
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}})
}

fn port() -> Value {
    json!({".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}})
}

#[test]
fn a_creator_owns_what_it_sent_and_what_defaults_added() {
    let object = written(None, service(), writer("me", "t1"));
    check(
        &object,
        &[(
            "me Update t1",
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
                "f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": port()}, "f:selector": {}, "f:sessionAffinity": {},
                    "f:type": {}},
            }),
        )],
    );
}

#[test]
fn ownership_moves_with_the_change() {
    let old = written(None, service(), writer("me", "t1"));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"x": "z", "w": "1"});
    new["spec"]["ports"] = json!([{"port": 80, "name": "n"}]);
    let new = written(Some(&old), new, writer("you", "t2"));
    check(
        &new,
        &[
            (
                "me Update t1",
                json!({
                    "f:metadata": {"f:labels": {}},
                    "f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": port()}, "f:selector": {},
                        "f:sessionAffinity": {}, "f:type": {}},
                }),
            ),
            (
                "you Update t2",
                json!({"f:metadata": {"f:labels": {"f:w": {}, "f:x": {}}}, "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}}}}),
            ),
        ],
    );
}

#[test]
fn what_is_removed_is_owned_by_nobody() {
    let old = written(None, service(), writer("me", "t1"));
    let mut new = old.clone();
    new["spec"]["ports"] = json!([{"port": 81}]);
    new["metadata"].as_object_mut().expect("an object").remove("labels");
    let new = written(Some(&old), new, writer("me", "t2"));
    check(
        &new,
        &[(
            "me Update t2",
            json!({"f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {}, "k:{\"port\":81,\"protocol\":\"TCP\"}": port()},
        "f:selector": {}, "f:sessionAffinity": {}, "f:type": {}}}),
        )],
    );
}

#[test]
fn a_write_that_changes_nothing_leaves_the_entries() {
    let old = written(None, service(), writer("me", "t1"));
    assert_eq!(written(Some(&old), old.clone(), writer("you", "t2")), old);
}

#[test]
fn status_is_owned_through_its_subresource() {
    let old = written(None, service(), writer("me", "t1"));
    let mut new = old.clone();
    new["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let new = written(Some(&old), new, Writer { subresource: "status", ..writer("lb", "t2") });
    let entries = new["metadata"].items("managedFields");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}}));
}

#[test]
fn sent_entries_replace_the_old_ones() {
    let old = written(None, service(), writer("me", "t1"));
    let mut new = old.clone();
    new["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:type": {}}}}]);
    check(&written(Some(&old), new.clone(), writer("me", "t2")), &[("kubectl Apply ", json!({"f:spec": {"f:type": {}}}))]);
    for reset in [json!([{}]), json!([])] {
        new["metadata"]["managedFields"] = reset;
        check(&written(Some(&old), new.clone(), writer("me", "t2")), &[]);
    }
}

#[test]
fn old_updates_are_merged() {
    let mut object = written(None, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}), writer("m", "t00"));
    for n in 10..30 {
        let mut new = object.clone();
        new["data"][format!("k{n}")] = "v".into();
        object = written(Some(&object), new, writer(&format!("m{n}"), &format!("t{n}")));
    }
    let entries = object["metadata"].items("managedFields");
    assert_eq!(entries.len(), MAX_UPDATE_MANAGERS);
    assert_eq!(entries[0]["manager"], ANCIENT);
    assert!(entries[0]["fieldsV1"]["f:data"].get("f:k10").is_some());
}

#[test]
fn any_objects_and_entries_are_taken() {
    let schema = Schema::load();
    let gvk = Gvk::parse("v1", "Service");
    let words = [
        "metadata",
        "spec",
        "ports",
        "port",
        "labels",
        "managedFields",
        "manager",
        "operation",
        "Update",
        "fieldsV1",
        "f:spec",
        "k:{}",
        ".",
        "v:1",
        "finalizers",
    ];
    let good = written(None, service(), writer("me", "t1"));
    let mut random = crate::testing::Random::new(17);
    for _ in 0..3_000 {
        let old = random.twist(&good, &words);
        let mut new = random.twist(&good, &words);
        update(&schema, &gvk, Some(&old), &mut new, writer("you", "t2"));
    }
}
