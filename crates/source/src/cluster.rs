//! The API origin: one follower for each kind, for as long as it is of interest, and one for each Secret that is referred to.
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
use tokio::task::JoinHandle;
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
    let missing = interests(config).iter().filter(|interest| !interest.by_name).map(|interest| interest.kind.plural).collect();
    let mut told = Told { batches: out, missing, wanted_secrets: None, demand: Some(Arc::new(demand)), freshness: Vec::new() };
    for Interest { kind, by_name, .. } in interests(&Config { on_demand: OnDemand::EVERYTHING, ..config.clone() }) {
        if by_name {
            let (wanted, wants) = watch::channel(View::new());
            told.wanted_secrets = Some(wanted);
            tokio::spawn(until(drain.clone(), secrets(shared.clone(), wants, drain.clone())));
        } else {
            let freshness = Freshness::default();
            told.freshness.push((kind.kind, freshness.clone()));
            tokio::spawn(until(drain.clone(), follow_kind(kind.plural, config.clone(), shared.clone(), freshness, wanted.clone())));
        }
    }
    told
}

/// Follows as much of a kind as is of interest; when that changes, all of its objects are told as gone first.
async fn follow_kind(plural: &'static str, config: Config, shared: Shared, freshness: Freshness, mut wanted: watch::Receiver<OnDemand>) {
    let of_interest = |wanted: &OnDemand| {
        let interests = interests(&Config { on_demand: wanted.clone(), ..config.clone() });
        interests.into_iter().find(|interest| interest.kind.plural == plural)
    };
    loop {
        let interest = wanted.wait_for(|wanted| of_interest(wanted).is_some()).await.map(|wanted| of_interest(&wanted));
        let Ok(Some(interest)) = interest else { return };
        info!(kind = plural, fields = interest.scope.fields, "following");
        let mut known = Known::new(&interest.kind, shared.texts.clone());
        let follower = follower_of(&interest, &shared, freshness.clone());
        tokio::select! {
            () = relay(follower, &mut known, &shared, |event| interest.listed(event)) => return,
            given_up = wanted.wait_for(|wanted| of_interest(wanted).as_ref() != Some(&interest)) => if given_up.is_err() { return },
        }
        info!(kind = plural, "no longer asked for");
        freshness.forget();
        if shared.batches.send(Batch { changes: known.give_up(), listed: Some(Listed::GivenUp(plural)) }).await.is_err() {
            return;
        }
    }
}

/// The follower of a kind, whichever it is.
fn follower_of(interest: &Interest, shared: &Shared, freshness: Freshness) -> Follower {
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

/// The events of a kind, and who brings them until they are dropped.
type Follower = (mpsc::Receiver<Event<Option<Fact>>>, Pin<Box<dyn Future<Output = ()> + Send>>);

fn start<K: Object>(shared: &Shared, scope: Scope, freshness: Freshness) -> Follower
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

/// Turns what a follower brings into changes; `listed` tells what is listed with an event. With the end of this nobody follows any more.
async fn relay(
    (mut events, bringer): Follower,
    known: &mut Known,
    shared: &Shared,
    listed: impl Fn(&Event<Option<Fact>>) -> Option<Listed>,
) {
    let changes = async {
        while let Some(event) = events.recv().await {
            let listed = listed(&event);
            if shared.batches.send(Batch { changes: known.take(event), listed }).await.is_err() {
                return;
            }
        }
    };
    // One task for both: a change that goes from one task to another may wake a thread for it.
    tokio::select! {
        () = changes => {}
        () = bringer => {}
    }
}

/// Follows each Secret that is wanted, by its name, for as long as it is.
async fn secrets(shared: Shared, mut wants: watch::Receiver<View<SecretName, ()>>, drain: Drain) {
    let mut followed: HashMap<SecretName, JoinHandle<()>> = HashMap::new();
    loop {
        let wanted = wants.borrow_and_update().clone();
        let given_up: Vec<_> = followed.extract_if(|name, _| wanted.get(name).is_none()).collect();
        for (name, follower) in given_up {
            follower.abort();
            // What it tells comes before what is told of its end, which is nothing but that it was cancelled.
            let _ = follower.await;
            let gone = Id { kind: ObjectKind::Secret, namespace: name.namespace, name: name.name }.gone().collect();
            if shared.batches.send(Batch { changes: gone, listed: None }).await.is_err() {
                return;
            }
        }
        for (name, ()) in wanted.iter() {
            followed.entry(name.clone()).or_insert_with(|| {
                debug!(secret = %name, "following a Secret");
                tokio::spawn(until(drain.clone(), secret(shared.clone(), name.clone())))
            });
        }
        if wants.changed().await.is_err() {
            return;
        }
    }
}

async fn secret(shared: Shared, name: SecretName) {
    let scope = Scope { namespace: Some(name.namespace.to_string()), fields: format!("metadata.name={}", name.name), ..Scope::default() };
    let follower = start::<api::Secret>(&shared, scope, Freshness::default());
    let mut known = Known::new(&api::Secret::KIND, shared.texts.clone());
    // Whatever the answer is, it is not waited for any longer.
    relay(follower, &mut known, &shared, |_| Some(Listed::Secret(name.clone()))).await;
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

// === impl Interest ===

impl Interest {
    /// What is listed of the kind with an event.
    fn listed<T>(&self, event: &Event<T>) -> Option<Listed> {
        let (plural, scope) = (self.kind.plural, self.scope.clone());
        match event {
            Event::Absent(absence) if self.required => Some(Listed::Refused(plural, scope, why(absence, plural))),
            Event::Restarted { .. } | Event::Absent(_) => Some(Listed::Kind(plural, scope)),
            Event::Applied(_) | Event::Deleted(_) | Event::Broken(_) => None,
        }
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
