//! The store: every object, one revision for all of them, and what happened lately.
//!
//! Readers look at memory ([`Visible`]: persistent maps, so a snapshot costs nothing) and never wait for the disk. Writes are closures over a
//! [`Txn`] that one thread runs one after the other; what a batch of them changed is made durable in one SQLite transaction, and only then
//! becomes visible, wakes watchers and is acknowledged. Every change has a revision of its own; revisions never go back, nor are they used
//! twice once anybody has seen them.
//!
//! Must not know what an object means: to the store it is bytes, a key, and what its collection's [`Indexer`] reads off it.

#[cfg(test)]
mod crash;
mod disk;
#[cfg(test)]
mod tests;
mod txn;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::kinds::CollectionId;
use crate::refusal::Refusal;
use crate::selectors::Index;
pub(crate) use disk::{Contents, Disk};
pub(crate) use txn::Txn;

/// One object at one revision.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    /// Without `apiVersion` and `kind`, which depend on who asks: starts with `{"`.
    pub(crate) json: Bytes,
    pub(crate) index: Index,
}

/// Something happened to one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    /// What it was before; None: it is new.
    pub(crate) old: Option<Arc<Stored>>,
    /// What it is now. Deleted: what it was at last, at the revision of its deletion.
    pub(crate) now: Arc<Stored>,
    pub(crate) deleted: bool,
    /// `now` in protobuf, encoded once for all watchers. JSON is what objects are stored as: a watcher copies it as it is.
    pub(crate) protobuf: OnceLock<Bytes>,
}

pub(crate) type Key = Arc<str>;
pub(crate) type Objects = RedBlackTreeMapSync<Key, Arc<Stored>>;

/// What selectors need to see of an object, and which names it claims for itself alone.
pub(crate) trait Indexer: Send {
    fn index(&self, collection: CollectionId, object: &Value) -> Index;
    /// Names that no two objects may hold, such as `nodePort/30080`.
    fn claims(&self, collection: CollectionId, object: &Value) -> Vec<String>;
}

/// What readers see.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) revision: u64,
    pub(crate) collections: Vec<Collection>,
}

#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) objects: Objects,
    /// What happened lately, by revision.
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// The last revision of which the history no longer knows.
    forgotten: u64,
}

/// Events kept per collection: a watcher that falls further behind has to list again. Two bounds, for many small and for a few large objects.
const MAX_HISTORY: usize = 4_096;
const MAX_HISTORY_BYTES: usize = 4 << 20;

/// Writes that wait for the writer; more wait at their senders.
const MAX_WAITING: usize = 1_024;

/// A handle on the store. The writer thread ends when the last one is dropped.
pub(crate) struct Store {
    visible: Arc<RwLock<Visible>>,
    changed: Arc<[watch::Sender<u64>]>,
    commands: mpsc::Sender<writer::Command>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store {path} cannot be used{}", hint(error))]
    Sqlite { path: String, error: rusqlite::Error },
    #[error("the store {path} holds an object that is no JSON: {collection} {key}")]
    Corrupt {
        path: String,
        collection: String,
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the store's thread cannot be started")]
    Thread(#[from] std::io::Error),
}

fn hint(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => ": another process has it open".to_owned(),
        _ => format!(": {error}"),
    }
}

/// Where the store of a data folder is.
pub(crate) fn file_of(data_dir: &Path) -> PathBuf {
    data_dir.join("objects.sqlite")
}

/// Events after a revision, or none because they are forgotten.
pub(crate) enum Since {
    Events {
        events: Vec<Arc<Event>>,
        revision: u64,
    },
    /// With the revision up to which all is forgotten.
    Forgotten(u64),
}

// === impl Store ===

impl Store {
    /// Opens or makes the store in folder `data_dir`; `collections` are the names of all collections, in the order of their [`CollectionId`]s.
    pub(crate) fn open(data_dir: &Path, collections: &[String], indexer: impl Indexer + 'static) -> Result<Store, StoreError> {
        let disk = Disk::open(&file_of(data_dir))?;
        let (working, visible) = txn::Working::load(&disk, collections, Box::new(indexer))?;
        let visible = Arc::new(RwLock::new(visible));
        let changed: Arc<[watch::Sender<u64>]> = collections.iter().map(|_| watch::Sender::new(0)).collect();
        let (commands, receiver) = mpsc::channel(MAX_WAITING);
        let writer = writer::Writer::new(disk, working, visible.clone(), changed.clone());
        std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(receiver))?;
        Ok(Store { visible, changed, commands })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Visible> {
        // A panic while publishing would leave maps of different ages, no broken ones.
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.read().revision
    }

    pub(crate) fn get(&self, collection: CollectionId, key: &str) -> Option<Arc<Stored>> {
        self.read().collections[collection.0].objects.get(key).cloned()
    }

    /// All objects of a collection and the revision at which they are that.
    pub(crate) fn snapshot(&self, collection: CollectionId) -> (Objects, u64) {
        let visible = self.read();
        (visible.collections[collection.0].objects.clone(), visible.revision)
    }

