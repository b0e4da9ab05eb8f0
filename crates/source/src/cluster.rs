//! The API origin: one follower for each kind of interest, on demand for some, and one for each Secret that is referred to.
//!
//! All of them feed the same task. Nothing is published before every kind was listed once; a kind that the server lacks or forbids
//! is told as an issue, and only a required one is waited for.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use api::{AnyObject, DecodeError, Kind, Object};
use client::{Absence, Client, Event, Freshness, Pace, Scope};
use model::{Change, Issue, ObjectKind, ObjectRef, Reason, SecretName, View};
use runtime::Drain;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::interests::{Interest, interests};
use crate::lower::{self, Id, Interner};
use crate::task::{Batch, Listed, Told};
use crate::{Config, OnDemand};

/// Events of one kind that wait, and changes that wait for the model.
const QUEUE: usize = 1_024;

type Texts = Arc<Mutex<Interner>>;

/// One object as facts.
struct Fact {
    id: Id,
    fact: Change,
    issues: Vec<Issue>,
}

/// What all relays share.
#[derive(Clone)]
struct Shared {
    client: Client,
    texts: Texts,
    batches: mpsc::Sender<Batch>,
}

/// Starts following what `config` needs.
pub(crate) fn follow(client: Client, config: &Config, drain: Drain) -> Told {
    let (batches, out) = mpsc::channel(QUEUE);
    let texts = if config.model.want.names { Interner::default() } else { Interner::without_names() };
    let shared = Shared { client, texts: Arc::new(Mutex::new(texts)), batches };
    let (demand, wanted) = watch::channel(config.on_demand.clone());
    let mut told =
        Told { batches: out, missing: HashSet::new(), wanted_secrets: None, demand: Some(Arc::new(demand)), freshness: Vec::new() };
    for interest in interests(&Config { on_demand: OnDemand::EVERYTHING, ..config.clone() }) {
        if interest.by_name {
            let (wanted, wants) = watch::channel(View::new());
            told.wanted_secrets = Some(wanted);
            tokio::spawn(until(drain.clone(), secrets(shared.clone(), wants)));
            continue;
        }
        let (plural, freshness, shared) = (interest.kind.plural, Freshness::default(), shared.clone());
        told.freshness.push((interest.kind.kind, freshness.clone()));
        let is_on_demand = OnDemand::EVERYTHING.asked(plural).is_some();
        if !is_on_demand || config.on_demand.asked(plural).is_some() {
            told.missing.insert(plural);
        }
        if is_on_demand {
            tokio::spawn(until(drain.clone(), follow_on_demand(interest, shared, freshness, wanted.clone())));
        } else {
            let (events, follower) = events_of(&interest, &shared, freshness);
            // One task for both: a change that goes from one task to another may wake a thread for it.
            tokio::spawn(until(drain.clone(), async move {
                let mut known = Known::of(&interest, &shared);
                tokio::join!(relay(&interest, events, &mut known, &shared), follower);
            }));
        }
    }
    told
}

/// Follows as much of a kind as is asked for; when that changes, all of its objects are told as gone first.
async fn follow_on_demand(mut interest: Interest, shared: Shared, freshness: Freshness, mut wanted: watch::Receiver<OnDemand>) {
    let plural = interest.kind.plural;
    loop {
        let asked = wanted.wait_for(|wanted| wanted.asked(plural).is_some()).await.map(|wanted| wanted.asked(plural));
        let Ok(Some(asked)) = asked else { return };
        interest = Interest { scope: asked.scope.clone(), required: asked.required, ..interest };
        info!(kind = plural, fields = interest.scope.fields, "asked for");
        let mut known = Known::of(&interest, &shared);
        // Not a task of its own: with the end of this nobody says any more how fresh the kind is.
        let (events, follower) = events_of(&interest, &shared, freshness.clone());
        tokio::select! {
            () = relay(&interest, events, &mut known, &shared) => return,
            () = follower => return,
            given_up = wanted.wait_for(|wanted| wanted.asked(plural).as_ref() != Some(&asked)) => if given_up.is_err() { return },
        }
        info!(kind = plural, "no longer asked for");
        freshness.forget();
        if shared.batches.send(Batch { changes: known.give_up(), listed: Some(Listed::GivenUp(plural)) }).await.is_err() {
            return;
        }
    }
}

