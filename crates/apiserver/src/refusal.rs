//! Refusals: how the server says no, as the `Status` object that clients read.
//!
//! Owns the reasons, codes and texts that are the same for every kind. Must not know HTTP beyond the code, nor what led to the refusal.
//!
//! Source: apimachinery's pkg/api/errors/errors.go; metav1.StatusReason.

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::patch::PatchError;
use crate::schema::Gvk;
use crate::validate::{Cause, summary};

/// An answer with `status: Failure`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code} {message}")]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// `Status.details`.
    details: Option<Value>,
    /// Seconds after which the same request may pass (`Retry-After`).
    pub retry_after: Option<u32>,
    /// The token of a list that can go on although its snapshot is gone.
    resume: Option<String>,
    /// Sent as text, not as a Status: what Go's own mux says.
    pub plain: bool,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, reason, message: message.into(), details: None, retry_after: None, resume: None, plain: false }
    }

    fn details(mut self, details: Value) -> Refusal {
        self.details = Some(details);
        self
    }

    /// No such path: not a Status.
    pub fn no_path() -> Refusal {
        Refusal { plain: true, ..Refusal::new(404, "NotFound", "404 page not found\n") }
    }

    pub fn not_found(kind: &Kind, name: &str) -> Refusal {
        Refusal::new(404, "NotFound", format!("{} {name:?} not found", kind.qualified)).details(about(kind, name))
    }

    pub fn already_exists(kind: &Kind, name: &str) -> Refusal {
        Refusal::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.qualified)).details(about(kind, name))
    }

    /// Five random names in a row were taken.
    pub fn no_free_name(kind: &Kind, name: &str) -> Refusal {
        let text = "the server was not able to generate a unique name for the object";
        let message = format!("{} {name:?} already exists, {text}", kind.qualified);
        Refusal { retry_after: Some(1), ..Refusal::new(409, "AlreadyExists", message).details(about(kind, name)) }
    }

    pub fn conflict(kind: &Kind, name: &str, text: &str) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {text}", kind.qualified);
        Refusal::new(409, "Conflict", message).details(about(kind, name))
    }

    /// The same at a subresource, `pods/binding`.
    pub fn conflict_at(kind: &Kind, subresource: &str, name: &str, text: &str) -> Refusal {
        let mut details = about(kind, name);
        details["kind"] = format!("{}/{subresource}", kind.resource).into();
        let message = format!("Operation cannot be fulfilled on {}/{subresource} {name:?}: {text}", kind.resource);
        Refusal::new(409, "Conflict", message).details(details)
    }

    /// What the deleter expected of the object does not hold. Here Kubernetes calls the resource by its kind.
    pub fn precondition(kind: &Kind, name: &str, text: &str) -> Refusal {
        let what = if kind.gvk.group.is_empty() { kind.gvk.kind.clone() } else { format!("{}.{}", kind.gvk.kind, kind.gvk.group) };
        let mut details = about(kind, name);
        details["kind"] = kind.gvk.kind.clone().into();
        Refusal::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} {name:?}: {text}")).details(details)
    }

    /// Below a group and version that are served there is nothing of that name.
    pub fn no_resource() -> Refusal {
        Refusal::new(404, "NotFound", "the server could not find the requested resource").details(json!({}))
    }

    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message)
    }

    pub fn forbidden(kind: &Kind, name: &str, text: &str) -> Refusal {
        let message = if name.is_empty() {
            format!("{} is forbidden: {text}", kind.qualified)
        } else {
            format!("{} {name:?} is forbidden: {text}", kind.qualified)
        };
        Refusal::new(403, "Forbidden", message).details(about(kind, name))
    }

    /// The namespace goes away: what is made in it now would stay behind.
    pub fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Refusal {
        let text = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut refusal = Refusal::forbidden(kind, name, &text);
        let message = format!("namespace {namespace} is being terminated");
        let mut details = about(kind, name);
        details["causes"] = json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
        refusal.details = Some(details);
        refusal
    }

    pub fn invalid(gvk: &Gvk, name: &str, causes: &[Cause]) -> Refusal {
        let kind = if gvk.group.is_empty() { gvk.kind.clone() } else { format!("{}.{}", gvk.kind, gvk.group) };
        let message = format!("{kind} {name:?} is invalid: {}", summary(causes));
        let list: Vec<Value> =
            causes.iter().map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field})).collect();
        let mut details = json!({"causes": list});
        if !gvk.kind.is_empty() {
            details["kind"] = gvk.kind.clone().into();
        }
        if !name.is_empty() {
            details["name"] = name.into();
        }
        if !gvk.group.is_empty() {
            details["group"] = gvk.group.clone().into();
        }
        Refusal::new(422, "Invalid", message).details(details)
    }

    /// One cause at one field.
    pub fn invalid_field(gvk: &Gvk, name: &str, reason: &'static str, field: &str, message: impl Into<String>) -> Refusal {
        Refusal::invalid(gvk, name, &[Cause { reason, field: field.to_owned(), message: message.into() }])
    }

    pub fn internal(text: impl std::fmt::Display) -> Refusal {
        let text = text.to_string();
        let details = json!({"causes": [{"message": text}]});
        Refusal::new(500, "InternalError", format!("Internal error occurred: {text}")).details(details)
    }

    /// An error of the server that has no reason of its own.
    pub fn unknown(message: impl Into<String>) -> Refusal {
        Refusal::new(500, "", message)
    }

    pub fn method_not_allowed() -> Refusal {
        Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").details(json!({}))
    }

    pub fn not_acceptable() -> Refusal {
        let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Refusal::new(406, "NotAcceptable", format!("only the following media types are accepted: {accepted}"))
    }

    pub fn unsupported_body() -> Refusal {
        let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let text = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Refusal::new(415, "UnsupportedMediaType", text)
    }

    pub fn unsupported_patch() -> Refusal {
        Refusal::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").details(json!({}))
    }

    pub fn not_yet(what: &str) -> Refusal {
        Refusal::new(501, "NotImplemented", format!("{what} is not supported by this server yet"))
    }

    pub fn body_too_large(limit: usize) -> Refusal {
        Refusal::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}")).details(json!({}))
    }

    pub fn unauthorized() -> Refusal {
        Refusal::new(401, "Unauthorized", "Unauthorized")
    }

    /// A list's snapshot is no longer kept; `resume` goes on without it.
    pub fn expired_list(resume: String) -> Refusal {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
                       the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
                       Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
                       deleted between the time the first chunk was returned and now may show up in the list.";
        Refusal { resume: Some(resume), ..Refusal::new(410, "Expired", message) }
    }

    pub fn expired(message: impl Into<String>) -> Refusal {
        Refusal::new(410, "Expired", message)
    }

    /// A revision that the store has not reached.
    pub fn future_revision(asked: u64, current: u64) -> Refusal {
        let details =
            json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1});
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Refusal { retry_after: Some(1), ..Refusal::new(504, "Timeout", message).details(details) }
    }

    pub fn of_patch(error: PatchError) -> Refusal {
        match error {
            PatchError::Malformed(text) => Refusal::bad_request(text),
            PatchError::Unprocessable(_) => {
                Refusal::new(422, "Invalid", "the server rejected our request due to an error in our request").details(json!({}))
            }
            PatchError::TooLarge(text) => Refusal::new(413, "RequestEntityTooLarge", text).details(json!({})),
            PatchError::Failed(text) => Refusal::unknown(text),
        }
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code});
        if !self.message.is_empty() {
            status["message"] = self.message.clone().into();
        }
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(resume) = &self.resume {
            status["metadata"]["continue"] = resume.clone().into();
        }
        status
    }
}

fn about(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"kind": kind.resource});
    if !name.is_empty() {
        details["name"] = name.into();
    }
    if !kind.gvk.group.is_empty() {
        details["group"] = kind.gvk.group.clone().into();
    }
    details
}
