//! Garbage collection: objects go when their owners have gone, and owners wait for them where that was asked.
//!
//! Owns what owner references mean. A key is an object of any kind: its name is written `PLURAL/NAME`.
//! Source: kubernetes `pkg/controller/garbagecollector` and the page "Garbage Collection" of its documentation.

use std::sync::Arc;
use std::time::SystemTime;

use api::Kind;
use serde_json::{Value, json};

use crate::cache::{Cache, Key, Words};
use crate::plan::{Plan, Propagation, Write};
use crate::{Controller, json, kinds};

/// The owner waits until the dependents that block it are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// The owner waits until its dependents no longer name it.
const ORPHAN: &str = "orphan";

pub struct GarbageCollector;

/// What became of one owner.
enum Owner<'a> {
    There,
    /// Being deleted, and waiting for its dependents to go.
    Waiting,
    Gone(&'static Kind, &'a Value),
}

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        &kinds::COLLECTED
    }

    fn words(&self) -> Option<Words> {
        Some(|_, object| references(object).map(|reference| owned_by(json::text(&reference["uid"]))).collect())
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        let mut keys = Vec::new();
        if object["metadata"]["ownerReferences"].is_array() || json::is_deleting(object) {
            keys.push(key(kind.plural, object));
        }
        if cache.get(kind, &Key::of(object)).is_none_or(|now| json::is_deleting(now) || json::uid(now) != json::uid(object)) {
            keys.extend(dependents(json::uid(object), cache).map(|(plural, dependent)| key(plural, dependent)));
        }
        // An owner that waits looks whether this was the last one.
        for reference in references(object).filter(|reference| reference["blockOwnerDeletion"] == true) {
            if let Some((kind, owner)) = find(reference, object, cache).filter(|(_, owner)| json::is_deleting(owner)) {
                keys.push(key(kind.plural, owner));
            }
        }
        keys
    }

    fn reconcile(&self, key: &Key, cache: &Cache, _now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let Some((plural, name)) = key.name.split_once('/') else { return plan };
        let Some(kind) = kinds::of_plural(plural) else { return plan };
        let Some(object) = cache.named(kind, &key.namespace, name) else { return plan };
        if json::is_deleting(object) {
            finish(kind, object, cache, &mut plan);
        } else {
            judge(kind, object, cache, &mut plan);
        }
        plan
    }
}

fn owned_by(uid: &str) -> String {
    format!("owned by {uid}")
}

/// The objects that name the owner of this UID, with their kind's plural.
fn dependents<'a>(uid: &str, cache: &'a Cache) -> impl Iterator<Item = (&'static str, &'a Arc<Value>)> + use<'a> {
    cache.found_by(&owned_by(uid))
}

/// An object that is being deleted: takes away its finalizer once its dependents are as that asks.
fn finish(kind: &'static Kind, object: &Value, cache: &Cache, plan: &mut Plan) {
    let uid = json::uid(object);
    if has_finalizer(object, ORPHAN) {
        for (plural, dependent) in dependents(uid, cache) {
            if let Some(kind) = kinds::of_plural(plural) {
                plan.write(without_owners(kind, dependent, |reference| reference["uid"] != uid));
            }
        }
        plan.write(without_finalizer(kind, object, ORPHAN));
    } else if has_finalizer(object, FOREGROUND) {
        let blocks = |dependent: &Value| references(dependent).any(|it| it["uid"] == uid && it["blockOwnerDeletion"] == true);
        if !dependents(uid, cache).any(|(_, dependent)| blocks(dependent)) {
            plan.write(without_finalizer(kind, object, FOREGROUND));
        }
    }
}

/// An object with owners: deletes it if none is left that keeps it.
fn judge(kind: &'static Kind, object: &Value, cache: &Cache, plan: &mut Plan) {
    let owners: Vec<_> = references(object).map(|reference| (reference, state(reference, object, cache))).collect();
    let gone: Vec<_> =
        owners.iter().filter_map(|(_, owner)| if let Owner::Gone(kind, owner) = owner { Some((*kind, *owner)) } else { None }).collect();
    let is_waited_for = owners.iter().any(|(_, owner)| matches!(owner, Owner::Waiting));
    let is_kept = owners.iter().any(|(_, owner)| matches!(owner, Owner::There));
    if gone.is_empty() && !is_waited_for {
        return;
    }
    for (kind, reference) in &gone {
        plan.write(Write::CheckAbsent {
            kind,
            namespace: if kind.namespaced { json::namespace(object).to_string() } else { String::new() },
            name: json::text(&reference["name"]).to_string(),
            uid: json::text(&reference["uid"]).to_string(),
        });
    }
    if is_kept {
        let kept: Vec<_> =
            owners.iter().filter(|(_, owner)| matches!(owner, Owner::There)).map(|(reference, _)| reference["uid"].clone()).collect();
        plan.write(without_owners(kind, object, |reference| kept.contains(&reference["uid"])));
        return;
    }
    // Who waits for this one waits for those that this one has as well.
    let has_dependents = dependents(json::uid(object), cache).next().is_some();
    let propagation = match (is_waited_for && has_dependents, object) {
        (true, _) => Propagation::Foreground,
        (false, object) if has_finalizer(object, ORPHAN) => Propagation::Orphan,
        (false, object) if has_finalizer(object, FOREGROUND) => Propagation::Foreground,
        _ => Propagation::Background,
    };
    plan.write(Write::delete(kind, object, propagation));
}

fn state<'a>(reference: &'a Value, object: &Value, cache: &Cache) -> Owner<'a> {
    // A kind that we do not serve: nobody here can say that it is gone.
    let Some(kind) = kinds::of_reference(reference) else { return Owner::There };
    match find(reference, object, cache) {
        None => Owner::Gone(kind, reference),
        Some((_, owner)) if json::is_deleting(owner) && has_finalizer(owner, FOREGROUND) => Owner::Waiting,
        Some(_) => Owner::There,
    }
}

/// The owner that a reference means: in the object's own namespace, or of no namespace, and of that UID.
fn find<'a>(reference: &Value, object: &Value, cache: &'a Cache) -> Option<(&'static Kind, &'a Value)> {
    let kind = kinds::of_reference(reference)?;
    let namespace = if kind.namespaced { json::namespace(object) } else { "" };
    let owner = cache.named(kind, namespace, json::text(&reference["name"]))?;
    (json::uid(owner) == reference["uid"]).then_some((kind, owner))
}

fn references(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| finalizers.iter().any(|it| it == finalizer))
}

fn without_finalizer(kind: &'static Kind, object: &Value, finalizer: &str) -> Write {
    let all = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let kept: Vec<_> = all.filter(|it| *it != finalizer).collect();
    guarded(kind, object, "finalizers", json!(kept))
}

fn without_owners(kind: &'static Kind, object: &Value, keep: impl Fn(&Value) -> bool) -> Write {
    let kept: Vec<_> = references(object).filter(|reference| keep(reference)).collect();
    guarded(kind, object, "ownerReferences", json!(kept))
}

/// A patch of one list of the metadata that only holds for the object as it was seen.
fn guarded(kind: &'static Kind, object: &Value, field: &str, list: Value) -> Write {
    let metadata = json!({"uid": json::uid(object), "resourceVersion": object["metadata"]["resourceVersion"], (field): list});
    Write::patch(kind, object, json!({"metadata": metadata}))
}

fn key(plural: &str, object: &Value) -> Key {
    Key::new(json::namespace(object), format!("{plural}/{}", json::name(object)))
}

#[cfg(test)]
mod tests;
