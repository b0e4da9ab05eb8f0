//! update and patch, of objects and of their status.

use std::sync::Arc;

use serde_json::Value;

use super::body::{self, Decoded};
use super::draft::{Draft, Written};
use crate::answer::{self, Answer};
use crate::api_state::{Api, timestamp};
use crate::hooks;
use crate::patch;
use crate::refusal::Refusal;
use crate::request::{Call, FieldValidation, WriteOptions};
use crate::schema::{Gvk, Schema};
use crate::store::{Stored, Txn, key};
use crate::validate;
use crate::value::Get;

pub(super) async fn update(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = call.target.kind.clone();
    let options = WriteOptions::parse("UpdateOptions", &call.query, &call.agent)?;
    let decoded = body::object(api, call, &kind.gvk, options.validation)?;
    let (shared, request) = (api.clone(), call.clone());
    let written = api.store.write(move |txn| {
        let now = timestamp();
        let target = &request.target;
        let draft = Draft {
            api: &shared,
            kind: &target.kind,
            namespace: &target.namespace,
            subresource: &target.subresource,
            options: &options,
            now: &now,
        };
        if options.dry_run {
            txn.discard();
        }
        match find(txn, &shared, &request) {
            Some(stored) => {
                if decoded.object["metadata"].text("name").is_empty() {
                    let text = format!("the name of the object ({} based on URL) was undeterminable: name must be provided", target.name);
                    return Err(Refusal::bad_request(text));
                }
                check_uid(&request, &decoded.object, &stored)?;
                draft.update(txn, &stored, decoded.object)
            }
            None if hooks::of(&target.kind).create_on_update && target.subresource.is_empty() => {
                let mut object = decoded.object;
                object["metadata"]["name"] = target.name.clone().into();
                object["metadata"].as_object_mut().map(|meta| meta.remove("resourceVersion"));
                draft.create(txn, object)
            }
            None => Err(Refusal::not_found(&target.kind, &target.name)),
        }
    });
    respond(api, call, written.await?, decoded.warnings)
}

pub(super) async fn patch(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let options = WriteOptions::parse("PatchOptions", &call.query, &call.agent)?;
    let (form, patch) = read_patch(call)?;
    let (shared, request) = (api.clone(), call.clone());
    let written = api.store.write(move |txn| {
        let now = timestamp();
        let target = &request.target;
        let kind = &target.kind;
        let Some(stored) = find(txn, &shared, &request) else { return Err(Refusal::not_found(kind, &target.name)) };
        let draft =
            Draft { api: &shared, kind, namespace: &target.namespace, subresource: &target.subresource, options: &options, now: &now };
        if options.dry_run {
            txn.discard();
        }
        let current = answer::dressed(kind, &stored);
        let patched = form.apply(&shared.schema, &kind.gvk, &current, &patch)?;
        let Decoded { object, warnings } = shape_patched(&shared, &kind.gvk, form, &patch, patched, options.validation)?;
        let mut written = draft.update(txn, &stored, object)?;
        written.warnings.splice(0..0, warnings);
        Ok(written)
    });
    respond(api, call, written.await?, Vec::new())
}

/// Checks that what a patch has made still has the shape of its kind.
pub(super) fn shape_patched(
    api: &Api,
    gvk: &Gvk,
    form: Form,
    patch: &Value,
    patched: Value,
    validation: FieldValidation,
) -> Result<Decoded, Refusal> {
    body::shaped(api, gvk, patched.clone(), Vec::new(), validation).map_err(|fault| {
        let cause = patch::undecodable(matches!(form, Form::Strategic).then_some(patch), &patched, &fault.text);
        // The patch has neither kind nor name.
        Refusal::invalid(&Gvk::new("", "", ""), "", &[cause])
    })
}

/// The kinds of patch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Json,
    Merge,
    Strategic,
}

/// Reads a patch's form from the Content-Type and its content from the body.
pub(super) fn read_patch(call: &Call) -> Result<(Form, Value), Refusal> {
    let form = match call.content_type.as_str() {
        "application/json-patch+json" => Form::Json,
        "application/merge-patch+json" => Form::Merge,
        "application/strategic-merge-patch+json" => Form::Strategic,
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => return Err(Refusal::not_yet("server-side apply")),
        _ => return Err(Refusal::unsupported_patch()),
    };
    let parsed = validate::parse(&call.body).map_err(|_| Refusal::bad_request("invalid JSON patch"));
    Ok((form, parsed?.0))
}

impl Form {
    pub(super) fn apply(self, schema: &Schema, gvk: &Gvk, current: &Value, patch: &Value) -> Result<Value, Refusal> {
        let apply = match self {
            Form::Json => patch::json,
            Form::Merge => patch::merge,
            Form::Strategic => patch::strategic,
        };
        apply(schema, gvk, current, patch).map_err(Refusal::of_patch)
    }
}

pub(super) fn find(txn: &Txn<'_>, api: &Api, call: &Call) -> Option<Arc<Stored>> {
    let target = &call.target;
    txn.get(api.collection(&target.kind), &key(&target.namespace, &target.name))
}

/// A replacement that names another object's identity was made for that one.
fn check_uid(call: &Call, new: &Value, stored: &Stored) -> Result<(), Refusal> {
    let uid = new["metadata"].text("uid");
    let old = stored.parse();
    let found = old["metadata"].text("uid");
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    let path = format!("/registry/{}/{}", call.target.kind.resource, key(&call.target.namespace, &call.target.name));
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
    );
    Err(Refusal::conflict(&call.target.kind, &call.target.name, &text))
}

fn respond(api: &Api, call: &Call, written: Written, warnings: Vec<String>) -> Result<Answer, Refusal> {
    let status = if written.created { 201 } else { 200 };
    Ok(answer::object(&api.schema, call, status, &written.stored)?.warn(warnings).warn(written.warnings))
}
