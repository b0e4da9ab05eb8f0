//! Plans to the API: each write as the request that it is.

use std::time::SystemTime;

use api::{Kind, Status};
use client::{Client, Error, EventType, Method, Occurrence, Subject};
use serde_json::{Value, json};
use tracing::debug;

use crate::cache::Key;
use crate::json;
use crate::plan::{Event, Write};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// What a write did, to be recognised when the watches tell of it.
pub(super) enum Sent {
    Written { kind: &'static Kind, revision: u64 },
    Deleted { kind: &'static Kind, key: Key, uid: String },
}

/// Sends `writes` in order; the first that fails ends it.
pub(super) async fn plan(client: &Client, controller: &'static str, writes: Vec<Write>) -> Result<Vec<Sent>, Error> {
    let mut sent = Vec::new();
    for write in writes {
        sent.extend(one(client, controller, write).await?);
    }
    Ok(sent)
}

/// A conflict, or something that is there or gone already: what controllers live with.
pub(super) fn is_expected(error: &Error) -> bool {
    matches!(error.code(), Some(404 | 409))
}

/// The namespace is on its way out: nothing can be made in it any more, and nothing needs to be.
pub(super) fn is_pointless(error: &Error) -> bool {
    let Error::Refused { status, .. } = error else { return false };
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| &*cause.reason == "NamespaceTerminating"))
}

async fn one(client: &Client, controller: &'static str, write: Write) -> Result<Option<Sent>, Error> {
    match write {
        Write::Create { kind, object, event } => {
            let made = client.call(Method::POST, &kind.path(Some(json::namespace(&object))), Some((JSON, &object))).await?;
            if let Some(mut event) = event {
                event.message.push_str(json::name(&made));
                tell(client, controller, event);
            }
            Ok(written(kind, &made))
        }
        Write::Update { kind, object } => {
            let path = path(kind, json::namespace(&object), json::name(&object));
            Ok(written(kind, &client.call(Method::PUT, &path, Some((JSON, &object))).await?))
        }
        Write::UpdateStatus { kind, object } => {
            let path = format!("{}/status", path(kind, json::namespace(&object), json::name(&object)));
            Ok(written(kind, &client.call(Method::PUT, &path, Some((JSON, &object))).await?))
        }
        Write::Patch { kind, namespace, name, patch } => {
            let patched = client.call(Method::PATCH, &path(kind, &namespace, &name), Some((MERGE_PATCH, &patch))).await?;
            Ok(written(kind, &patched))
        }
        Write::Delete { kind, namespace, name, uid, propagation } => {
            let options = json!({
                "apiVersion": "v1", "kind": "DeleteOptions",
                "preconditions": {"uid": uid}, "propagationPolicy": propagation.as_str(),
            });
            match client.call(Method::DELETE, &path(kind, &namespace, &name), Some((JSON, &options))).await {
                // Gone already, or another of that name: both are what was wanted.
                Err(error) if !is_expected(&error) => Err(error),
                _ => Ok(Some(Sent::Deleted { kind, key: Key::new(namespace, name), uid })),
            }
        }
        Write::DeleteAll { kind, namespace } => {
            client.call(Method::DELETE, &kind.path(Some(&namespace)), None).await?;
            Ok(None)
        }
        Write::Finalize { namespace } => {
            let path = format!("/api/v1/namespaces/{}/finalize", json::name(&namespace));
            client.call(Method::PUT, &path, Some((JSON, &namespace))).await?;
            Ok(None)
        }
        Write::CheckAbsent { kind, namespace, name, uid } => match client.call(Method::GET, &path(kind, &namespace, &name), None).await {
            Ok(found) if json::uid(&found) == uid => Err(still_there(kind, &name)),
            Ok(_) => Ok(None),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        },
        Write::CheckEmpty { kind, namespace } => {
            let list = client.call(Method::GET, &format!("{}?limit=1", kind.path(Some(&namespace))), None).await?;
            if list["items"].as_array().is_none_or(Vec::is_empty) { Ok(None) } else { Err(still_there(kind, &namespace)) }
        }
        Write::Event(event) => {
            tell(client, controller, event);
            Ok(None)
        }
    }
}

fn path(kind: &Kind, namespace: &str, name: &str) -> String {
    format!("{}/{name}", kind.path(Some(namespace)))
}

fn written(kind: &'static Kind, object: &Value) -> Option<Sent> {
    Some(Sent::Written { kind, revision: json::resource_version(object) })
}

/// As the API would say that something is in the way: a conflict, tried again.
fn still_there(kind: &Kind, name: &str) -> Error {
    let status = Status { code: 409, message: format!("{kind} {name} is still there").into(), ..Status::default() };
    Error::Refused { status: Box::new(status), retry_after: None }
}

/// Nobody waits for an Event, and a lost one is no harm.
fn tell(client: &Client, controller: &'static str, event: Event) {
    let client = client.clone();
    tokio::spawn(async move {
        let about = Subject {
            api_version: json::text(&event.about["apiVersion"]),
            kind: json::text(&event.about["kind"]),
            namespace: json::text(&event.about["namespace"]),
            name: json::text(&event.about["name"]),
            uid: json::text(&event.about["uid"]),
        };
        let occurrence = Occurrence {
            about,
            event_type: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason,
            message: &event.message,
            component: controller,
            instance: "",
            when: SystemTime::now(),
        };
        if let Err(error) = client.record(&occurrence).await {
            debug!(%error, reason = event.reason, "an event was lost");
        }
    });
}
