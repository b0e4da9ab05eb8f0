//! What create, update and patch have in common: from what a client sent to what is stored.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer;
use crate::api_state::Api;
use crate::defaults;
use crate::fields::{self, Operation, Writer};
use crate::hooks::{self, Generation};
use crate::kinds::Kind;
use crate::names;
use crate::refusal::Refusal;
use crate::request::WriteOptions;
use crate::schema::Gvk;
use crate::store::{Stored, Txn, key};
use crate::validate;
use crate::value::Get;

/// Random names tried before giving up.
const MAX_NAME_TRIES: usize = 8;

/// A write that was carried out.
pub(crate) struct Written {
    pub(super) stored: Arc<Stored>,
    pub(super) created: bool,
    pub(super) warnings: Vec<String>,
}

/// Who writes what, and how.
pub(crate) struct Draft<'a> {
    pub(crate) api: &'a Api,
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) options: &'a WriteOptions,
    pub(crate) now: &'a str,
}

impl Draft<'_> {
    /// Makes an object that has the shape of its kind.
    pub(crate) fn create(&self, txn: &mut Txn<'_>, mut new: Value) -> Result<Written, Refusal> {
        let (api, kind) = (self.api, self.kind);
        let meta = &mut new["metadata"];
        let namespace = meta.text("namespace").to_owned();
        if kind.namespaced {
            if !namespace.is_empty() && namespace != self.namespace {
                let text = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Refusal::bad_request(text));
            }
            meta["namespace"] = self.namespace.into();
        }
        if !meta.text("resourceVersion").is_empty() {
            return Err(Refusal::unknown("resourceVersion should not be set on objects to be created"));
        }
        let (name, base) = (meta.text("name").to_owned(), meta.text("generateName").to_owned());
        if let Some(fields) = meta.as_object_mut() {
            for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
                fields.remove(field);
            }
        }
        if name.is_empty() && base.is_empty() {
            let cause = ("FieldValueRequired", "metadata.name", "Required value: name or generateName is required");
            return Err(Refusal::invalid_field(&kind.gvk, "", cause.0, cause.1, cause.2));
        }
        if name.is_empty() {
            meta["name"] = self.free_name(txn, &base)?.into();
        }
        self.check_namespace(txn, meta.text("name"))?;
        let meta = &mut new["metadata"];
        meta["uid"] = names::uid().into();
        meta["creationTimestamp"] = self.now.into();
        if hooks::of(kind).generation != Generation::None {
            meta["generation"] = 1.into();
        }
        if kind.has_status() {
            new.as_object_mut().map(|fields| fields.remove("status"));
        }
        defaults::apply(&api.schema, &kind.gvk, &mut new);
        self.own(None, &mut new);
        (hooks::of(kind).admit)(&mut api.world(txn, kind, self.now), &mut new, None)?;
        (hooks::of(kind).prepare)(&mut new, None);
        defaults::apply(&api.schema, &kind.gvk, &mut new);
        self.valid(&new, None)?;
        let name = new["metadata"].text("name").to_owned();
        if txn.get(api.collection(kind), &key(self.namespace, &name)).is_some() {
            return Err(Refusal::already_exists(kind, &name));
        }
        let warnings = validate::warnings(&kind.gvk, &new);
        let stored = self.put(txn, new, None);
        Ok(Written { stored, created: true, warnings })
    }

    /// Replaces `old` by an object that has the shape of its kind, or by nothing if it was only waiting for that.
    pub(crate) fn update(&self, txn: &mut Txn<'_>, stored: &Arc<Stored>, mut new: Value) -> Result<Written, Refusal> {
        let (api, kind) = (self.api, self.kind);
        let old = answer::dressed(kind, stored);
        let name = old["metadata"].text("name").to_owned();
        self.check_identity(&new, &old)?;
        let (meta, was) = (&mut new["metadata"], &old["metadata"]);
        match meta.text("resourceVersion") {
            "" | "0" if !hooks::of(kind).unconditional_update && self.subresource.is_empty() => {
                let gvk = Gvk::new(&kind.gvk.group, "", &kind.resource);
                let message = "Invalid value: 0: must be specified for an update";
                return Err(Refusal::invalid_field(&gvk, &name, "FieldValueInvalid", "metadata.resourceVersion", message));
            }
            "" | "0" => {}
            revision if revision.parse::<u64>().is_err() => {
                return Err(Refusal::unknown(format!("strconv.ParseUint: parsing {revision:?}: invalid syntax")));
            }
            revision if revision != was.text("resourceVersion") => return Err(modified(kind, &name)),
            _ => {}
        }
        for field in ["resourceVersion", "generation", "selfLink"] {
            copy(meta, was, field);
        }
        for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            // What is left out is meant to stay; in protobuf an empty text is left out.
            if !meta.has(field) || meta.at(field) == "" {
                copy(meta, was, field);
            }
        }
        let is_status = self.subresource == "status";
        match (is_status, kind.has_status()) {
            (true, _) => {
                let (status, metadata) = (new["status"].take(), new["metadata"].take());
                new = old.clone();
                new["metadata"] = metadata;
                new["status"] = status;
            }
            (false, true) => copy(&mut new, &old, "status"),
            (false, false) => {}
        }
        defaults::apply(&api.schema, &kind.gvk, &mut new);
        self.own(Some(&old), &mut new);
        if self.subresource.is_empty() || self.subresource == "scale" {
            (hooks::of(kind).admit)(&mut api.world(txn, kind, self.now), &mut new, Some(&old))?;
            (hooks::of(kind).prepare)(&mut new, Some(&old));
            defaults::apply(&api.schema, &kind.gvk, &mut new);
            if grows(hooks::of(kind).generation, &new, &old) {
                new["metadata"]["generation"] = (old["metadata"].int("generation") + 1).into();
            }
        }
        self.valid(&new, Some(&old))?;
        let warnings = validate::warnings(&kind.gvk, &new);
        if new == old {
            return Ok(Written { stored: stored.clone(), created: false, warnings });
        }
        let stored = if is_over(kind, &new, &old) { self.remove(txn, new)? } else { self.put(txn, new, Some(&old)) };
        Ok(Written { stored, created: false, warnings })
    }

    /// Takes an object out of the store, and what hangs on it.
    pub(crate) fn remove(&self, txn: &mut Txn<'_>, last: Value) -> Result<Arc<Stored>, Refusal> {
        (hooks::of(self.kind).removing)(&mut self.api.world(txn, self.kind, self.now), &last)?;
        let mut last = self.inward(last);
        let gone = txn.delete(self.api.collection(self.kind), &mut last);
        (hooks::of(self.kind).after)(&mut self.api.world(txn, self.kind, self.now));
        Ok(gone)
    }

    /// Writes an object as it is.
    pub(crate) fn put(&self, txn: &mut Txn<'_>, new: Value, old: Option<&Value>) -> Arc<Stored> {
        let (api, kind) = (self.api, self.kind);
        (hooks::of(kind).written)(&mut api.world(txn, kind, self.now), &new, old);
        let mut new = self.inward(new);
        let stored = txn.put(api.collection(kind), &mut new);
        (hooks::of(kind).after)(&mut api.world(txn, kind, self.now));
        if !self.options.dry_run {
            return stored;
        }
        // Nothing has happened: the object has the revision that it had, or none.
        match (old, new["metadata"].as_object_mut()) {
            (Some(old), Some(meta)) => drop(meta.insert("resourceVersion".to_owned(), old["metadata"]["resourceVersion"].clone())),
            (None, Some(meta)) => drop(meta.remove("resourceVersion")),
            (_, None) => {}
        }
        Arc::new(txn.unsaved(api.collection(kind), &mut new))
    }

    fn inward(&self, mut object: Value) -> Value {
        if let Some(inward) = hooks::of(self.kind).inward {
            inward(&mut object);
        }
        object
    }

    /// Records who owns which field from now on.
    fn own(&self, old: Option<&Value>, new: &mut Value) {
        let writer = Writer { manager: &self.options.manager, operation: Operation::Update, subresource: self.subresource, time: self.now };
        fields::update(&self.api.schema, &self.kind.gvk, old, new, writer);
    }

    fn valid(&self, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
        let (schema, gvk) = (&self.api.schema, &self.kind.gvk);
        let causes = match (old, self.subresource) {
            (Some(old), "status") => validate::status(schema, gvk, new, old),
            _ => validate::object(schema, gvk, new, old),
        };
        if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(gvk, new["metadata"].text("name"), &causes)) }
    }

    /// The object is the one that the path names.
    fn check_identity(&self, new: &Value, old: &Value) -> Result<(), Refusal> {
        let (meta, was) = (new.at("metadata"), old.at("metadata"));
        let (name, url) = (meta.text("name"), was.text("name"));
        if !name.is_empty() && name != url {
            return Err(Refusal::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({url})")));
        }
        let (namespace, url) = (meta.text("namespace"), was.text("namespace"));
        if self.kind.namespaced && !namespace.is_empty() && namespace != url {
            return Err(Refusal::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        Ok(())
    }

    /// A namespace that is not there, or goes away, takes nothing new.
    fn check_namespace(&self, txn: &Txn<'_>, name: &str) -> Result<(), Refusal> {
        if !self.kind.namespaced {
            return Ok(());
        }
        let namespaces = self.api.kinds.core("namespaces");
        let Some(namespace) = txn.get(self.api.collection(namespaces), self.namespace) else {
            return Err(Refusal::not_found(namespaces, self.namespace));
        };
        if namespace.index.get("status.phase") == Some("Terminating") {
            return Err(Refusal::namespace_terminating(self.kind, name, self.namespace));
        }
        Ok(())
    }

    fn free_name(&self, txn: &Txn<'_>, base: &str) -> Result<String, Refusal> {
        let collection = self.api.collection(self.kind);
        let mut tries = (0..MAX_NAME_TRIES).map(|_| names::generate(base));
        tries.find(|name| txn.get(collection, &key(self.namespace, name)).is_none()).ok_or_else(|| Refusal::no_free_name(self.kind, base))
    }
}

/// The client knew an older object than there is.
pub(crate) fn modified(kind: &Kind, name: &str) -> Refusal {
    Refusal::conflict(kind, name, "the object has been modified; please apply your changes to the latest version and try again")
}

/// Sets a field to what it was, or takes it away.
fn copy(to: &mut Value, from: &Value, field: &str) {
    match (from.get(field), to.as_object_mut()) {
        (Some(value), Some(to)) => drop(to.insert(field.to_owned(), value.clone())),
        (None, Some(to)) => drop(to.remove(field)),
        (_, None) => {}
    }
}

fn grows(generation: Generation, new: &Value, old: &Value) -> bool {
    match generation {
        Generation::None => false,
        Generation::Spec => new.at("spec") != old.at("spec"),
        Generation::SpecAndAnnotations => {
            let annotations = |object: &Value| object["metadata"].get("annotations").filter(|map| **map != json!({})).cloned();
            new.at("spec") != old.at("spec") || annotations(new) != annotations(old)
        }
        Generation::All => {
            let rest = |object: &Value| {
                let mut object = object.clone();
                object.as_object_mut().map(|fields| fields.remove("metadata"));
                object
            };
            rest(new) != rest(old)
        }
    }
}

/// Whether a write took away the last thing that a deleted object was waiting for.
fn is_over(kind: &Kind, new: &Value, old: &Value) -> bool {
    let (meta, was) = (new.at("metadata"), old.at("metadata"));
    let waits = was.has("deletionGracePeriodSeconds") && was.int("deletionGracePeriodSeconds") > 0;
    let is_namespace_in_use = kind.resource == "namespaces" && !new["spec"].items("finalizers").is_empty();
    was.has("deletionTimestamp") && meta.items("finalizers").is_empty() && !waits && !is_namespace_in_use
}
