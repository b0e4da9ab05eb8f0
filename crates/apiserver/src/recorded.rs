//! Bodies and patches that kube-apiserver 1.37.2 was sent, and what it answered: decoding, defaults, patches, ownership and validation together
//! must give the same.
//!
//! `recorded/*.json` was written by sending each body with `dryRun=All&fieldValidation=Strict`, and each patch to the object made from `old`.
//! What a server fills in by itself (uid, times, addresses, node ports) is left out on both sides.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fields::{self, Operation, Writer};
use crate::schema::{Gvk, Schema};
use crate::value::Get;
use crate::{defaults, patch, validate};

/// One request and its answer, of which exactly one of the last four is there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    api_version: String,
    kind: String,
    body: Option<String>,
    old: Option<Value>,
    how: Option<String>,
    patch: Option<Value>,
    #[serde(default)]
    subresource: String,
    object: Option<Value>,
    /// Field, reason, message.
    causes: Option<Vec<[String; 3]>>,
    refused: Option<String>,
    #[serde(default)]
    unprocessable: bool,
}

/// What we answer.
#[derive(Debug, PartialEq)]
enum Answer {
    Object(Value),
    Causes(Vec<[String; 3]>),
    Refused(String),
    Unprocessable,
}

const CLUSTER_KINDS: [&str; 5] = ["Namespace", "Node", "IngressClass", "ServiceCIDR", "IPAddress"];

fn replay(file: &str) {
    let schema = Schema::load();
    let cases: Vec<Case> = serde_json::from_str(file).expect("recorded cases");
    assert!(cases.len() > 80, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let wanted = match (&case.object, &case.causes, &case.refused) {
            (Some(object), None, None) => Answer::Object(object.clone()),
            (None, Some(causes), None) => Answer::Causes(causes.clone()),
            (None, None, Some(text)) => Answer::Refused(text.clone()),
            _ => Answer::Unprocessable,
        };
        assert_eq!(wanted == Answer::Unprocessable, case.unprocessable);
        let mut found = answer(&schema, case);
        let mut wanted = wanted;
        // Go walks maps in any order.
        for answer in [&mut found, &mut wanted] {
            if let Answer::Causes(causes) = answer {
                causes.sort();
            }
        }
        if found != wanted {
            let request = case.body.clone().or_else(|| case.patch.as_ref().map(Value::to_string));
            wrong.push(format!("{} {}\n  wanted {wanted:?}\n  found  {found:?}", case.kind, request.unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn answer(schema: &Schema, case: &Case) -> Answer {
    let gvk = Gvk::parse(&case.api_version, &case.kind);
    let old = case.old.as_ref().map(|old| {
        let mut old = old.clone();
        complete(schema, &gvk, &mut old, None, "creator", "");
        old["metadata"]["uid"] = "u".into();
        old
    });
    let (mut new, mut faults) = match (&case.body, &case.patch, &old) {
        (Some(body), ..) => match validate::parse(body.as_bytes()) {
            Ok(parsed) => parsed,
            Err(text) => return Answer::Refused(text),
        },
        (None, Some(sent), Some(old)) => {
            let apply = match case.how.as_deref() {
                Some("json") => patch::json,
                Some("merge") => patch::merge,
                _ => patch::strategic,
            };
            match apply(schema, &gvk, old, sent) {
                Ok(new) => (new, Vec::new()),
                Err(patch::PatchError::Unprocessable(_)) => return Answer::Unprocessable,
                Err(error) => return Answer::Refused(error.to_string()),
            }
        }
        _ => panic!("a case is a body or a patch of an object"),
    };
    let refused = |text: &str| {
        let (kind, version) = (&gvk.kind, &gvk.version);
        Answer::Refused(format!("{kind} in version {version:?} cannot be handled as a {kind}: {text}"))
    };
    if let Err(text) = validate::structure(schema, &gvk, &new) {
        return refused(&text);
    }
    faults.extend(validate::unknown_fields(schema, &gvk, &new));
    if !faults.is_empty() {
        return refused(&format!("strict decoding error: {}", faults.join(", ")));
    }
    complete(schema, &gvk, &mut new, old.as_ref(), "patcher", &case.subresource);
    let causes = match &old {
        Some(old) if case.subresource == "status" => validate::status(schema, &gvk, &new, old),
        old => validate::object(schema, &gvk, &new, old.as_ref()),
    };
    if causes.is_empty() {
        return Answer::Object(shown(new, &gvk.kind, old.is_some()));
    }
    Answer::Causes(causes.into_iter().map(|cause| [cause.field, cause.reason.to_owned(), cause.message]).collect())
}

/// What verbs and hooks do between decoding and validation, as far as these cases need it.
fn complete(schema: &Schema, gvk: &Gvk, object: &mut Value, old: Option<&Value>, manager: &str, subresource: &str) {
    let meta = &mut object["metadata"];
    if meta.is_null() {
        *meta = json!({});
    }
    if !CLUSTER_KINDS.contains(&gvk.kind.as_str()) && !meta.has("namespace") {
        meta["namespace"] = "default".into();
    }
    defaults::apply(schema, gvk, object);
    fields::update(schema, gvk, old, object, Writer { manager, operation: Operation::Update, subresource, time: "2026-01-01T00:00:00Z" });
    let Some(spec) = object.get_mut("spec").filter(|spec| gvk.kind == "Service" && spec.is_object()) else { return };
    let has = |spec: &Value, field: &str| spec.has(field);
    if has(spec, "clusterIP") && !has(spec, "clusterIPs") {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    if spec.text("type") == "ExternalName" {
        return;
    }
    if !has(spec, "clusterIP") {
        spec["clusterIP"] = old.map_or("10.96.0.50".into(), |old| old["spec"]["clusterIP"].clone());
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    if !has(spec, "ipFamilies") {
        spec["ipFamilies"] = json!(["IPv4"]);
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
}

/// An object without what the server gives it.
fn shown(mut object: Value, kind: &str, with_managers: bool) -> Value {
    let managers = object["metadata"].items("managedFields").iter().map(|entry| {
        let key = (entry.text("manager").to_owned(), entry.text("subresource").to_owned());
        (key, entry["fieldsV1"].clone())
    });
    let managers: BTreeMap<_, _> = managers.collect();
    let mut drop = |pointer: &str, fields: &[&str]| {
        for field in fields {
            object.pointer_mut(pointer).and_then(Value::as_object_mut).map(|object| object.remove(*field));
        }
    };
    drop("/metadata", &["uid", "generation", "managedFields"]);
    if kind == "Service" {
        drop("/spec", &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"]);
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if with_managers {
        object["metadata"]["managedFields"] = managers.into_iter().map(|((name, sub), fields)| json!([name, sub, fields])).collect();
    }
    object
}

#[test]
fn services_and_their_endpoints() {
    replay(include_str!("../recorded/services-endpoints.json"));
}

#[test]
fn pods_and_deployments() {
    replay(include_str!("../recorded/pods-deployments.json"));
}

#[test]
fn the_other_kinds() {
    replay(include_str!("../recorded/other-kinds.json"));
}

#[test]
fn patches() {
    replay(include_str!("../recorded/patches.json"));
}
