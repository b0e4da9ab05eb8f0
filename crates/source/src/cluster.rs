//! The API origin: one follower for each kind of interest, and one for each Secret that is referred to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::{AnyObject, Object};
use client::{Absence, Client, Event, Freshness, Pace, Scope};
use model::resolve::Want;
use model::{Change, Issue, ObjectKind, ObjectRef, Reason, SecretName, View};
use runtime::Drain;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::interests::{Interest, interests};
use crate::lower::{self, Id, Interner};
use crate::task::Told;

/// Events of one kind that wait, and changes that wait for the model.
const QUEUE: usize = 1_024;

type Texts = Arc<Mutex<Interner>>;

/// One object as facts.
struct Fact {
    id: Id,
    changes: [Change; 2],
}

/// Which required kinds have not been listed yet.
struct Missing {
    left: Mutex<HashSet<&'static str>>,
    synced: watch::Sender<bool>,
}

/// Starts following what `want` needs.
pub(crate) fn follow(client: Client, want: Want, drain: Drain) -> Told {
    let (changes, out) = mpsc::channel(QUEUE);
    let interests = interests(want);
    let required = interests.iter().filter(|interest| interest.required).map(|interest| interest.plural).collect();
    let (synced, is_synced) = watch::channel(false);
    let missing = Arc::new(Missing { left: Mutex::new(required), synced });
    let texts = Texts::default();
    let (wanted, wants) = watch::channel(View::new());
    for interest in interests {
        if interest.by_name {
            let (client, changes, wants) = (client.clone(), changes.clone(), wants.clone());
            let texts = texts.clone();
            tokio::spawn(until(drain.clone(), secrets(client, wants, texts, changes)));
        } else {
            start_kind(&interest, &client, &texts, &changes, &missing, &drain);
        }
    }
    Told { changes: out, synced: is_synced, wanted_secrets: Some(wanted) }
}

fn start_kind(
    interest: &Interest,
    client: &Client,
    texts: &Texts,
    changes: &mpsc::Sender<Vec<Change>>,
    missing: &Arc<Missing>,
    drain: &Drain,
) {
    macro_rules! start {
        ($($kind:ident),*) => {
            match interest.plural {
                $(plural if plural == api::$kind::KIND.plural => {
                    let scope = Scope { labels: selector(interest.labels), ..Scope::default() };
                    let receiver = start_follower::<api::$kind>(client, scope, texts);
                    tokio::spawn(until(drain.clone(), relay(plural, receiver, texts.clone(), changes.clone(), missing.clone())));
                })*
                other => unreachable!("BUG: no follower for {other}"),
            }
        };
    }
    start!(Service, EndpointSlice, Node, Namespace, Ingress, IngressClass, ServiceCidr, ServiceImport);
}

fn selector(text: &str) -> api::Selector {
    api::Selector::parse(text).expect("BUG: a selector of the table of interests is not valid")
}

fn start_follower<K: Object>(client: &Client, scope: Scope, texts: &Texts) -> mpsc::Receiver<Event<Option<Fact>>>
where
    AnyObject: From<K>,
{
    let (events, receiver) = mpsc::channel(QUEUE);
    let texts = texts.clone();
    let lower = move |object: K| fact(&AnyObject::from(object), &texts);
    tokio::spawn(client::follow(client.clone(), scope, Pace::default(), Freshness::default(), lower, events));
    receiver
}

fn fact(object: &AnyObject, texts: &Texts) -> Option<Fact> {
    // Interning cannot leave the table half written.
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    let id = Id::of(object, &mut texts)?;
    let lowered = lower::lower(object, &mut texts)?;
    Some(Fact { id, changes: [lowered.change, lowered.issues] })
}

/// Turns the events of one kind into changes.
async fn relay(
    plural: &'static str,
    mut events: mpsc::Receiver<Event<Option<Fact>>>,
    texts: Texts,
    changes: mpsc::Sender<Vec<Change>>,
    missing: Arc<Missing>,
) {
    let kind = api::AnyObject::KINDS.iter().find(|kind| kind.plural == plural).and_then(|kind| lower::kind_of(kind.kind));
    let kind = kind.expect("BUG: a kind of interest that is no fact");
    let mut known = HashSet::new();
    while let Some(event) = events.recv().await {
        let listed = matches!(event, Event::Restarted { .. });
        let told = changes_of(kind, event, &mut known, &texts);
        if changes.send(told).await.is_err() {
            return;
        }
        if listed {
            missing.found(plural);
        }
    }
}

