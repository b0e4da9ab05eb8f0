//! The pods of this node: which of them have a task, and what each has to hear.
//!
//! Follows the Pods that are bound here and all that they refer to. At the start it takes over what the data folder holds, and ends
//! what the API no longer has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{ConfigMap, Object, Secret, Service};
use client::{Event, Freshness, Key, Own, Pace, Scope, follow};
use runtime::{Drain, Pending};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::folder::{self, Folder};
use crate::host::{Shared, blocking};
use crate::network::Place;
use crate::objects::{References, Store};
use crate::pod::{self, Message};
use crate::shim;
use crate::spec::Pod;

const MAX_WAITING_EVENTS: usize = 256;

/// Ends after its pods have when draining starts.
pub(crate) async fn run(host: Shared, ready: Pending, drain: Drain) {
    let mut pods = Pods { host: host.clone(), pods: HashMap::new(), tasks: JoinSet::new() };
    pods.keep_places().await;
    let mut config_maps = watch::<ConfigMap>(&host);
    let mut secrets = watch::<Secret>(&host);
    let mut services = watch::<Service>(&host);
    // A pod's environment is made once: what it refers to has to be known before the first one starts.
    let known = async {
        hear(host.objects.config_maps(), config_maps.recv().await);
        hear(host.objects.secrets(), secrets.recv().await);
        hear(host.objects.services(), services.recv().await);
    };
    tokio::select! {
        () = known => {}
        () = drain.started() => return,
    }
    let (events, mut bound) = mpsc::channel(MAX_WAITING_EVENTS);
    let scope = Scope { fields: format!("spec.nodeName={}", host.name), ..Scope::default() };
    let lower = |pod: Own<Pod>| Arc::new(pod.contents);
    tokio::spawn(follow(host.client.clone(), scope, Pace::default(), Freshness::default(), lower, events));
    let mut ready = Some(ready);
    loop {
        tokio::select! {
            Some(event) = bound.recv() => {
                pods.hear(event).await;
                ready = None;
            }
            event = config_maps.recv() => {
                let changed = hear(host.objects.config_maps(), event);
                pods.refresh(|pod, key| key.is_none_or(|key| *key.namespace == *pod.namespace && pod.references.config_maps.contains(&*key.name)), changed.as_ref()).await;
            }
            event = secrets.recv() => {
                let changed = hear(host.objects.secrets(), event);
                pods.refresh(|pod, key| key.is_none_or(|key| *key.namespace == *pod.namespace && pod.references.secrets.contains(&*key.name)), changed.as_ref()).await;
            }
            // Variables of a container that runs do not change.
            event = services.recv() => { hear(host.objects.services(), event); }
            Some(ended) = pods.tasks.join_next(), if !pods.tasks.is_empty() => pods.forget(ended),
            () = drain.started() => break,
        }
    }
    drop(ready);
    pods.end_all().await;
}

struct Pods {
    host: Shared,
    /// By UID.
    pods: HashMap<String, Entry>,
    /// Each gives its pod's UID at its end.
    tasks: JoinSet<String>,
}

struct Entry {
    namespace: String,
    name: String,
    references: References,
    messages: Sender<Message>,
}

