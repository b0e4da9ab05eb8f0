//! What goes back: Events for new issues, and the addresses of Ingresses, written from queues of their own.
//!
//! No write ever delays serving: whoever reports only leaves a note. An Event that finds its queue full is lost, since the log and
//! the metrics have the issue too; of a status the latest is kept until it is written. Without an API there is only the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use api::AnyObject;
use client::{Client, EventType, Occurrence, Subject};
use model::facts::{IngressName, LoadBalancerName};
use model::{Issue, Issues, ObjectRef};
use runtime::{Backoff, Drain};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, info, warn};

/// What a sink has to say to the API.
#[derive(Clone, Debug)]
pub enum Report {
    /// All that a sink finds wrong with an object, as it is now.
    Issues { object: ObjectRef, issues: Vec<Issue> },
    /// Where an Ingress is answered, for its `status.loadBalancer`; none: it no longer is.
    IngressStatus { ingress: IngressName, addresses: Vec<LoadBalancerName> },
}

/// How long an issue has to last to be told. Objects that refer to each other arrive one after the other: a Secret that is missing
/// for a moment is nobody's business.
const LASTING: Duration = Duration::from_millis(500);

/// Events of one object: this many at once, then one in [`REFILL`]. client-go's spam filter allows 25 and one in 5 minutes.
const BURST: u32 = 5;
const REFILL: Duration = Duration::from_secs(60);

/// Events that wait to be written.
const QUEUE: usize = 64;

// === Issues ===

/// Tells each issue that lasts, once: to the log always, to the API where there is one.
pub(crate) async fn tell(mut issues: watch::Receiver<Arc<Issues>>, client: Option<Client>, drain: Drain) {
    let events = client.map(|client| {
        let (events, queued) = mpsc::channel(QUEUE);
        tokio::spawn(write_events(client, queued));
        events
    });
    let mut told = Arc::<Issues>::default();
    let mut buckets: HashMap<ObjectRef, Bucket> = HashMap::new();
    loop {
        tokio::select! {
            changed = issues.changed() => if changed.is_err() { return },
            () = drain.started() => return,
        }
        tokio::time::sleep(LASTING).await;
        let now = issues.borrow_and_update().clone();
        for (object, issue) in unseen(&told, &now) {
            warn!(%object, field = %issue.field, reason = issue.reason.as_str(), "{}", issue.message);
            let allowed = buckets.entry(object.clone()).or_insert_with(Bucket::full).take();
            if let Some(events) = events.as_ref().filter(|_| allowed) {
                let _ = events.try_send((object.clone(), issue.clone()));
            }
        }
        buckets.retain(|object, bucket| !now.of(object).is_empty() || !bucket.is_full());
        told = now;
    }
}

fn unseen<'a>(before: &Issues, now: &'a Issues) -> Vec<(&'a ObjectRef, &'a Issue)> {
    let known: BTreeSet<_> = before.iter().collect();
    now.iter().filter(|issue| !known.contains(issue)).collect()
}

async fn write_events(client: Client, mut events: mpsc::Receiver<(ObjectRef, Issue)>) {
    while let Some((object, issue)) = events.recv().await {
        // Only objects of the API can have Events.
        let Some(kind) = AnyObject::KINDS.iter().find(|kind| kind.kind == object.kind.as_str()).filter(|_| &*object.name != "*") else {
            continue;
        };
        let path = format!("{}/{}", kind.path(Some(&object.namespace)), object.name);
        // `kubectl describe` finds Events by the uid, which no fact holds.
        let uid = match client.call(client::Method::GET, &path, None).await {
            Ok(found) => found.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            Err(error) => {
                debug!(%error, %object, "an Event without uid");
                String::new()
            }
        };
        let (api_version, namespace) = (kind.api_version(), if kind.namespaced { &*object.namespace } else { "" });
        let occurrence = Occurrence {
            about: Subject { api_version: &api_version, kind: kind.kind, namespace, name: &object.name, uid: &uid },
            event_type: EventType::Warning,
            reason: issue.reason.as_str(),
            message: &format!("{}: {}", issue.field, issue.message),
            component: "rutter",
            instance: "",
            when: SystemTime::now(),
        };
        if let Err(error) = client.record(&occurrence).await {
            debug!(%error, %object, "an Event was lost");
        }
    }
}

/// How many Events an object may still have.
struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    fn full() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    fn take(&mut self) -> bool {
        self.refill();
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    fn is_full(&mut self) -> bool {
        self.refill();
        self.left == BURST
    }

    fn refill(&mut self) {
        let refilled = u32::try_from(self.since.elapsed().as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if refilled > 0 {
            self.left = self.left.saturating_add(refilled).min(BURST);
            self.since = Instant::now();
        }
    }
}

// === Statuses ===

/// The statuses that have to be written, the latest of each Ingress.
#[derive(Clone)]
pub(crate) struct Statuses {
    /// `None` where there is no API to write to.
    waiting: Option<Arc<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    statuses: Mutex<BTreeMap<IngressName, Vec<LoadBalancerName>>>,
    added: Notify,
}

impl Statuses {
    pub(crate) fn nowhere() -> Self {
        Self { waiting: None }
    }

    pub(crate) fn to(client: Client, drain: Drain) -> Self {
        let waiting = Arc::<Waiting>::default();
        let writing = waiting.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = writing.write(client) => {}
                () = drain.started() => {}
            }
        });
        Self { waiting: Some(waiting) }
    }

    pub(crate) fn put(&self, ingress: IngressName, addresses: Vec<LoadBalancerName>) {
        match &self.waiting {
            Some(waiting) => {
                waiting.lock().insert(ingress, addresses);
                waiting.added.notify_one();
            }
            None => info!(ingress = %ingress.object(), ?addresses, "status"),
        }
    }
}

impl Waiting {
    async fn write(&self, client: Client) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let next = self.lock().pop_first();
            let Some((ingress, addresses)) = next else {
                self.added.notified().await;
                continue;
            };
            match write_status(&client, &ingress, &addresses).await {
                Ok(()) => backoff.reset(),
                // Deleted meanwhile.
                Err(error) if error.code() == Some(404) => {}
                Err(error) => {
                    warn!(ingress = %ingress.object(), %error, "the status could not be written, trying again");
                    // Unless something newer has been said.
                    self.lock().entry(ingress).or_insert(addresses);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<IngressName, Vec<LoadBalancerName>>> {
        // An entry cannot be left half written.
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the status if it is not what it should be.
async fn write_status(client: &Client, ingress: &IngressName, addresses: &[LoadBalancerName]) -> Result<(), client::Error> {
    let IngressName { namespace, name } = ingress;
    let found: api::Ingress = client.get(namespace, name).await?;
    let texts = |address: &LoadBalancerName| match address {
        LoadBalancerName::Ip(ip) => (ip.to_string(), String::new()),
        LoadBalancerName::Hostname(hostname) => (String::new(), hostname.to_string()),
    };
    let wanted: Vec<_> = addresses.iter().map(texts).collect();
    let written = &found.status.load_balancer.ingress;
    if written.iter().map(|address| (&*address.ip, &*address.hostname)).eq(wanted.iter().map(|(ip, hostname)| (&**ip, &**hostname))) {
        return Ok(());
    }
    let entries = wanted.iter().map(|(ip, hostname)| if ip.is_empty() { json!({ "hostname": hostname }) } else { json!({ "ip": ip }) });
    let patch = json!({ "status": { "loadBalancer": { "ingress": entries.collect::<Vec<_>>() } } });
    client.patch::<api::Ingress>(namespace, name, Some("status"), &patch).await.map(drop)
}