fn changes_of(kind: ObjectKind, event: Event<Option<Fact>>, known: &mut HashSet<Id>, texts: &Texts) -> Vec<Change> {
    let mut told = Vec::new();
    match event {
        Event::Restarted { objects, broken } => {
            let mut listed = HashSet::new();
            for fact in objects.into_iter().flatten() {
                listed.insert(fact.id);
                told.extend(fact.changes);
            }
            for error in &broken {
                let id = id_of(kind, &error.namespace, &error.name, texts);
                told.push(Change::Issues(id.object(), vec![lower::undecodable(error)]));
                // It exists: its last readable state is kept.
                listed.insert(id);
            }
            told.extend(known.difference(&listed).flat_map(Id::gone));
            *known = listed;
        }
        Event::Applied(fact) => {
            if let Some(fact) = fact {
                known.insert(fact.id);
                told.extend(fact.changes);
            }
        }
        Event::Deleted(key) => {
            let id = id_of(kind, &key.namespace, &key.name, texts);
            known.remove(&id);
            told.extend(id.gone());
        }
        Event::Broken(error) => {
            let id = id_of(kind, &error.namespace, &error.name, texts);
            told.push(Change::Issues(id.object(), vec![lower::undecodable(&error)]));
        }
        Event::Absent(Absence::NotServed) => {
            info!(kind = kind.as_str(), "this cluster does not serve the kind");
            told.extend(known.drain().flat_map(|id| id.gone()));
        }
        Event::Absent(Absence::Forbidden(why)) => {
            warn!(kind = kind.as_str(), %why, "not allowed to read the kind");
            let object = ObjectRef { kind, namespace: "".into(), name: "*".into() };
            told.push(Change::Issues(object, vec![Issue::new("", Reason::NotReadable, &*why)]));
        }
    }
    told
}

fn id_of(kind: ObjectKind, namespace: &str, name: &str, texts: &Texts) -> Id {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    Id { kind, namespace: texts.text(namespace), name: texts.text(name) }
}

/// Follows each Secret that is wanted, by its name, for as long as it is.
async fn secrets(client: Client, mut wants: watch::Receiver<View<SecretName, ()>>, texts: Texts, changes: mpsc::Sender<Vec<Change>>) {
    let mut followed: HashMap<SecretName, AbortHandle> = HashMap::new();
    loop {
        let wanted: HashSet<SecretName> = wants.borrow_and_update().iter().map(|(name, ())| name.clone()).collect();
        let given_up: Vec<_> = followed.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in given_up {
            if let Some(follower) = followed.remove(&name) {
                follower.abort();
            }
            if changes.send(vec![Change::Secret(name, None)]).await.is_err() {
                return;
            }
        }
        for name in wanted {
            followed.entry(name.clone()).or_insert_with(|| {
                let scope = Scope {
                    namespace: Some(name.namespace.to_string()),
                    fields: format!("metadata.name={}", name.name),
                    ..Scope::default()
                };
                let mut events = start_follower::<api::Secret>(&client, scope, &texts);
                let (texts, changes) = (texts.clone(), changes.clone());
                let follower = tokio::spawn(async move {
                    let mut known = HashSet::new();
                    while let Some(event) = events.recv().await {
                        let told = changes_of(ObjectKind::Secret, event, &mut known, &texts);
                        if changes.send(told).await.is_err() {
                            return;
                        }
                    }
                });
                debug!(secret = %name, "following a Secret");
                follower.abort_handle()
            });
        }
        if wants.changed().await.is_err() {
            return;
        }
    }
}

async fn until(drain: Drain, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = drain.started() => {}
    }
}

// === impl Missing ===

impl Missing {
    fn found(&self, plural: &str) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.remove(plural);
        if left.is_empty() {
            self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
        }
    }
}
