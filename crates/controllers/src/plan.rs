//! What a controller wants written: data, sent by the driver in order.

use std::time::Duration;

use api::Kind;
use serde_json::{Value, json};

use crate::json;

/// What is missing for one key.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In this order; the first that fails ends the plan, and the key is tried again later.
    pub writes: Vec<Write>,
    /// Something changes by time alone: look again after this long.
    pub again_after: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// `event` is told once it exists, the name that it was given at the end of the message.
    Create {
        kind: &'static Kind,
        object: Value,
        event: Option<Event>,
    },
    /// Replaces the object at the resourceVersion it holds: a change in between is a conflict, and the key is tried again.
    Update {
        kind: &'static Kind,
        object: Value,
    },
    /// As `Update`, of the status alone.
    UpdateStatus {
        kind: &'static Kind,
        object: Value,
    },
    /// A JSON merge patch (RFC 7386).
    Patch {
        kind: &'static Kind,
        namespace: String,
        name: String,
        patch: Value,
    },
    /// Only the object of this UID, never one that took its name.
    Delete {
        kind: &'static Kind,
        namespace: String,
        name: String,
        uid: String,
        propagation: Propagation,
    },
    /// Deletes whatever of `kind` a namespace holds.
    DeleteAll {
        kind: &'static Kind,
        namespace: String,
    },
    /// Takes the Namespace's last finalizer away, so that the API lets it go.
    Finalize {
        namespace: Value,
    },
    /// Asks the API itself whether no object of this UID is there: caches of different kinds are not of the same moment. One that
    /// is there ends the plan, and the key is tried again.
    CheckAbsent {
        kind: &'static Kind,
        namespace: String,
        name: String,
        uid: String,
    },
    /// The same for all objects of a kind in a namespace.
    CheckEmpty {
        kind: &'static Kind,
        namespace: String,
    },
    Event(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Something worth telling people about an object. Never a reason for a plan to fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub about: Value,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

// === impl Plan ===

impl Plan {
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub fn event(&mut self, about: &Value, reason: &'static str, message: impl Into<String>) {
        self.writes.push(Write::Event(Event::new(about, reason, message)));
    }

    /// Looks again after `delay`, or earlier if something else wants that.
    pub fn again_after(&mut self, delay: Duration) {
        self.again_after = Some(self.again_after.map_or(delay, |other| other.min(delay)));
    }
}

// === impl Write ===

impl Write {
    pub fn delete(kind: &'static Kind, object: &Value, propagation: Propagation) -> Self {
        Write::Delete {
            kind,
            namespace: json::namespace(object).to_string(),
            name: json::name(object).to_string(),
            uid: json::uid(object).to_string(),
            propagation,
        }
    }

    pub fn patch(kind: &'static Kind, object: &Value, patch: Value) -> Self {
        Write::Patch { kind, namespace: json::namespace(object).to_string(), name: json::name(object).to_string(), patch }
    }

    /// Makes `owner` the controller of `object`, or (`None`) takes away the controller that it has.
    pub fn set_controller(kind: &'static Kind, object: &Value, owner: Option<&Value>) -> Self {
        let others = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let mut owners: Vec<Value> = others.filter(|it| it["controller"] != true).cloned().collect();
        owners.extend(owner.map(json::controller_reference));
        // The UID keeps the patch from an object that took the name.
        Self::patch(kind, object, json!({"metadata": {"uid": json::uid(object), "ownerReferences": owners}}))
    }
}

// === impl Event ===

impl Event {
    pub fn new(about: &Value, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about: json::reference(about), warning: false, reason, message: message.into() }
    }
}

// === impl Propagation ===

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}
