//! What the controllers know: every object of the kinds they read, as the watches last told it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use api::Kind;
use serde_json::Value;

use crate::{Controller, json};

/// An object's place: its namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

/// The words that an object is found by.
pub type Words = fn(&Kind, &Value) -> Vec<String>;

/// All objects, by kind and place, and by word.
#[derive(Debug, Default)]
pub struct Cache {
    kinds: HashMap<&'static str, Collection>,
    words: Vec<Words>,
    /// The kind (plural) and place of each object that has the word.
    index: HashMap<String, BTreeSet<(&'static str, Key)>>,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<Key, Arc<Value>>,
    /// The newest resourceVersion that this collection's watch has told.
    seen: u64,
}

// === impl Cache ===

impl Cache {
    /// A cache whose objects `controllers` find by their words.
    pub fn of(controllers: &[Box<dyn Controller>]) -> Self {
        Self { words: controllers.iter().filter_map(|controller| controller.words()).collect(), ..Self::default() }
    }

    pub fn get(&self, kind: &Kind, key: &Key) -> Option<&Arc<Value>> {
        self.kinds.get(kind.plural)?.objects.get(key)
    }

    pub fn named(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.get(kind, &Key::new(namespace, name))
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, kind: &Kind, namespace: &str) -> impl Iterator<Item = &Arc<Value>> {
        let from = Key::new(namespace, "");
        let objects = self.kinds.get(kind.plural).map(move |kind| kind.objects.range(from..));
        let namespace = namespace.to_string();
        objects.into_iter().flatten().take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
    }

    pub fn all(&self, kind: &Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.kinds.get(kind.plural).into_iter().flat_map(|kind| kind.objects.values())
    }

    /// The objects of `kind` in the namespace of `owner` whose controller `owner` is.
    pub fn controlled_by<'a>(&'a self, kind: &Kind, owner: &'a Value) -> impl Iterator<Item = &'a Arc<Value>> {
        let uid = json::uid(owner);
        self.in_namespace(kind, json::namespace(owner)).filter(move |object| json::controller(object).is_some_and(|it| it["uid"] == uid))
    }

    /// The objects that have a word, with their kind's plural.
    pub fn found_by<'a>(&'a self, word: &str) -> impl Iterator<Item = (&'static str, &'a Arc<Value>)> + use<'a> {
        let places = self.index.get(word).into_iter().flatten();
        places.filter_map(|(plural, key)| Some((*plural, self.kinds.get(plural)?.objects.get(key)?)))
    }

    /// How far the watch of `kind` has come.
    pub fn seen(&self, kind: &Kind) -> u64 {
        self.kinds.get(kind.plural).map_or(0, |kind| kind.seen)
    }

    /// Takes up an object as it is now; gives the one it replaces.
    pub fn put(&mut self, kind: &Kind, object: Arc<Value>) -> Option<Arc<Value>> {
        let key = Key::of(&object);
        let collection = self.kinds.entry(kind.plural).or_default();
        collection.seen = collection.seen.max(json::resource_version(&object));
        let old = collection.objects.insert(key.clone(), object.clone());
        self.unlink(kind, &key, old.as_deref());
        for word in self.words_of(kind, &object) {
            self.index.entry(word).or_default().insert((kind.plural, key.clone()));
        }
        old
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: &Kind, key: &Key, at: u64) -> Option<Arc<Value>> {
        let collection = self.kinds.entry(kind.plural).or_default();
        collection.seen = collection.seen.max(at);
        let old = collection.objects.remove(key);
        self.unlink(kind, key, old.as_deref());
        old
    }

    /// Puts a whole list in place of what was known; gives the objects that are gone.
    pub fn replace(&mut self, kind: &Kind, objects: Vec<Arc<Value>>, at: u64) -> Vec<Arc<Value>> {
        let known: Vec<_> = self.kinds.get(kind.plural).into_iter().flat_map(|kind| kind.objects.keys().cloned()).collect();
        let listed: BTreeSet<_> = objects.iter().map(|object| Key::of(object)).collect();
        let gone = known.into_iter().filter(|key| !listed.contains(key)).filter_map(|key| self.remove(kind, &key, at)).collect();
        for object in objects {
            self.put(kind, object);
        }
        gone
    }

    fn unlink(&mut self, kind: &Kind, key: &Key, old: Option<&Value>) {
        for word in old.map(|old| self.words_of(kind, old)).unwrap_or_default() {
            if let Some(places) = self.index.get_mut(&word) {
                places.remove(&(kind.plural, key.clone()));
                if places.is_empty() {
                    self.index.remove(&word);
                }
            }
        }
    }

    fn words_of(&self, kind: &Kind, object: &Value) -> Vec<String> {
        self.words.iter().flat_map(|words| words(kind, object)).collect()
    }
}

// === impl Key ===

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of(object: &Value) -> Self {
        Self::new(json::namespace(object), json::name(object))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}
