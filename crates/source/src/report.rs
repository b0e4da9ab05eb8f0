//! What goes back: Events for new issues, and the addresses of Ingresses, written from a queue of their own.
//!
//! No write ever delays serving: whoever reports only leaves a note. Source: KEP-383 (one Event for a thing, not one a second).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client::{Client, EventType, Occurrence, Subject};
use model::{Issue, Issues, ObjectKind, ObjectRef};
use tokio::sync::mpsc;
use tracing::debug;

use crate::task;

/// What a sink has to say to the API.
#[derive(Clone, Debug)]
pub enum Report {
    /// All that a sink finds wrong with an object, as it is now.
    Issues { object: ObjectRef, issues: Vec<Issue> },
    /// Where this node's ingress answers: for the status of the Ingresses that it serves.
    IngressAddresses(Vec<IpAddr>),
}

/// Events of one object: this many at once, then one in [`REFILL`].
const BURST: u32 = 5;
const REFILL: Duration = Duration::from_secs(60);

/// Events that wait to be written; more are dropped, since the log and the metrics have them too.
const QUEUE: usize = 64;

/// Tells new issues: to the log always, to the API where there is one.
pub(crate) struct Writer {
    told: Arc<Issues>,
    events: Option<mpsc::Sender<(ObjectRef, Issue)>>,
    buckets: HashMap<ObjectRef, Bucket>,
}

struct Bucket {
    left: u32,
    since: Instant,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn log_only() -> Self {
        Self { told: Arc::default(), events: None, buckets: HashMap::new() }
    }

    pub(crate) fn to(client: Client) -> Self {
        let (events, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write(client, receiver));
        Self { events: Some(events), ..Self::log_only() }
    }

    /// Tells what is new in `issues`.
    pub(crate) fn tell(&mut self, issues: &Arc<Issues>) {
        if Arc::ptr_eq(&self.told, issues) {
            return;
        }
        let known: BTreeSet<_> = self.told.iter().collect();
        let new: Vec<_> = issues.iter().filter(|told| !known.contains(told)).collect();
        for (object, issue) in new {
            task::log(object, issue);
            let allowed = self.buckets.entry(object.clone()).or_insert_with(Bucket::full).take();
            if let Some(events) = self.events.as_ref().filter(|_| allowed) {
                // A full queue loses an Event, never time.
                let _ = events.try_send((object.clone(), issue.clone()));
            }
        }
        self.buckets.retain(|object, _| !issues.of(object).is_empty());
        self.told = issues.clone();
    }

    /// Takes note of where Ingresses are served.
    pub(crate) fn publish(&mut self, addresses: Vec<IpAddr>) {
        debug!(?addresses, "ingress addresses");
    }
}

async fn write(client: Client, mut events: mpsc::Receiver<(ObjectRef, Issue)>) {
    while let Some((object, issue)) = events.recv().await {
        let occurrence = Occurrence {
            about: Subject {
                api_version: api_version(object.kind),
                kind: object.kind.as_str(),
                namespace: &object.namespace,
                name: &object.name,
                uid: "",
            },
            event_type: EventType::Warning,
            reason: issue.reason.as_str(),
            message: &format!("{}: {}", issue.field, issue.message),
            component: "rutter",
            instance: "",
            when: SystemTime::now(),
        };
        if let Err(error) = client.record(&occurrence).await {
            debug!(%error, %object, "an event was lost");
        }
    }
}

fn api_version(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::EndpointSlice => "discovery.k8s.io/v1",
        ObjectKind::Ingress | ObjectKind::IngressClass | ObjectKind::ServiceCidr => "networking.k8s.io/v1",
        ObjectKind::ServiceImport => "multicluster.x-k8s.io/v1alpha1",
        _ => "v1",
    }
}

// === impl Bucket ===

impl Bucket {
    fn full() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let refilled = u32::try_from(self.since.elapsed().as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if refilled > 0 {
            self.left = self.left.saturating_add(refilled).min(BURST);
            self.since = Instant::now();
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