    /// The objects as they were at a revision; None: that is forgotten.
    pub(crate) fn snapshot_at(&self, collection: CollectionId, revision: u64) -> Option<Objects> {
        let visible = self.read();
        let collection = &visible.collections[collection.0];
        if revision < collection.forgotten {
            return None;
        }
        let mut objects = collection.objects.clone();
        for event in collection.history.iter().rev().take_while(|event| event.revision > revision) {
            let key = key_of(&event.now);
            match &event.old {
                Some(old) => objects.insert_mut(key, old.clone()),
                None => {
                    objects.remove_mut(&key);
                }
            }
        }
        Some(objects)
    }

    /// What happened after `revision`, at most `limit` events.
    pub(crate) fn since(&self, collection: CollectionId, revision: u64, limit: usize) -> Since {
        let visible = self.read();
        let collection = &visible.collections[collection.0];
        if revision < collection.forgotten {
            return Since::Forgotten(collection.forgotten);
        }
        let from = collection.history.partition_point(|event| event.revision <= revision);
        let events: Vec<_> = collection.history.range(from..).take(limit).cloned().collect();
        let is_all = from + events.len() == collection.history.len();
        let reached = if is_all { visible.revision } else { events.last().map_or(revision, |event| event.revision) };
        Since::Events { events, revision: reached }
    }

    /// Is marked changed whenever something of the collection happened.
    pub(crate) fn subscribe(&self, collection: CollectionId) -> watch::Receiver<u64> {
        self.changed[collection.0].subscribe()
    }

    /// Everything that readers see, at one moment; `names` are those of the collections, as [`Store::open`] was given them.
    pub(crate) fn contents(&self, names: &[String]) -> Contents {
        let (collections, revision) = {
            let visible = self.read();
            (visible.collections.iter().map(|collection| collection.objects.clone()).collect::<Vec<_>>(), visible.revision)
        };
        let found = |name: &str, key: &Key, stored: &Stored| disk::Found {
            collection: name.to_owned(),
            key: key.to_string(),
            revision: stored.revision,
            json: stored.json.to_vec(),
        };
        let all = names.iter().zip(&collections);
        let objects = all.flat_map(|(name, objects)| objects.iter().map(|(key, stored)| found(name, key, stored))).collect();
        Contents { objects, revision }
    }

    /// Runs `change` in the order of all writes and returns once what it did is durable and visible.
    ///
    /// A refusal, a panic, or [`Txn::discard`] undoes what it did.
    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, Refusal> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let command: writer::Command = Box::new(move |txn| {
            let result = change(txn);
            let keep = result.is_ok();
            let acknowledge: writer::Acknowledge = Box::new(move |durable| {
                // Whoever asked may be gone; the write stands.
                let _ = answer.send(durable.and(result));
            });
            (keep, acknowledge)
        });
        self.commands.send(command).await.map_err(|_| Refusal::internal("the store is closed"))?;
        answered.await.unwrap_or_else(|_| Err(Refusal::internal("the request could not be carried out")))
    }
}

// === impl Collection ===

impl Collection {
    fn remember(&mut self, event: Arc<Event>) {
        self.history_bytes += event.size();
        self.history.push_back(event);
        while self.history.len() > MAX_HISTORY || self.history_bytes > MAX_HISTORY_BYTES && self.history.len() > 1 {
            let Some(event) = self.history.pop_front() else { break };
            self.history_bytes -= event.size();
            self.forgotten = event.revision;
        }
    }
}

impl Event {
    /// Old states are shared with the events before.
    fn size(&self) -> usize {
        self.now.json.len()
    }
}

impl Stored {
    pub(crate) fn parse(&self) -> Value {
        serde_json::from_slice(&self.json).expect("BUG: stored bytes are no JSON")
    }

    pub(crate) fn name(&self) -> &str {
        self.index.get("metadata.name").unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.index.get("metadata.namespace").unwrap_or_default()
    }
}

/// Where an object stands: `namespace/name`, or `name` outside namespaces. Lists are in the order of keys.
pub(crate) fn key(namespace: &str, name: &str) -> Key {
    if namespace.is_empty() { name.into() } else { format!("{namespace}/{name}").into() }
}

fn key_of(stored: &Stored) -> Key {
    key(stored.namespace(), stored.name())
}

/// The objects of one namespace (empty: of all) after `start` (a key; None: from the first), in order.
pub(crate) fn range<'a>(
    objects: &'a Objects,
    namespace: &str,
    start: Option<&str>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Stored>)> + use<'a> {
    let first: Key = if namespace.is_empty() { "".into() } else { format!("{namespace}/").into() };
    // '0' follows '/': the first key that is no longer in the namespace.
    let end: Option<Key> = (!namespace.is_empty()).then(|| format!("{namespace}0").into());
    let first = match start {
        Some(start) if *start > *first => start.into(),
        _ => first,
    };
    objects.range(first..).take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
}