/// The events of a kind, whichever it is, and who brings them.
fn events_of(interest: &Interest, shared: &Shared, freshness: Freshness) -> (Events, Follower) {
    macro_rules! start {
        ($($kind:ident),*) => {
            match interest.kind.plural {
                $(plural if plural == api::$kind::KIND.plural => start::<api::$kind>(shared, interest.scope.clone(), freshness),)*
                other => unreachable!("BUG: no follower for {other}"),
            }
        };
    }
    start!(Service, EndpointSlice, Node, Namespace, Pod, Ingress, IngressClass, ServiceCidr, ServiceImport)
}

type Events = mpsc::Receiver<Event<Option<Fact>>>;

/// Goes on until its events are dropped.
type Follower = Pin<Box<dyn Future<Output = ()> + Send>>;

fn start<K: Object>(shared: &Shared, scope: Scope, freshness: Freshness) -> (Events, Follower)
where
    AnyObject: From<K>,
{
    let (events, receiver) = mpsc::channel(QUEUE);
    let texts = shared.texts.clone();
    // Old servers leave out what newer ones fill in.
    let lower = move |mut object: K| {
        object.set_defaults();
        fact(&AnyObject::from(object), &texts)
    };
    (receiver, Box::pin(client::follow(shared.client.clone(), scope, Pace::default(), freshness, lower, events)))
}

fn fact(object: &AnyObject, texts: &Texts) -> Option<Fact> {
    let mut texts = lock(texts);
    let id = Id::of(object, &mut texts)?;
    let lowered = lower::lower(object, &mut texts)?;
    Some(Fact { id, fact: lowered.fact, issues: lowered.issues })
}

/// Turns the events of one kind into changes.
async fn relay(interest: &Interest, mut events: Events, known: &mut Known, shared: &Shared) {
    let plural = interest.kind.plural;
    while let Some(event) = events.recv().await {
        let listed = match &event {
            Event::Restarted { .. } => Some(Listed::Kind(plural, interest.scope.clone())),
            Event::Absent(_) if !interest.required => Some(Listed::Kind(plural, interest.scope.clone())),
            Event::Absent(absence) => Some(Listed::Refused(plural, interest.scope.clone(), why(absence, plural))),
            _ => None,
        };
        if shared.batches.send(Batch { changes: known.take(event), listed }).await.is_err() {
            return;
        }
    }
}

/// Follows each Secret that is wanted, by its name, for as long as it is.
async fn secrets(shared: Shared, mut wants: watch::Receiver<View<SecretName, ()>>) {
    let mut followed: HashMap<SecretName, AbortHandle> = HashMap::new();
    loop {
        let wanted = wants.borrow_and_update().clone();
        let given_up: Vec<_> = followed.keys().filter(|name| wanted.get(name).is_none()).cloned().collect();
        for name in given_up {
            if let Some(follower) = followed.remove(&name) {
                follower.abort();
            }
            let gone = Id { kind: ObjectKind::Secret, namespace: name.namespace, name: name.name }.gone().collect();
            if shared.batches.send(Batch { changes: gone, listed: None }).await.is_err() {
                return;
            }
        }
        for (name, ()) in wanted.iter() {
            followed.entry(name.clone()).or_insert_with(|| {
                debug!(secret = %name, "following a Secret");
                tokio::spawn(secret(shared.clone(), name.clone())).abort_handle()
            });
        }
        if wants.changed().await.is_err() {
            return;
        }
    }
}

async fn secret(shared: Shared, name: SecretName) {
    let scope = Scope { namespace: Some(name.namespace.to_string()), fields: format!("metadata.name={}", name.name), ..Scope::default() };
    let (mut events, follower) = start::<api::Secret>(&shared, scope, Freshness::default());
    tokio::spawn(follower);
    let mut known = Known::new(&api::Secret::KIND, shared.texts.clone());
    while let Some(event) = events.recv().await {
        // Whatever the answer was, it is not waited for any longer.
        let listed = Some(Listed::Secret(name.clone()));
        if shared.batches.send(Batch { changes: known.take(event), listed }).await.is_err() {
            return;
        }
    }
}

/// The objects of one kind that were told, so that what a new list lacks can be told as gone.
struct Known {
    kind: ObjectKind,
    plural: &'static str,
    ids: HashSet<Id>,
    /// Those of them that have issues.
    faulty: HashSet<Id>,
    texts: Texts,
    /// The kind itself has an issue.
    is_absent: bool,
}

