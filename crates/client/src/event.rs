//! Events: what we tell users about their objects, shown by `kubectl describe`.

use std::time::SystemTime;

use api::Time;
use serde_json::{Value, json};

/// Something worth telling about an object.
#[derive(Debug, Clone)]
pub struct Occurrence<'a> {
    pub about: Subject<'a>,
    pub event_type: EventType,
    /// One word in CamelCase, for machines: `InvalidPort`.
    pub reason: &'a str,
    /// A sentence for people; at most 1 KiB is sent, as the server demands.
    pub message: &'a str,
    /// Who noticed: `rutter-proxy`.
    pub component: &'a str,
    /// The node or Pod that noticed.
    pub instance: &'a str,
    pub when: SystemTime,
}

/// The object that an Event is about.
#[derive(Debug, Clone, Default)]
pub struct Subject<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Empty for objects of the whole cluster, whose Events stand in `default`.
    pub namespace: &'a str,
    pub name: &'a str,
    /// Where known: `kubectl describe` selects by it.
    pub uid: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

const MAX_MESSAGE_BYTES: usize = 1024;

impl Occurrence<'_> {
    fn namespace(&self) -> &str {
        if self.about.namespace.is_empty() { "default" } else { self.about.namespace }
    }

    /// Where Events about that object are created.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/events", self.namespace())
    }

    /// The Event, for its first occurrence.
    pub fn body(&self) -> Value {
        let when = Time::from(self.when).to_string();
        let end = (0..=MAX_MESSAGE_BYTES.min(self.message.len())).rev().find(|at| self.message.is_char_boundary(*at));
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "generateName": format!("{}.", self.about.name), "namespace": self.namespace() },
            "involvedObject": {
                "apiVersion": self.about.api_version,
                "kind": self.about.kind,
                "namespace": self.about.namespace,
                "name": self.about.name,
                "uid": self.about.uid,
            },
            "type": match self.event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "reason": self.reason,
            "message": &self.message[..end.unwrap_or(0)],
            "source": { "component": self.component, "host": self.instance },
            "reportingComponent": self.component,
            "reportingInstance": self.instance,
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
        })
    }
}
