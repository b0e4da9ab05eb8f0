//! Subresources: which there are, and the small ones.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};

use super::body;
use super::delete::{self, DeleteOptions, Deleted};
use super::draft::Draft;
use super::{logs, read, reviews, scale, update};
use crate::answer::{self, Answer};
use crate::api_state::{Api, timestamp};
use crate::hooks;
use crate::refusal::Refusal;
use crate::request::{Call, WriteOptions};
use crate::schema::Gvk;
use crate::store::Txn;
use crate::value::Get;

pub(super) async fn serve(api: &Arc<Api>, method: &Method, call: &Arc<Call>) -> Result<Answer, Refusal> {
    match (call.target.subresource.as_str(), method) {
        ("status", &Method::GET) => read::get(api, call),
        ("status", &Method::PUT) => update::update(api, call).await,
        ("status", &Method::PATCH) => update::patch(api, call).await,
        ("scale", _) => scale::serve(api, method, call).await,
        ("finalize", &Method::PUT) => finalize(api, call).await,
        ("binding", &Method::POST) => bind(api, call, call.target.name.clone()).await,
        ("eviction", &Method::POST) => evict(api, call).await,
        ("token", &Method::POST) => reviews::token(api, call).await,
        ("log", &Method::GET) => logs::serve(api, call).await,
        ("exec" | "attach" | "portforward", _) => Err(Refusal::not_yet(&format!("{} of pods", call.target.subresource))),
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// Sets a Namespace's own finalizers, and lets it go with the last one.
async fn finalize(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let options = WriteOptions::parse("UpdateOptions", &call.query, &call.agent)?;
    let decoded = body::object(api, call, &call.target.kind.gvk, options.validation)?;
    let (shared, request) = (api.clone(), call.clone());
    let stored = api.store.write(move |txn| {
        let (now, target) = (timestamp(), &request.target);
        let Some(stored) = update::find(txn, &shared, &request) else { return Err(Refusal::not_found(&target.kind, &target.name)) };
        let draft = Draft { api: &shared, kind: &target.kind, namespace: "", subresource: "finalize", options: &options, now: &now };
        if options.dry_run {
            txn.discard();
        }
        let before = answer::dressed(&target.kind, &stored);
        let sent = decoded.object["metadata"].text("resourceVersion");
        if !sent.is_empty() && sent != before["metadata"].text("resourceVersion") {
            return Err(super::draft::modified(&target.kind, &target.name));
        }
        let mut namespace = before.clone();
        namespace["spec"] = match decoded.object["spec"].get("finalizers") {
            Some(finalizers) => json!({"finalizers": finalizers}),
            None => json!({}),
        };
        let meta = namespace.at("metadata");
        if namespace["spec"].items("finalizers").is_empty() && meta.items("finalizers").is_empty() && meta.has("deletionTimestamp") {
            return draft.remove(txn, namespace);
        }
        Ok(if namespace == before { stored } else { draft.put(txn, namespace, Some(&before)) })
    });
    answer::object(&api.schema, call, 200, &*stored.await?)
}

/// Gives a Pod to a node. `name` is the Pod's.
pub(super) async fn bind(api: &Arc<Api>, call: &Arc<Call>, name: String) -> Result<Answer, Refusal> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent)?;
    let binding = body::object(api, call, &Gvk::new("", "v1", "Binding"), options.validation)?.object;
    let name = if name.is_empty() { binding["metadata"].text("name").to_owned() } else { name };
    let (shared, request) = (api.clone(), call.clone());
    let done = api.store.write(move |txn| {
        if options.dry_run {
            txn.discard();
        }
        assign(txn, &shared, &request, &options, &name, &binding)
    });
    done.await?;
    done_as_asked(api, call)
}

/// The answer to a request that made no object of its own.
fn done_as_asked(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    answer::value(&api.schema, call, 201, "api/v1/statuses", status)
}

fn assign(txn: &mut Txn<'_>, api: &Api, call: &Call, options: &WriteOptions, name: &str, binding: &Value) -> Result<(), Refusal> {
    let (now, pods) = (timestamp(), api.kinds.core("pods"));
    let (namespace, node) = (&call.target.namespace, binding["target"].text("name"));
    let Some(stored) = txn.get(api.collection(pods), &crate::store::key(namespace, name)) else {
        return Err(Refusal::not_found(pods, name));
    };
    let before = answer::dressed(pods, &stored);
    if !matches!(binding["target"].text("kind"), "" | "Node") || node.is_empty() {
        return Err(Refusal::unknown("target.name: Required value"));
    }
    let refuse = |text: String| Err(Refusal::conflict_at(pods, "binding", name, &text));
    if before["metadata"].has("deletionTimestamp") {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !before["spec"].text("nodeName").is_empty() {
        return refuse(format!("pod {name} is already assigned to node {:?}", before["spec"].text("nodeName")));
    }
    let mut pod = before.clone();
    pod["spec"]["nodeName"] = node.into();
    hooks::take_topology(&api.world(txn, pods, &now), &mut pod);
    if pod["metadata"].has("generation") {
        pod["metadata"]["generation"] = (pod["metadata"].int("generation") + 1).into();
    }
    let mut conditions = pod["status"].items("conditions").to_vec();
    conditions.retain(|condition| condition.text("type") != "PodScheduled");
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
    pod["status"]["conditions"] = conditions.into();
    let draft = Draft { api, kind: pods, namespace, subresource: "binding", options, now: &now };
    draft.put(txn, pod, Some(&before));
    Ok(())
}

/// Deletes a Pod; there are no disruption budgets that could forbid it.
async fn evict(api: &Arc<Api>, call: &Arc<Call>) -> Result<Answer, Refusal> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent)?;
    let eviction = body::object(api, call, &Gvk::new("policy", "v1", "Eviction"), options.validation)?.object;
    let mut how = DeleteOptions::read(&eviction["deleteOptions"])?;
    how.dry_run |= options.dry_run;
    let (shared, request) = (api.clone(), call.clone());
    let done = api.store.write(move |txn| {
        if how.dry_run {
            txn.discard();
        }
        let Some(stored) = update::find(txn, &shared, &request) else {
            return Err(Refusal::not_found(&request.target.kind, &request.target.name));
        };
        match delete::delete(txn, &shared, &request, &stored, &how)? {
            Deleted::Gone(_) | Deleted::Lingers(_) => Ok(()),
        }
    });
    done.await?;
    done_as_asked(api, call)
}