impl Known {
    fn new(kind: &Kind, texts: Texts) -> Self {
        let plural = kind.plural;
        let kind = lower::kind_of(kind.kind).expect("BUG: a kind of interest that is no fact");
        Self { kind, plural, ids: HashSet::new(), faulty: HashSet::new(), texts, is_absent: false }
    }

    fn of(interest: &Interest, shared: &Shared) -> Self {
        Self::new(&interest.kind, shared.texts.clone())
    }

    /// Nothing is known of the kind any more, nor is it missed.
    fn give_up(&mut self) -> Vec<Change> {
        self.faulty.clear();
        let gone = self.ids.drain().flat_map(|id| id.gone()).collect::<Vec<_>>();
        gone.into_iter().chain([Change::Issues(self.every(), Vec::new())]).collect()
    }

    fn take(&mut self, event: Event<Option<Fact>>) -> Vec<Change> {
        let mut told = Vec::new();
        if self.is_absent && !matches!(event, Event::Absent(_)) {
            self.is_absent = false;
            told.push(Change::Issues(self.every(), Vec::new()));
        }
        match event {
            Event::Restarted { objects, broken } => {
                let mut listed = HashSet::with_capacity(objects.len());
                for fact in objects.into_iter().flatten() {
                    listed.insert(fact.id.clone());
                    self.take_fact(fact, &mut told);
                }
                for error in &broken {
                    // It exists: its last readable state is kept.
                    listed.insert(self.take_broken(error, &mut told));
                }
                told.extend(self.ids.difference(&listed).flat_map(Id::gone));
                self.faulty.retain(|id| listed.contains(id));
                self.ids = listed;
            }
            Event::Applied(fact) => {
                if let Some(fact) = fact {
                    self.ids.insert(fact.id.clone());
                    self.take_fact(fact, &mut told);
                }
            }
            Event::Deleted(key) => {
                let id = self.id(&key.namespace, &key.name);
                told.extend(id.gone());
                self.ids.remove(&id);
                self.faulty.remove(&id);
            }
            Event::Broken(error) => {
                let id = self.take_broken(&error, &mut told);
                self.ids.insert(id);
            }
            Event::Absent(absence) => {
                self.is_absent = true;
                match &absence {
                    Absence::NotServed => {
                        info!(kind = self.plural, "the API server does not serve this kind");
                        told.extend(self.ids.drain().flat_map(|id| id.gone()));
                        self.faulty.clear();
                    }
                    // Objects may exist; what was read before is the best there is.
                    Absence::Forbidden(why) => warn!(kind = self.plural, %why, "not allowed to read this kind"),
                }
                told.push(Change::Issues(self.every(), vec![Issue::new("", Reason::NotReadable, why(&absence, self.plural))]));
            }
        }
        told
    }

    /// The fact, and what is wrong with it: said only of objects with which something is or was, as in a first list nothing mostly is.
    fn take_fact(&mut self, fact: Fact, told: &mut Vec<Change>) {
        told.push(fact.fact);
        if !fact.issues.is_empty() {
            told.push(Change::Issues(fact.id.object(), fact.issues));
            self.faulty.insert(fact.id);
        } else if self.faulty.remove(&fact.id) {
            told.push(Change::Issues(fact.id.object(), Vec::new()));
        }
    }

    fn take_broken(&mut self, error: &DecodeError, told: &mut Vec<Change>) -> Id {
        let id = self.id(&error.namespace, &error.name);
        let message = format!("{}; as it was last readable, the object stays", error.reason);
        told.push(Change::Issues(id.object(), vec![Issue::new(&*error.field, Reason::Undecodable, message)]));
        self.faulty.insert(id.clone());
        id
    }

    fn id(&self, namespace: &str, name: &str) -> Id {
        let mut texts = lock(&self.texts);
        Id { kind: self.kind, namespace: texts.text(namespace), name: texts.text(name) }
    }

    /// What an issue of the kind itself is told of.
    fn every(&self) -> ObjectRef {
        ObjectRef { kind: self.kind, namespace: "".into(), name: "*".into() }
    }
}

fn why(absence: &Absence, plural: &str) -> Box<str> {
    match absence {
        Absence::NotServed => format!("the API server does not serve {plural}").into(),
        Absence::Forbidden(why) => why.clone(),
    }
}

async fn until(drain: Drain, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = drain.started() => {}
    }
}

/// Interning cannot leave the table half written.
fn lock(texts: &Texts) -> std::sync::MutexGuard<'_, Interner> {
    texts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
