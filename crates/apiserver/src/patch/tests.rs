use serde_json::{Value, json};

use super::*;
use crate::schema::{Gvk, Schema};

type Patch = fn(&Schema, &Gvk, &Value, &Value) -> Result<Value, PatchError>;

/// `patch` of a Service or Deployment (the one that has the fields) turns `before` into `after`, a value or an error's text.
fn check(how: Patch, before: &Value, patch: &Value, after: Result<Value, &str>) {
    let gvk = if before.pointer("/spec/template").is_some() { Gvk::parse("apps/v1", "Deployment") } else { Gvk::parse("v1", "Service") };
    let found = how(&Schema::load(), &gvk, before, patch).map_err(|error| error.to_string());
    assert_eq!(found, after.map_err(str::to_owned), "{before} patched with {patch}");
}

fn service(ports: Value) -> Value {
    json!({"metadata": {"finalizers": ["a", "b", "c"], "labels": {"x": "1", "y": "2"}}, "spec": {"ports": ports, "externalIPs": ["1", "2"]}})
}

fn ports(patch: Value, after: Result<Value, &str>) {
    let before = service(json!([{"port": 1, "name": "one"}, {"port": 2, "name": "two"}, {"port": 3, "name": "three"}]));
    check(strategic, &before, &json!({"spec": patch}), after.map(service));
}

#[test]
fn keyed_lists_merge_item_by_item() {
    ports(
        json!({"ports": [{"port": 2, "nodePort": 7}]}),
        Ok(json!([{"port": 1, "name": "one"}, {"port": 2, "name": "two", "nodePort": 7}, {"port": 3, "name": "three"}])),
    );
    // A new item stands before those that only the server has.
    ports(
        json!({"ports": [{"port": 9}]}),
        Ok(json!([{"port": 9}, {"port": 1, "name": "one"}, {"port": 2, "name": "two"}, {"port": 3, "name": "three"}])),
    );
    ports(
        json!({"ports": [{"port": 2, "name": null}]}),
        Ok(json!([{"port": 1, "name": "one"}, {"port": 2}, {"port": 3, "name": "three"}])),
    );
    ports(json!({"ports": [{"name": "x"}]}), Err("map: map[name:x] does not contain declared merge key: port"));
    ports(
        json!({"ports": ["x"]}),
        Err("list element types are not identical: [[map[name:one port:1] map[name:two port:2] map[name:three port:3]] [x]]"),
    );
}

#[test]
fn directives_delete_and_replace() {
    ports(json!({"ports": [{"$patch": "delete", "port": 2}]}), Ok(json!([{"port": 1, "name": "one"}, {"port": 3, "name": "three"}])));
    ports(json!({"ports": [{"$patch": "replace"}, {"port": 9}]}), Ok(json!([{"port": 9}])));
    ports(json!({"ports": [{"$patch": "odd", "port": 9}]}), Err("unknown patch type: odd in map: map[$patch:odd port:9]"));
    let before = json!({"spec": {"selector": {"a": "b"}}});
    check(
        strategic,
        &before,
        &json!({"spec": {"selector": {"$patch": "replace", "c": "d"}}}),
        Ok(json!({"spec": {"selector": {"c": "d"}}})),
    );
    check(strategic, &before, &json!({"spec": {"selector": {"$patch": "delete"}}}), Ok(json!({"spec": {"selector": {}}})));
    check(
        strategic,
        &before,
        &json!({"spec": {"selector": {"$patch": "explode"}}}),
        Err("unknown patch type: explode in map: map[$patch:explode]"),
    );
    check(strategic, &before, &json!({"spec": {"selector": null}}), Ok(json!({"spec": {}})));
}