fn watch<K: Object>(host: &Shared) -> Receiver<Event<(Key, Arc<K>)>> {
    let (events, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
    let lower = |object: K| (Key::of(object.meta()), Arc::new(object));
    tokio::spawn(follow(host.client.clone(), Scope::default(), Pace::default(), Freshness::default(), lower, events));
    receiver
}

/// Takes note of a change; gives its key, or `None` if all may have changed.
fn hear<K: Object>(store: &Store<K>, event: Option<Event<(Key, Arc<K>)>>) -> Option<Key> {
    match event? {
        Event::Restarted { objects, broken } => {
            broken.iter().for_each(|error| warn!(%error, "left out an object"));
            store.replace(objects.into_iter().collect::<BTreeMap<_, _>>());
            None
        }
        Event::Applied((key, object)) => {
            store.put(key.clone(), object);
            Some(key)
        }
        Event::Deleted(key) => {
            store.remove(&key);
            Some(key)
        }
        Event::Broken(error) => {
            warn!(%error, "kept the last readable state of an object");
            None
        }
        Event::Absent(absence) => {
            info!(kind = %K::KIND, ?absence, "a kind cannot be followed; pods that refer to it have to wait");
            None
        }
    }
}

// === impl Pods ===

impl Pods {
    /// Addresses of pods that an earlier process placed are not to be given to others.
    async fn keep_places(&self) {
        let host = self.host.clone();
        let kept = blocking(move || -> std::io::Result<()> {
            for uid in folder::all(&host.data_dir)? {
                if let Some(place) = Folder::of(&host.data_dir, &uid).and_then(|folder| place_in(&folder)) {
                    host.network.keep(&place);
                }
            }
            Ok(())
        });
        if let Err(error) = kept.await {
            warn!(%error, "the pods' folders could not be read");
        }
    }

    async fn hear(&mut self, event: Event<Arc<Pod>>) {
        match event {
            Event::Restarted { objects, broken } => {
                broken.iter().for_each(|error| warn!(%error, "left out a pod"));
                let listed: Vec<_> = objects.iter().map(|pod| pod.metadata.uid.clone()).collect();
                let gone: Vec<_> = self.pods.keys().filter(|uid| !listed.contains(uid)).cloned().collect();
                for uid in gone {
                    self.send(&uid, Message::Gone).await;
                }
                self.clean_up(listed).await;
                for pod in objects {
                    self.apply(pod).await;
                }
            }
            Event::Applied(pod) => self.apply(pod).await,
            Event::Deleted(key) => {
                let is_it = |entry: &Entry| *entry.namespace == *key.namespace && *entry.name == *key.name;
                let gone: Vec<_> = self.pods.iter().filter(|(_, entry)| is_it(entry)).map(|(uid, _)| uid.clone()).collect();
                for uid in gone {
                    self.send(&uid, Message::Gone).await;
                }
            }
            Event::Broken(error) => warn!(%error, "a pod cannot be read"),
            Event::Absent(absence) => warn!(?absence, "the pods of this node cannot be followed"),
        }
    }

    async fn apply(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        if self.pods.contains_key(&uid) {
            return self.send(&uid, Message::Changed(pod)).await;
        }
        let Some(folder) = Folder::of(&self.host.data_dir, &uid) else { return };
        let is_over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none();
        if is_over && !folder.path().exists() {
            return;
        }
        let (namespace, name) = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        let references = References::of(&pod);
        let (messages, task) = pod::start(self.host.clone(), pod, folder);
        self.pods.insert(uid.clone(), Entry { namespace, name, references, messages });
        self.tasks.spawn(async move {
            task.await;
            uid
        });
    }

    /// A pod whose task has just ended hears nothing any more.
    async fn send(&self, uid: &str, message: Message) {
        if let Some(entry) = self.pods.get(uid) {
            let _ = entry.messages.send(message).await;
        }
    }

    async fn refresh(&self, refers: impl Fn(&Entry, Option<&Key>) -> bool, changed: Option<&Key>) {
        for entry in self.pods.values().filter(|entry| refers(entry, changed)) {
            let _ = entry.messages.send(Message::Refresh).await;
        }
    }

    fn forget(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.pods.remove(&uid);
            }
            Err(error) => warn!(%error, "the task of a pod broke off; its containers run on until the next start"),
        }
    }

    /// Ends and removes what the API no longer has and nobody here has a task for.
    async fn clean_up(&self, listed: Vec<String>) {
        let uids = folder::all(&self.host.data_dir).unwrap_or_default();
        for uid in uids.into_iter().filter(|uid| !listed.contains(uid) && !self.pods.contains_key(uid)) {
            let Some(folder) = Folder::of(&self.host.data_dir, &uid) else { continue };
            info!(uid, "removing a pod that was deleted while nobody looked");
            remove(&folder).await;
            let host = self.host.clone();
            blocking(move || {
                if let Some(place) = place_in(&folder) {
                    host.network.remove(&uid, &place);
                }
                if let Err(error) = folder.remove() {
                    warn!(uid, %error, "the folder of a pod could not be removed");
                }
            })
            .await;
        }
    }

    async fn end_all(&mut self) {
        for entry in self.pods.values() {
            let _ = entry.messages.send(Message::Drain).await;
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

pub(crate) fn place_in(folder: &Folder) -> Option<Place> {
    serde_json::from_slice(&std::fs::read(folder.place()).ok()?).ok()
}

/// Kills the containers of a pod and waits until they have ended.
pub(crate) async fn remove(folder: &Folder) {
    for dir in folder.shims() {
        let asked = dir.clone();
        let _ = blocking(move || shim::ask(&asked, &shim::Request::Signal(9))).await;
        if dir.join("spec.json").exists() {
            shim::wait(dir, None).await;
        }
    }
}
