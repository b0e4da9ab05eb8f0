//! delete and deletecollection.
//!
//! An object goes at once unless somebody has to do something first: its finalizers, the node that runs the Pod, or the garbage collector, which
//! deletes what the object owns (Foreground) or lets it go (Orphan) and is asked by a finalizer.
//!
//! Source: apiserver's pkg/registry/generic/registry/store.go and pkg/registry/rest/delete.go.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use runtime::time::Rfc3339;
use serde_json::{Value, json};

use super::body;
use super::draft::Draft;
use super::read;
use crate::answer::{self, Answer, ListMeta};
use crate::api_state::{Api, timestamp};
use crate::hooks;
use crate::kinds::Kind;
use crate::refusal::Refusal;
use crate::request::{Call, ListOptions, WriteOptions, check_dry_run};
use crate::schema::Gvk;
use crate::store::{Stored, Txn};
use crate::value::Get;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// How something is to be deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteOptions {
    pub(super) dry_run: bool,
    grace_seconds: Option<i64>,
    propagation: Option<Propagation>,
    uid: String,
    revision: String,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What became of an object.
pub(super) enum Deleted {
    Gone(Arc<Stored>),
    /// It stays until its finalizers are gone or its time is over.
    Lingers(Arc<Stored>),
}

pub(super) async fn one(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let options = DeleteOptions::parse(api, call)?;
    let (shared, request) = (api.clone(), call.clone());
    let deleted = api.store.write(move |txn| {
        if options.dry_run {
            txn.discard();
        }
        let Some(stored) = super::update::find(txn, &shared, &request) else {
            return Err(Refusal::not_found(&request.target.kind, &request.target.name));
        };
        delete(txn, &shared, &request, &stored, &options)
    });
    let kind = &call.target.kind;
    match deleted.await? {
        Deleted::Gone(stored) if !hooks::of(kind).shows_deleted => {
            let last = stored.parse();
            answer::value(&api.schema, call, 200, "api/v1/statuses", success(kind, &last))
        }
        Deleted::Gone(stored) | Deleted::Lingers(stored) => answer::object(&api.schema, call, 200, &stored),
    }
}

pub(super) async fn collection(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    let selection = ListOptions::parse(&kind.gvk, &call.query, false)?;
    let options = DeleteOptions::parse(api, call)?;
    let (shared, request) = (api.clone(), call.clone());
    let (deleted, revision) = api
        .store
        .write(move |txn| {
            if options.dry_run {
                txn.discard();
            }
            let objects = txn.objects(shared.collection(&request.target.kind));
            let mut deleted = Vec::new();
            for stored in read::selected(&objects, &request.target.namespace, &selection) {
                match delete(txn, &shared, &request, &stored, &options)? {
                    Deleted::Gone(stored) | Deleted::Lingers(stored) => deleted.push(stored),
                }
            }
            let revision = deleted.last().map_or(0, |stored| stored.revision);
            Ok((deleted, revision))
        })
        .await?;
    let revision = if revision > 0 { revision } else { api.store.revision() };
    answer::list(api, call, deleted, &ListMeta { revision, ..ListMeta::default() }).await
}

/// Deletes one object that is there, or marks it.
pub(super) fn delete(txn: &mut Txn<'_>, api: &Api, call: &Call, stored: &Arc<Stored>, options: &DeleteOptions) -> Result<Deleted, Refusal> {
    let kind = &*call.target.kind;
    let now = timestamp();
    let unmanaged = WriteOptions::default();
    let draft = Draft { api, kind, namespace: stored.namespace(), subresource: "", options: &unmanaged, now: &now };
    let mut object = answer::dressed(kind, stored);
    options.check_preconditions(kind, &object)?;
    (hooks::of(kind).removing)(&mut api.world(txn, kind, &now), &object).and_then(|()| {
        let before = object.clone();
        let is_deleting = object["metadata"].has("deletionTimestamp");
        let finalizers = finalizers(&object, options);
        let is_pod = kind.resource == "pods";
        let grace = if is_pod { hooks::grace_period(&object, options.grace_seconds) } else { 0 };
        let waits_for = waits_for(kind, &object, &finalizers);
        set_finalizers(&mut object, finalizers);
        if !waits_for && grace == 0 {
            return draft.remove(txn, object).map(Deleted::Gone);
        }
        let meta = &mut object["metadata"];
        let sooner = is_deleting && grace < meta.int("deletionGracePeriodSeconds");
        if !is_deleting || sooner {
            meta["deletionTimestamp"] = Rfc3339(SystemTime::now() + Duration::from_secs(grace.unsigned_abs())).to_string().into();
            meta["deletionGracePeriodSeconds"] = grace.into();
            if !is_deleting && meta.has("generation") {
                meta["generation"] = (meta.int("generation") + 1).into();
            }
            if kind.resource == "namespaces" {
                object["status"]["phase"] = "Terminating".into();
                // A Namespace has no grace period to tell of.
                object["metadata"].as_object_mut().map(|meta| meta.remove("deletionGracePeriodSeconds"));
            }
        }
        if object == before {
            return Ok(Deleted::Lingers(stored.clone()));
        }
        Ok(Deleted::Lingers(draft.put(txn, object, Some(&before))))
    })
}

