//! The scale subresource: how many replicas a Deployment or ReplicaSet wants and has, as one small kind for all.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};

use super::body;
use super::draft::Draft;
use super::{read, update};
use crate::answer::{self, Answer};
use crate::api_state::{Api, timestamp};
use crate::defaults;
use crate::refusal::Refusal;
use crate::request::{Call, WriteOptions};
use crate::schema::Gvk;
use crate::validate;
use crate::value::Get;

const TABLE: &str = "apis/autoscaling/v1/scales";

pub(super) async fn serve(api: &Arc<Api>, method: &Method, call: &Arc<Call>) -> Result<Answer, Refusal> {
    match *method {
        Method::GET => answer::value(&api.schema, call, 200, TABLE, of(&read::find(api, call)?.parse())),
        Method::PUT => {
            let options = WriteOptions::parse("UpdateOptions", &call.query, &call.agent)?;
            let scale = body::object(api, call, &gvk(), options.validation)?.object;
            write(api, call, options, move |_, _| Ok(scale)).await
        }
        Method::PATCH => {
            let options = WriteOptions::parse("PatchOptions", &call.query, &call.agent)?;
            let (form, patch) = update::read_patch(call)?;
            let validation = options.validation;
            write(api, call, options, move |api, current| {
                let patched = form.apply(&api.schema, &gvk(), current, &patch)?;
                Ok(update::shape_patched(api, &gvk(), form, &patch, patched, validation)?.object)
            })
            .await
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn gvk() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

/// Sets the replicas of the object to those of the Scale that `change` makes of the present one.
async fn write<F>(api: &Arc<Api>, call: &Arc<Call>, options: WriteOptions, change: F) -> Result<Answer, Refusal>
where
    F: FnOnce(&Api, &Value) -> Result<Value, Refusal> + Send + 'static,
{
    let (shared, request) = (api.clone(), call.clone());
    let written = api.store.write(move |txn| {
        let (now, target) = (timestamp(), &request.target);
        let Some(stored) = update::find(txn, &shared, &request) else { return Err(Refusal::not_found(&target.kind, &target.name)) };
        if options.dry_run {
            txn.discard();
        }
        let mut object = answer::dressed(&target.kind, &stored);
        let mut scale = change(&shared, &of(&object))?;
        defaults::apply(&shared.schema, &gvk(), &mut scale);
        let causes = validate::object(&shared.schema, &gvk(), &scale, Some(&of(&object)));
        if !causes.is_empty() {
            return Err(Refusal::invalid(&gvk(), &target.name, &causes));
        }
        // The Scale's version is the object's own.
        object["metadata"]["resourceVersion"] = scale["metadata"].text("resourceVersion").into();
        object["spec"]["replicas"] = scale["spec"].int("replicas").into();
        let draft =
            Draft { api: &shared, kind: &target.kind, namespace: &target.namespace, subresource: "scale", options: &options, now: &now };
        draft.update(txn, &stored, object)
    });
    answer::value(&api.schema, call, 200, TABLE, of(&written.await?.stored.parse()))
}

/// The Scale of an object.
fn of(object: &Value) -> Value {
    let meta = object.at("metadata");
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    if object["spec"].int("replicas") != 0 {
        spec["replicas"] = object["spec"]["replicas"].clone();
    }
    let mut status = json!({"replicas": object["status"].int("replicas")});
    let selector = selector(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// A LabelSelector in the form of a query.
fn selector(selector: &Value) -> String {
    let mut terms: Vec<String> = selector.pairs("matchLabels").map(|(key, value)| format!("{key}={value}")).collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key");
        let values = || {
            let mut values = expression.texts("values");
            values.sort_unstable();
            values.join(",")
        };
        terms.push(match expression.text("operator") {
            "In" => format!("{key} in ({})", values()),
            "NotIn" => format!("{key} notin ({})", values()),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    terms.join(",")
}
