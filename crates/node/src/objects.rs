//! What pods refer to: ConfigMaps, Secrets and Services as they last were, and what one pod sees of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use api::{ConfigMap, Secret, Service};
use client::Key;

use crate::env::Lookup;
use crate::links;
use crate::spec::{Map, Pod, TokenSource};
use crate::volumes::Contents;

/// Everything that pods may refer to.
#[derive(Default)]
pub(crate) struct Objects {
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    services: Store<Service>,
}

/// The objects of one kind. The lock is held for a look only.
pub(crate) struct Store<K>(Mutex<BTreeMap<Key, Arc<K>>>);

/// The names that a pod refers to, all of its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

/// What one pod sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    config_maps: HashMap<String, Texts>,
    secrets: HashMap<String, Texts>,
    /// The variables of Services.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) tokens: HashMap<TokenKey, String>,
}

/// Audience and seconds: requests that are alike share a token.
pub(crate) type TokenKey = (String, i64);

#[derive(Clone, Debug, Default)]
struct Texts {
    text: Map,
    bytes: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn token_key(source: &TokenSource) -> TokenKey {
    // An hour: what the API documentation says of an unset field.
    (source.audience.clone(), source.expiration_seconds.unwrap_or(3600))
}

// === impl Objects ===

impl Objects {
    pub(crate) fn config_maps(&self) -> &Store<ConfigMap> {
        &self.config_maps
    }

    pub(crate) fn secrets(&self) -> &Store<Secret> {
        &self.secrets
    }

    pub(crate) fn services(&self) -> &Store<Service> {
        &self.services
    }

    pub(crate) fn snapshot(&self, pod: &Pod) -> Snapshot {
        let namespace = &*pod.metadata.namespace;
        let references = References::of(pod);
        let mut snapshot = Snapshot::default();
        for name in references.config_maps {
            if let Some(map) = self.config_maps.find(namespace, &name) {
                let mut texts = Texts::default();
                map.data.iter().for_each(|(key, value)| texts.add(key, value.as_bytes()));
                map.binary_data.iter().for_each(|(key, value)| texts.add(key, value));
                snapshot.config_maps.insert(name, texts);
            }
        }
        for name in references.secrets {
            if let Some(secret) = self.secrets.find(namespace, &name) {
                let mut texts = Texts::default();
                secret.data.iter().for_each(|(key, value)| texts.add(key, value));
                snapshot.secrets.insert(name, texts);
            }
        }
        let services = self.services.seen_from(namespace);
        let all = pod.spec.enable_service_links.unwrap_or(true);
        snapshot.links = links::variables(services.iter().map(|service| &**service), namespace, all);
        snapshot
    }
}

// === impl Store ===

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> Store<K> {
    pub(crate) fn put(&self, key: Key, object: Arc<K>) {
        self.lock().insert(key, object);
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    pub(crate) fn replace(&self, objects: BTreeMap<Key, Arc<K>>) {
        *self.lock() = objects;
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.lock().get(&Key { namespace: namespace.into(), name: name.into() }).cloned()
    }

    /// Those of `namespace` and of `default`, in order.
    fn seen_from(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.lock();
        let seen = objects.iter().filter(|(key, _)| *key.namespace == *namespace || &*key.namespace == "default");
        seen.map(|(_, object)| object.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<K>>> {
        // Each change is one call: none can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl References ===

impl References {
    pub(crate) fn of(pod: &Pod) -> Self {
        let mut names = Self::default();
        for container in pod.spec.init_containers.iter().chain(&pod.spec.containers) {
            for from in &container.env_from {
                names.config_maps.extend(from.config_map_ref.iter().map(|map| map.name.clone()));
                names.secrets.extend(from.secret_ref.iter().map(|secret| secret.name.clone()));
            }
            for source in container.env.iter().filter_map(|var| var.value_from.as_ref()) {
                names.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
                names.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
            }
        }
        for volume in &pod.spec.volumes {
            names.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            names.secrets.extend(volume.secret.iter().map(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
                names.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
                names.secrets.extend(source.secret.iter().map(|source| source.secret_name.clone()));
            }
        }
        names
    }
}

// === impl Snapshot ===

impl Lookup for Snapshot {
    fn config_map(&self, name: &str) -> Option<&Map> {
        self.config_maps.get(name).map(|texts| &texts.text)
    }

    fn secret(&self, name: &str) -> Option<&Map> {
        self.secrets.get(name).map(|texts| &texts.text)
    }
}

impl Contents for Snapshot {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.config_maps.get(name).map(|texts| texts.bytes.clone())
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.secrets.get(name).map(|texts| texts.bytes.clone())
    }

    fn token(&self, source: &TokenSource) -> Option<String> {
        self.tokens.get(&token_key(source)).cloned()
    }
}

// === impl Texts ===

impl Texts {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.bytes.insert(key.to_string(), value.to_vec());
        if let Ok(text) = std::str::from_utf8(value) {
            self.text.insert(key.to_string(), text.to_string());
        }
    }
}
