//! One write: reads what all writes before it made, durable or not yet, and adds its own.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rpds::HashTrieMapSync;
use serde_json::Value;

use super::disk::Disk;
use super::{Collection, Event, Indexer, Key, Objects, StoreError, Stored, Visible, key};
use crate::kinds::CollectionId;

/// The state after the last write, of which readers may know nothing yet.
pub(super) struct Working {
    pub(super) names: Vec<String>,
    pub(super) collections: Vec<Objects>,
    /// Claim to the collection and key of who holds it.
    pub(super) claims: HashTrieMapSync<String, (CollectionId, Key)>,
    pub(super) revision: u64,
    pub(super) indexer: Box<dyn Indexer>,
}

/// One change of a batch.
pub(super) struct Change {
    pub(super) collection: CollectionId,
    pub(super) key: Key,
    pub(super) event: Arc<Event>,
}

/// What a write sees and does.
pub(crate) struct Txn<'a> {
    pub(super) working: &'a mut Working,
    pub(super) changes: &'a mut Vec<Change>,
    pub(super) discard: bool,
}

/// A state to return to. Persistent maps make it cheap.
pub(super) struct Savepoint {
    collections: Vec<Objects>,
    claims: HashTrieMapSync<String, (CollectionId, Key)>,
    revision: u64,
    changes: usize,
}

// === impl Working ===

impl Working {
    pub(super) fn load(disk: &Disk, names: &[String], indexer: Box<dyn Indexer>) -> Result<(Working, Visible), StoreError> {
        let revision = disk.revision()?;
        let mut collections = vec![Objects::new_sync(); names.len()];
        let mut claims = HashTrieMapSync::new_sync();
        for found in disk.objects()? {
            // A kind that is no longer served stays in the file and is not shown.
            let Some(at) = names.iter().position(|name| *name == found.collection) else { continue };
            let value: Value = serde_json::from_slice(&found.json).map_err(|source| StoreError::Corrupt {
                path: disk.path().to_owned(),
                collection: found.collection.clone(),
                key: found.key.clone(),
                source,
            })?;
            let (id, key): (_, Key) = (CollectionId(at), found.key.into());
            for claim in indexer.claims(id, &value) {
                claims.insert_mut(claim, (id, key.clone()));
            }
            let index = indexer.index(id, &value);
            collections[at].insert_mut(key, Arc::new(Stored { revision: found.revision, json: found.json.into(), index }));
        }
        // Of what happened before the start nothing is known.
        let shown = collections.iter().map(|objects| Collection { objects: objects.clone(), forgotten: revision, ..Collection::default() });
        let visible = Visible { revision, collections: shown.collect() };
        Ok((Working { names: names.to_vec(), collections, claims, revision, indexer }, visible))
    }

    pub(super) fn savepoint(&self, changes: usize) -> Savepoint {
        Savepoint { collections: self.collections.clone(), claims: self.claims.clone(), revision: self.revision, changes }
    }

    pub(super) fn roll_back(&mut self, to: Savepoint, changes: &mut Vec<Change>) {
        self.collections = to.collections;
        self.claims = to.claims;
        // Nobody has seen the revisions that are given back here.
        self.revision = to.revision;
        changes.truncate(to.changes);
    }
}

// === impl Txn ===

impl Txn<'_> {
    pub(crate) fn get(&self, collection: CollectionId, key: &str) -> Option<Arc<Stored>> {
        self.working.collections[collection.0].get(key).cloned()
    }

    /// All objects of a collection, as they are now.
    pub(crate) fn objects(&self, collection: CollectionId) -> Objects {
        self.working.collections[collection.0].clone()
    }

    /// Who holds a claim.
    pub(crate) fn holder(&self, claim: &str) -> Option<&(CollectionId, Key)> {
        self.working.claims.get(claim)
    }

    /// Writes an object, which has a name. Its `resourceVersion` is set to the revision of the write; `apiVersion` and `kind` are left out.
    pub(crate) fn put(&mut self, collection: CollectionId, object: &mut Value) -> Arc<Stored> {
        self.working.revision += 1;
        let revision = self.working.revision;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let stored = Arc::new(self.stored(collection, object, revision));
        let key = super::key_of(&stored);
        let old = self.get(collection, &key);
        self.claim(collection, &key, old.as_deref(), Some(object));
        self.working.collections[collection.0].insert_mut(key.clone(), stored.clone());
        self.happened(collection, key, old, stored.clone(), false);
        stored
    }

    /// Removes an object that is there; `last` is what it was at the end.
    pub(crate) fn delete(&mut self, collection: CollectionId, last: &mut Value) -> Arc<Stored> {
        self.working.revision += 1;
        let revision = self.working.revision;
        last["metadata"]["resourceVersion"] = revision.to_string().into();
        let stored = Arc::new(self.stored(collection, last, revision));
        let key = key(stored.namespace(), stored.name());
        let old = self.get(collection, &key);
        self.claim(collection, &key, old.as_deref(), None);
        self.working.collections[collection.0].remove_mut(&key);
        self.happened(collection, key, old, stored.clone(), true);
        stored
    }

    /// Does as if the write were made, and undoes it at the end (`dryRun`).
    pub(crate) fn discard(&mut self) {
        self.discard = true;
    }

    /// An object in the form in which it would be stored.
    pub(crate) fn unsaved(&self, collection: CollectionId, object: &mut Value) -> Stored {
        self.stored(collection, object, self.working.revision)
    }

    fn stored(&self, collection: CollectionId, object: &mut Value, revision: u64) -> Stored {
        let type_meta = object.as_object_mut().map(|object| (object.remove("apiVersion"), object.remove("kind")));
        let json = Bytes::from(object.to_string());
        let index = self.working.indexer.index(collection, object);
        if let (Some((Some(api_version), Some(kind))), Some(object)) = (type_meta, object.as_object_mut()) {
            object.insert("apiVersion".to_owned(), api_version);
            object.insert("kind".to_owned(), kind);
        }
        Stored { revision, json, index }
    }

    fn claim(&mut self, collection: CollectionId, key: &Key, old: Option<&Stored>, new: Option<&Value>) {
        let Working { claims, indexer, .. } = &mut *self.working;
        for claim in old.map(|old| indexer.claims(collection, &old.parse())).unwrap_or_default() {
            claims.remove_mut(&claim);
        }
        for claim in new.map(|new| indexer.claims(collection, new)).unwrap_or_default() {
            claims.insert_mut(claim, (collection, key.clone()));
        }
    }

    fn happened(&mut self, collection: CollectionId, key: Key, old: Option<Arc<Stored>>, now: Arc<Stored>, deleted: bool) {
        let event = Arc::new(Event { revision: now.revision, old, now, deleted, protobuf: OnceLock::new() });
        self.changes.push(Change { collection, key, event });
    }
}