/// Whether somebody has to take a finalizer away first. A Namespace is always told first that it goes away.
fn waits_for(kind: &Kind, object: &Value, finalizers: &[String]) -> bool {
    let is_new = !object["metadata"].has("deletionTimestamp");
    let own = kind.resource == "namespaces" && (is_new || !object["spec"].items("finalizers").is_empty());
    own || !finalizers.is_empty()
}

/// The object's finalizers once the garbage collector's are as the deleter wants them.
fn finalizers(object: &Value, options: &DeleteOptions) -> Vec<String> {
    let before = object["metadata"].texts("finalizers");
    let has = |name: &str| before.contains(&name);
    let (orphan, foreground) = match options.propagation {
        Some(propagation) => (propagation == Propagation::Orphan, propagation == Propagation::Foreground),
        None => (has(ORPHAN), has(FOREGROUND)),
    };
    let mut finalizers: Vec<String> = before.into_iter().filter(|name| *name != ORPHAN && *name != FOREGROUND).map(str::to_owned).collect();
    if orphan {
        finalizers.push(ORPHAN.to_owned());
    }
    if foreground {
        finalizers.push(FOREGROUND.to_owned());
    }
    finalizers
}

fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    if finalizers.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".to_owned(), json!(finalizers));
    }
}

/// What is answered about an object that is gone.
pub(super) fn success(kind: &Kind, last: &Value) -> Value {
    let mut details = json!({"name": last["metadata"]["name"], "kind": kind.resource, "uid": last["metadata"]["uid"]});
    if !kind.gvk.group.is_empty() {
        details["group"] = kind.gvk.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// From the body if there is one, else from the query.
    pub(super) fn parse(api: &Api, call: &Call) -> Result<DeleteOptions, Refusal> {
        let gvk = Gvk::new("", "v1", "DeleteOptions");
        let options = if call.body.is_empty() {
            let query = &call.query;
            let mut options = json!({});
            if !query.text("gracePeriodSeconds").is_empty() {
                let text = query.text("gracePeriodSeconds");
                let grace: i64 =
                    text.parse().map_err(|_| Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
                options["gracePeriodSeconds"] = grace.into();
            }
            if query.has("propagationPolicy") {
                options["propagationPolicy"] = query.text("propagationPolicy").into();
            }
            if query.has("orphanDependents") {
                options["orphanDependents"] = query.flag("orphanDependents").into();
            }
            options["dryRun"] = query.all("dryRun").collect();
            options
        } else {
            let (mut options, _) = body::any(api, call, &gvk)?;
            // Each group has its own DeleteOptions, all of them the same.
            options.as_object_mut().map(|options| options.remove("apiVersion"));
            body::shaped(api, &gvk, options, Vec::new(), crate::request::FieldValidation::Ignore)?.object
        };
        DeleteOptions::read(&options)
    }

    pub(super) fn read(options: &Value) -> Result<DeleteOptions, Refusal> {
        let invalid = |reason, field: &str, message: &str| {
            Err(Refusal::invalid_field(&Gvk::new("meta.k8s.io", "v1", "DeleteOptions"), "", reason, field, message))
        };
        check_dry_run("DeleteOptions", options.texts("dryRun").into_iter())?;
        let propagation = match (options.text("propagationPolicy"), options["orphanDependents"].as_bool()) {
            ("", None) => None,
            ("", Some(true)) | ("Orphan", None) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", None) => Some(Propagation::Background),
            ("Foreground", None) => Some(Propagation::Foreground),
            (policy, Some(_)) => {
                let message = format!("Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set");
                return invalid("FieldValueInvalid", "propagationPolicy", &message);
            }
            (policy, None) => {
                let message =
                    format!("Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"");
                return invalid("FieldValueNotSupported", "propagationPolicy", &message);
            }
        };
        Ok(DeleteOptions {
            dry_run: !options.items("dryRun").is_empty(),
            grace_seconds: options["gracePeriodSeconds"].as_i64(),
            propagation,
            uid: options["preconditions"].text("uid").to_owned(),
            revision: options["preconditions"].text("resourceVersion").to_owned(),
        })
    }

    fn check_preconditions(&self, kind: &Kind, object: &Value) -> Result<(), Refusal> {
        let meta = object.at("metadata");
        let (uid, revision) = (meta.text("uid"), meta.text("resourceVersion"));
        let text = if !self.uid.is_empty() && self.uid != uid {
            let asked = &self.uid;
            format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            )
        } else if !self.revision.is_empty() && self.revision != revision {
            let asked = &self.revision;
            format!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
            )
        } else {
            return Ok(());
        };
        Err(Refusal::precondition(kind, meta.text("name"), &text))
    }
}