#[test]
fn an_element_order_sorts_what_it_names() {
    // What kubectl apply sends when a port goes and another comes.
    ports(
        json!({"$setElementOrder/ports": [{"port": 4}, {"port": 3}, {"port": 1}], "ports": [{"port": 4, "name": "four"}, {"$patch": "delete", "port": 2}]}),
        Ok(json!([{"port": 4, "name": "four"}, {"port": 3, "name": "three"}, {"port": 1, "name": "one"}])),
    );
    ports(
        json!({"$setElementOrder/ports": [{"port": 3}, {"port": 1}]}),
        Ok(json!([{"port": 2, "name": "two"}, {"port": 3, "name": "three"}, {"port": 1, "name": "one"}])),
    );
    ports(
        json!({"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 2}]}),
        Err("The order in patch list:\n[map[port:2]]\n doesn't match $setElementOrder list:\n[map[port:1]]\n"),
    );
    ports(json!({"$setElementOrder": []}), Err("invalid patch format of setElementOrder list"));
    ports(json!({"$setElementOrder/bogus": []}), Err("unable to find api field in struct ServiceSpec for the json field \"bogus\""));
}

#[test]
fn lists_of_texts_merge_or_are_replaced_as_the_schema_says() {
    let before = service(json!([]));
    let mut after = before.clone();
    after["metadata"]["finalizers"] = json!(["d", "a", "b", "c"]);
    check(strategic, &before, &json!({"metadata": {"finalizers": ["d", "a"]}}), Ok(after.clone()));
    after["metadata"]["finalizers"] = json!(["a", "c"]);
    check(strategic, &before, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}), Ok(after.clone()));
    after["metadata"]["finalizers"] = json!(["c", "a", "d"]);
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a", "d"], "finalizers": ["d"]}});
    let found = strategic(&Schema::load(), &Gvk::parse("v1", "Service"), &before, &patch).expect("applies");
    assert_eq!(found, after);
    let mut after = before.clone();
    after["spec"]["externalIPs"] = json!(["3"]);
    check(strategic, &before, &json!({"spec": {"externalIPs": ["3"]}}), Ok(after));
}

#[test]
fn retained_keys_drop_all_others() {
    let before = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {"volumes": [
        {"name": "v", "emptyDir": {}}]}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}});
    let mut after = before.clone();
    after["spec"]["strategy"] = json!({"type": "Recreate"});
    check(strategic, &before, &patch, Ok(after));
    let patch = json!({"spec": {"template": {"spec": {"volumes": [{"$retainKeys": ["name", "secret"], "name": "v", "secret": {"secretName": "s"}}]}}}});
    let mut after = before.clone();
    after["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    check(strategic, &before, &patch, Ok(after));
    check(
        strategic,
        &before,
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
        Err("invalid patch format of retainKeys"),
    );
}

#[test]
fn what_is_new_carries_no_nulls_and_no_directives() {
    check(
        strategic,
        &json!({"spec": {}}),
        &json!({"spec": {"ports": [{"port": 1, "name": null}, {"$patch": "delete", "port": 2}]}, "status": {"a": null}}),
        Ok(json!({"spec": {"ports": [{"port": 1}]}, "status": {}})),
    );
}

