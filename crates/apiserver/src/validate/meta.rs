//! Metadata, the same for every kind. Source: apimachinery's pkg/api/validation/objectmeta.go.

use std::collections::HashSet;

use serde_json::Value;

use super::{Path, Report, names};
use crate::value::Get;

/// All annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;

pub(super) fn create(report: &mut Report, object: &Value, namespaced: bool, name_rule: fn(&str) -> Vec<String>) {
    let (path, meta) = (Path::new("metadata"), object.at("metadata"));
    let (name, generate) = (meta.text("name"), meta.text("generateName"));
    if !generate.is_empty() {
        // Five characters follow: a dash at the end is none of the name's.
        let start = match generate.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => {
                let mut kept = rest.chars();
                kept.next_back();
                format!("{}a", kept.as_str())
            }
            _ => generate.to_owned(),
        };
        report.faults(&path.child("generateName"), generate, name_rule(&start));
    }
    if name.is_empty() {
        report.required(&path.child("name"), "name or generateName is required");
    } else {
        report.faults(&path.child("name"), name, name_rule(name));
    }
    let namespace = meta.text("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => report.required(&path.child("namespace"), ""),
        (true, false) => report.faults(&path.child("namespace"), namespace, names::dns_label(namespace)),
        (false, false) => report.forbidden(&path.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    common(report, meta, &path);
    finalizers(report, &meta.texts("finalizers"), &path.child("finalizers"));
}

pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("metadata");
    let (new, old) = (new.at("metadata"), old.at("metadata"));
    if old.has("deletionTimestamp") {
        let before: HashSet<&str> = old.texts("finalizers").into_iter().collect();
        let mut added: Vec<&str> = new.texts("finalizers").into_iter().filter(|name| !before.contains(name)).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let added: Vec<String> = added.into_iter().map(names::quote).collect();
            let found = added.join(", ");
            let text = format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}");
            report.forbidden(&path.child("finalizers"), &text);
        }
    }
    report.not_negative(&path.child("generation"), new.int("generation"));
    if new.int("generation") < old.int("generation") {
        report.invalid(&path.child("generation"), new.int("generation"), "must not be decremented");
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        // What a writer left out, the server has kept.
        let (new, old) = (new.at(field), old.at(field));
        if new != old && !new.is_null() {
            report.invalid(&path.child(field), new.clone(), "field is immutable");
        }
    }
    common(report, new, &path);
}

fn common(report: &mut Report, meta: &Value, path: &Path) {
    labels(report, meta, "labels", &path.child("labels"));
    annotations(report, meta, &path.child("annotations"));
    owners(report, meta.items("ownerReferences"), &path.child("ownerReferences"));
}

/// Keys and values of a map of labels.
pub(super) fn labels(report: &mut Report, object: &Value, field: &str, path: &Path) {
    for (key, value) in object.pairs(field) {
        report.faults(path, key, names::label_key(key));
        report.faults(path, value, names::label_value(value));
    }
}

pub(super) fn annotations(report: &mut Report, meta: &Value, path: &Path) {
    let mut size = 0;
    for (key, value) in meta.pairs("annotations") {
        report.faults(path, key, names::label_key(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        report.too_long(path, MAX_ANNOTATIONS);
    }
}

fn owners(report: &mut Report, owners: &[Value], path: &Path) {
    let mut controller: Option<String> = None;
    for (index, owner) in owners.iter().enumerate() {
        let place = path.index(index);
        let version = owner.text("apiVersion");
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.text(field).is_empty() {
                report.required(&place.child(field), "must not be empty");
            } else if field == "apiVersion" && (version.matches('/').count() > 1 || version.ends_with('/')) {
                report.invalid(&place.child(field), version, "must be <group>/<version> or <version>");
            }
        }
        if version == "v1" && owner.text("kind") == "Event" {
            report.invalid(&place, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.flag("controller") {
            let name = format!("{}/{}", owner.text("kind"), owner.text("name"));
            match &controller {
                Some(first) => {
                    let text = "Only one reference can have Controller set to true. Found \"true\" in references for";
                    let order = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
                    let value = Value::Array(owners.to_vec());
                    report.invalid_in_order(path, &value, &order, &format!("{text} {first} and {name}"));
                }
                None => controller = Some(name),
            }
        }
    }
}

fn finalizers(report: &mut Report, finalizers: &[&str], path: &Path) {
    for finalizer in finalizers {
        report.faults(path, *finalizer, names::label_key(finalizer));
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        qualified(report, finalizer, &path.index(index));
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let value: Vec<Value> = finalizers.iter().map(|name| (*name).into()).collect();
        report.invalid(path, value, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// Only the finalizers of Kubernetes itself have no domain.
pub(super) fn qualified(report: &mut Report, finalizer: &str, path: &Path) {
    if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
        report.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// A field that an update may not change.
pub(super) fn immutable(report: &mut Report, path: &Path, new: &Value, old: &Value) {
    if new != old {
        report.invalid(path, new.clone(), "field is immutable");
    }
}
