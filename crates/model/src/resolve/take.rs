//! Taking up changes: facts are replaced, and what that touches is noted. Equal facts touch nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::facts::{Change, Facts, IngressName, PodName, Slice};
use crate::issue::Issue;
use crate::names::{ObjectRef, SecretName, ServiceName, SliceName, Text};

/// The Service that a slice of another cluster belongs to (KEP-1645).
pub(super) const IMPORT_LABEL: &str = "multicluster.kubernetes.io/service-name";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What to look at again.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Services whose object (true) or only whose slices (false) changed.
    pub services: BTreeMap<ServiceName, bool>,
    pub slices: BTreeSet<SliceName>,
    pub imports: BTreeSet<ServiceName>,
    pub nodes: BTreeSet<Text>,
    pub namespaces: BTreeSet<Text>,
    pub pods: BTreeSet<PodName>,
    pub ingresses: BTreeSet<IngressName>,
    pub ingress_classes: BTreeSet<Text>,
    pub secrets: BTreeSet<SecretName>,
    pub service_cidrs: bool,
    /// What lowering told, to be handed to the ledger.
    pub told: Vec<(ObjectRef, Vec<Issue>)>,
    /// Some fact is no longer what it was.
    pub any: bool,
}

// === impl Touched ===

impl Touched {
    pub(super) fn take(&mut self, facts: &mut Facts, change: Change) {
        let changed = match change {
            Change::Service(name, service) => {
                put(&mut facts.services, name.clone(), service) && {
                    self.services.insert(name, true);
                    true
                }
            }
            Change::Slice(name, slice) => self.take_slice(facts, name, slice),
            Change::Node(name, node) => put(&mut facts.nodes, name.clone(), node) && noted(&mut self.nodes, name),
            Change::Namespace(name, namespace) => put(&mut facts.namespaces, name.clone(), namespace) && noted(&mut self.namespaces, name),
            Change::Pod(name, pod) => put(&mut facts.pods, name.clone(), pod) && noted(&mut self.pods, name),
            Change::Ingress(name, ingress) => put(&mut facts.ingresses, name.clone(), ingress) && noted(&mut self.ingresses, name),
            Change::IngressClass(name, class) => {
                put_plain(&mut facts.ingress_classes, name.clone(), class) && noted(&mut self.ingress_classes, name)
            }
            Change::Secret(name, secret) => put(&mut facts.secrets, name.clone(), secret) && noted(&mut self.secrets, name),
            Change::ConfigMap(name, map) => put(&mut facts.config_maps, name, map),
            Change::ServiceCidr(name, cidrs) => {
                let changed = put_plain(&mut facts.service_cidrs, name, cidrs);
                self.service_cidrs |= changed;
                changed
            }
            Change::ServiceImport(name, import) => put(&mut facts.service_imports, name.clone(), import) && noted(&mut self.imports, name),
            Change::Issues(object, issues) => {
                self.told.push((object, issues));
                false
            }
        };
        self.any |= changed;
    }

    fn take_slice(&mut self, facts: &mut Facts, name: SliceName, slice: Option<Arc<Slice>>) -> bool {
        let before = facts.slice(&name).cloned();
        if before == slice {
            return false;
        }
        // The homes that it leaves and those that it comes to; mostly they are the same.
        let old_homes = before.as_deref().map(|slice| homes(&name, slice)).unwrap_or_default();
        let new_homes = slice.as_deref().map(|slice| homes(&name, slice)).unwrap_or_default();
        for (home, is_import) in old_homes.iter().flatten() {
            let map = if *is_import { &mut facts.imported_slices } else { &mut facts.slices };
            if !new_homes.contains(&Some((home.clone(), *is_import))) {
                if let Some(slices) = map.get_mut(home) {
                    slices.remove(&name.name);
                    if slices.is_empty() {
                        map.remove(home);
                    }
                }
                self.note_home(home, *is_import);
            }
        }
        match new_homes.iter().flatten().next() {
            Some((home, _)) => facts.slice_owner.insert(name.clone(), home.clone()),
            None => facts.slice_owner.remove(&name),
        };
        for (home, is_import) in new_homes.into_iter().flatten() {
            let map = if is_import { &mut facts.imported_slices } else { &mut facts.slices };
            self.note_home(&home, is_import);
            if let Some(slice) = &slice {
                map.entry(home).or_default().insert(name.name.clone(), slice.clone());
            }
        }
        self.slices.insert(name);
        true
    }

    fn note_home(&mut self, home: &ServiceName, is_import: bool) {
        if is_import {
            self.imports.insert(home.clone());
        } else {
            self.services.entry(home.clone()).or_default();
        }
    }
}

// === impl Facts ===

impl Facts {
    /// One slice by its own name.
    pub fn slice(&self, name: &SliceName) -> Option<&Arc<Slice>> {
        let owner = self.slice_owner.get(name)?;
        self.slices
            .get(owner)
            .and_then(|slices| slices.get(&name.name))
            .or_else(|| self.imported_slices.get(owner).and_then(|slices| slices.get(&name.name)))
    }
}

/// The Services that a slice belongs to: a local one, an imported one (true), or both, the local one first.
fn homes(name: &SliceName, slice: &Slice) -> [Option<(ServiceName, bool)>; 2] {
    let local = Some((slice.service.clone(), false));
    let Some(import) = slice.labels.get(IMPORT_LABEL) else { return [local, None] };
    let import = Some((ServiceName { namespace: name.namespace.clone(), name: import.clone() }, true));
    if slice.labels.contains_key(SERVICE_LABEL) { [local, import] } else { [import, None] }
}

fn put<K: Eq + Hash, V: PartialEq>(map: &mut HashMap<K, Arc<V>>, key: K, value: Option<Arc<V>>) -> bool {
    match value {
        None => map.remove(&key).is_some(),
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
    }
}

fn put_plain<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        None => map.remove(&key).is_some(),
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
    }
}

fn noted<K: Ord>(set: &mut BTreeSet<K>, key: K) -> bool {
    set.insert(key);
    true
}
