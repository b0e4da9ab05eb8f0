//! Events about pods: what `kubectl describe pod` shows. Written from a queue of their own, so that no pod waits for one.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use client::{Client, EventType, Method, Occurrence, Subject};
use runtime::time::Rfc3339;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::debug;

use crate::spec::Pod;

/// More that wait are dropped: nobody may depend on an Event.
const MAX_WAITING: usize = 256;

/// For each pod as many at once, and one more every five minutes: client-go's limits.
const BURST: f64 = 25.0;
const REFILL_SECS: f64 = 300.0;

/// Pods whose tokens are counted. At more than this all begin anew.
const MAX_BUCKETS: usize = 4096;

/// The way to the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Note>,
}

struct Note {
    namespace: String,
    name: String,
    uid: String,
    event_type: EventType,
    reason: &'static str,
    message: String,
    component: &'static str,
    when: SystemTime,
}

/// The pod's UID, reason and message: an Event that says the same again is counted, not repeated.
type Sameness = (String, &'static str, String);

/// An Event that the API has.
struct Written {
    path: String,
    count: u32,
}

/// Events that may be counted further. At more than this all begin anew.
const MAX_WRITTEN: usize = 4096;

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Events {
    /// Starts the task that writes; it ends with the last clone.
    pub(crate) fn start(client: Client, node: String) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(client, node, waiting));
        Self { queue }
    }

    pub(crate) fn normal(&self, pod: &Pod, reason: &'static str, message: impl Into<String>) {
        self.add(pod, EventType::Normal, reason, message.into(), "kubelet");
    }

    pub(crate) fn warn(&self, pod: &Pod, reason: &'static str, message: impl Into<String>) {
        self.add(pod, EventType::Warning, reason, message.into(), "kubelet");
    }

    /// As the scheduler says it.
    pub(crate) fn scheduling(&self, pod: &Pod, event_type: EventType, reason: &'static str, message: impl Into<String>) {
        self.add(pod, event_type, reason, message.into(), "default-scheduler");
    }

    fn add(&self, pod: &Pod, event_type: EventType, reason: &'static str, message: String, component: &'static str) {
        let meta = &pod.metadata;
        let (namespace, name, uid) = (meta.namespace.clone(), meta.name.clone(), meta.uid.clone());
        let note = Note { namespace, name, uid, event_type, reason, message, component, when: SystemTime::now() };
        if self.queue.try_send(note).is_err() {
            debug!(reason, "dropped an event: too many wait");
        }
    }
}

async fn write(client: Client, node: String, mut waiting: mpsc::Receiver<Note>) {
    let mut buckets: HashMap<String, Bucket> = HashMap::new();
    let mut written: HashMap<Sameness, Written> = HashMap::new();
    while let Some(note) = waiting.recv().await {
        if buckets.len() > MAX_BUCKETS {
            buckets.clear();
        }
        if written.len() > MAX_WRITTEN {
            written.clear();
        }
        let bucket = buckets.entry(note.uid.clone()).or_insert_with(|| Bucket { tokens: BURST, filled: Instant::now() });
        if !bucket.take(Instant::now()) {
            continue;
        }
        let sameness = (note.uid.clone(), note.reason, note.message.clone());
        let told = match written.get_mut(&sameness) {
            Some(known) => known.count_up(&client, note.when).await,
            None => create(&client, &node, &note).await.map(|new| drop(written.insert(sameness.clone(), new))),
        };
        if let Err(error) = told {
            // One that is gone is written anew the next time.
            written.remove(&sameness);
            debug!(pod = %note.name, reason = note.reason, %error, "an event was not written");
        }
    }
}

async fn create(client: &Client, node: &str, note: &Note) -> Result<Written, client::Error> {
    let occurrence = Occurrence {
        about: Subject { api_version: "v1", kind: "Pod", namespace: &note.namespace, name: &note.name, uid: &note.uid },
        event_type: note.event_type,
        reason: note.reason,
        message: &note.message,
        component: note.component,
        instance: node,
        when: note.when,
    };
    let path = occurrence.path();
    let event = client.call(Method::POST, &path, Some(("application/json", &occurrence.body()))).await?;
    let name = event["metadata"]["name"].as_str().unwrap_or_default();
    Ok(Written { path: format!("{path}/{name}"), count: 1 })
}

// === impl Written ===

impl Written {
    async fn count_up(&mut self, client: &Client, when: SystemTime) -> Result<(), client::Error> {
        self.count += 1;
        let patch = json!({"count": self.count, "lastTimestamp": Rfc3339(when).to_string()});
        client.call(Method::PATCH, &self.path, Some(("application/merge-patch+json", &patch))).await.map(drop)
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.filled).as_secs_f64() / REFILL_SECS;
        self.tokens = (self.tokens + refill).min(BURST);
        self.filled = now;
        let has = self.tokens >= 1.0;
        self.tokens -= if has { 1.0 } else { 0.0 };
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pod_may_tell_much_at_once_and_little_for_long() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: BURST, filled: start };
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 25);
        assert!(!bucket.take(start + Duration::from_secs(299)));
        assert!(bucket.take(start + Duration::from_secs(301)));
    }
}
