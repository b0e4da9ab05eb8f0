//! create.

use std::sync::Arc;

use super::body;
use super::draft::Draft;
use crate::answer::{self, Answer};
use crate::api_state::{Api, timestamp};
use crate::refusal::Refusal;
use crate::request::{Call, WriteOptions};

pub(super) async fn create(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let kind = &call.target.kind;
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent)?;
    if kind.namespaced && call.target.namespace.is_empty() {
        return Err(Refusal::method_not_allowed());
    }
    let decoded = body::object(api, call, &kind.gvk, options.validation)?;
    let (shared, request) = (api.clone(), call.clone());
    let written = api.store.write(move |txn| {
        let now = timestamp();
        let target = &request.target;
        let draft = Draft { api: &shared, kind: &target.kind, namespace: &target.namespace, subresource: "", options: &options, now: &now };
        if options.dry_run {
            txn.discard();
        }
        draft.create(txn, decoded.object)
    });
    let written = written.await?;
    Ok(answer::object(&api.schema, call, 201, &written.stored)?.warn(decoded.warnings).warn(written.warnings))
}