#[test]
fn merge_patches_replace_lists_and_drop_nulls() {
    check(
        merge,
        &json!({"a": [1], "b": {"c": 1, "d": 2}}),
        &json!({"a": [2], "b": {"c": null, "e": {"f": null, "g": 1}}}),
        Ok(json!({"a": [2], "b": {"d": 2, "e": {"g": 1}}})),
    );
    check(
        merge,
        &json!({}),
        &json!([]),
        Err("error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
    );
}

#[test]
fn json_patches_do_as_rfc_6902_says() {
    let before = json!({"a": {"b": [1, 2]}, "x/y~": 1});
    for (patch, after) in [
        (json!([{"op": "add", "path": "/a/b/1", "value": 9}]), Ok(json!({"a": {"b": [1, 9, 2]}, "x/y~": 1}))),
        (json!([{"op": "add", "path": "/a/b/-", "value": 9}]), Ok(json!({"a": {"b": [1, 2, 9]}, "x/y~": 1}))),
        (json!([{"op": "add", "path": "/a/b/-1", "value": 9}]), Ok(json!({"a": {"b": [1, 2, 9]}, "x/y~": 1}))),
        (json!([{"op": "remove", "path": "/x~1y~0"}]), Ok(json!({"a": {"b": [1, 2]}}))),
        (json!([{"op": "replace", "path": "/a/b/0", "value": null}]), Ok(json!({"a": {"b": [null, 2]}, "x/y~": 1}))),
        (json!([{"op": "move", "from": "/a/b", "path": "/c"}]), Ok(json!({"a": {}, "c": [1, 2], "x/y~": 1}))),
        (json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/0"}]), Ok(json!({"a": {"b": [1, 1, 2]}, "x/y~": 1}))),
        (json!([{"op": "test", "path": "/a/b", "value": [1, 2]}, {"op": "test", "path": "/nope", "value": null}]), Ok(before.clone())),
        (json!([{"op": "test", "path": "/a/b/0", "value": 2}]), Err("testing value /a/b/0 failed")),
        (json!([{"op": "remove", "path": "/nope"}]), Err("the document has no /nope")),
        (json!([{"op": "replace", "path": "/nope", "value": 1}]), Ok(json!({"a": {"b": [1, 2]}, "x/y~": 1, "nope": 1}))),
        (json!([{"op": "replace", "path": "/a/b/2", "value": 1}]), Err("index 2 is out of range")),
        (json!([{"op": "add", "path": "", "value": {}}]), Err("the operation has no path")),
        (json!([{"op": "add", "path": "/a/b/7", "value": 1}]), Err("index 7 is out of range")),
        (json!([{"op": "add", "path": "/a/c/d", "value": 1}]), Err("the document has no /a/c")),
        (json!([{"op": "frob", "path": "/a"}]), Err("Unexpected kind: frob")),
        (json!([{"op": "add", "path": "/a"}]), Ok(json!({"a": null, "x/y~": 1}))),
        (json!({"a": 1}), Err("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")),
        (json!([{"op": 1}]), Err("error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string")),
    ] {
        check(super::json, &before, &patch, after);
    }
}

#[test]
fn null_is_a_patch_that_changes_nothing() {
    let before = json!({"a": 1});
    check(strategic, &before, &Value::Null, Ok(before.clone()));
    check(super::json, &before, &Value::Null, Ok(before.clone()));
    check(merge, &before, &Value::Null, Err("Invalid JSON Patch"));
}

#[test]
fn a_patch_cannot_grow_without_bound() {
    let grow: Vec<Value> = (0..200).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
    let (schema, gvk) = (Schema::load(), Gvk::parse("v1", "Service"));
    assert!(matches!(super::json(&schema, &gvk, &json!({"a": ["0123456789"]}), &Value::Array(grow)), Err(PatchError::Unprocessable(_))));
    let many = vec![json!({"op": "test", "path": "/x"}); 10_001];
    assert!(matches!(super::json(&schema, &gvk, &json!({}), &Value::Array(many)), Err(PatchError::TooLarge(_))));
}

#[test]
fn any_patch_gives_an_object_or_an_error() {
    let schema = Schema::load();
    let words = [
        "spec",
        "ports",
        "$patch",
        "delete",
        "replace",
        "merge",
        "$retainKeys",
        "$setElementOrder/ports",
        "port",
        "metadata",
        "finalizers",
        "name",
        "$deleteFromPrimitiveList/finalizers",
        "$setElementOrder/finalizers",
        "op",
        "path",
        "add",
        "/spec",
        "/spec/ports/-",
        "copy",
        "from",
        "value",
        "move",
    ];
    let object = service(json!([{"port": 1, "name": "one"}, {"port": 2}]));
    let patch = json!({"spec": {"$setElementOrder/ports": [{"port": 2}, {"port": 1}], "ports": [{"port": 2, "name": "x"}]}, "metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]}});
    let operations = json!([{"op": "copy", "from": "/spec", "path": "/spec/x"}, {"op": "add", "path": "/spec/ports/-", "value": {}}]);
    let gvk = Gvk::parse("v1", "Service");
    let mut random = crate::testing::Random::new(11);
    for _ in 0..5_000 {
        let object = random.twist(&object, &words);
        let _ = strategic(&schema, &gvk, &object, &random.twist(&patch, &words));
        let _ = merge(&schema, &gvk, &object, &random.twist(&patch, &words));
        let _ = super::json(&schema, &gvk, &object, &random.twist(&operations, &words));
    }
}
