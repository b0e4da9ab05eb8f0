//! What the zone holds at one moment: immutable, shared by all threads, made from the last one by what changed.
//!
//! Owns which objects have names under the options of the directive. Must not know messages.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::facts::LoadBalancerName;
use model::facts::{Pod, PodName};
use model::name::{NamedImport, NamedKind, NamedService};
use model::{Changed, NameView, ServiceName, Text, View};

use super::book::Book;
use super::owners::Owners;
use super::shards::Shards;
use super::{Entry, Options, Pods};
use crate::name::label;

/// `<service>.<namespace>` in wire form and lower case: two labels, as they stand in a question.
pub(crate) type Key = Arc<[u8]>;

#[derive(Clone)]
pub(crate) struct Snapshot {
    /// The facts are all there; before that nothing may be denied.
    pub(crate) synced: bool,
    /// Of the SOA: Unix time of the last change that a query could see. A clock that is put back does not put it back: whoever transfers
    /// the zone would not come again.
    pub(crate) serial: u32,
    pub(crate) services: Book,
    pub(crate) imports: Book,
    /// By each address that a Service has: its own, its endpoints', and those from outside.
    by_address: Owners,
    /// By the namespace's label.
    namespaces: Shards<Key, Namespace>,
    /// The namespaces' labels by address: for `pods verified`, and for who asks.
    pods: Shards<IpAddr, Namespaces>,
    /// The same of pods that share their node's addresses: who asks from one may be anybody there.
    host_pods: Shards<IpAddr, Namespaces>,
    /// Which pod asks from an address of its own; only where `metadata` tells it.
    clients: Shards<IpAddr, PodName>,
    /// What was last taken up.
    view: Arc<NameView>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Namespace {
    n_services: u32,
    /// Whether the object is there, and exposed.
    object: Option<bool>,
}

/// Where pods have an address: in one namespace, but for few.
#[derive(Clone, Debug)]
enum Namespaces {
    One(Key),
    Many(Box<[Key]>),
}

/// What changed between two views, or everything.
pub(crate) struct Changes {
    services: Vec<ServiceName>,
    imports: Vec<ServiceName>,
    namespaces: Vec<Text>,
    pods: Vec<PodName>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Nothing is known yet.
    pub(crate) fn unsynced() -> Self {
        Self {
            synced: false,
            serial: now(),
            services: Book::new(),
            imports: Book::new(),
            by_address: Owners::new(),
            namespaces: Shards::new(),
            pods: Shards::new(),
            host_pods: Shards::new(),
            clients: Shards::new(),
            view: Arc::default(),
        }
    }

    pub(crate) fn changes(&self, view: &NameView) -> Changes {
        fn since<K: Hash + Eq + Clone, V>(new: &View<K, V>, old: &View<K, V>, fresh: bool) -> Vec<K> {
            match new.since(old.revision()) {
                Changed::Keys(keys) if !fresh => keys,
                // Also what is gone: keys that only the old view has.
                _ => new.iter().chain(old.iter()).map(|(key, _)| key.clone()).collect::<HashSet<_>>().into_iter().collect(),
            }
        }
        let fresh = !self.synced;
        Changes {
            services: since(&view.services, &self.view.services, fresh),
            imports: since(&view.imports, &self.view.imports, fresh),
            namespaces: since(&view.namespaces, &self.view.namespaces, fresh),
            pods: since(&view.pods, &self.view.pods, fresh),
        }
    }

    /// Takes up `changes` from `view`, except for Services that `held` names.
    pub(crate) fn patch(&mut self, view: &Arc<NameView>, changes: &Changes, held: &HashSet<ServiceName>, options: &Options) {
        for name in &changes.namespaces {
            let exposed = view.namespaces.get(name).map(|namespace| match &options.namespace_labels {
                Some(selector) => selector.matches(&namespace.labels),
                None => true,
            });
            self.update_namespace(name, |namespace| namespace.object = exposed);
        }
        for name in changes.services.iter().filter(|name| !held.contains(name)) {
            self.put_service(name, view.services.get(name), options);
        }
        for name in &changes.imports {
            let new = view.imports.get(name).map(|import| selected(import, options));
            let Some(key) = key(name) else { continue };
            let entry = new.map(|import| Arc::new(Entry::of_import(&key, &import, options)));
            let had = self.imports.get(&key).is_some();
            self.count(&name.namespace, had, entry.is_some());
            match entry {
                Some(entry) => self.imports.insert(entry),
                None => self.imports.remove(&key),
            }
        }
        if options.pods == Pods::Verified || options.own_pods {
            for name in &changes.pods {
                let Some(namespace) = label(&name.namespace).map(Key::from) else { continue };
                // Two pods may have had one address in turn: the new list is written after the old one is gone.
                let selected = |pod: &&Arc<Pod>| options.labels.as_ref().is_none_or(|selector| selector.matches(&pod.labels));
                for (table, of_host) in [(&mut self.pods, false), (&mut self.host_pods, true)] {
                    let pod = |view: &NameView| view.pods.get(name).filter(selected).filter(|pod| pod.host_network == of_host).cloned();
                    let ips = |view: &NameView| pod(view).map(|pod| pod.ips.clone()).unwrap_or_default();
                    let (old, new) = (ips(&self.view), ips(view));
                    for ip in old.iter().filter(|ip| !new.contains(ip)) {
                        disown(table, *ip, &namespace);
                    }
                    for ip in &new {
                        own(table, *ip, &namespace);
                    }
                    if options.tells_clients && !of_host {
                        for ip in old.iter().filter(|ip| !new.contains(ip)) {
                            if self.clients.get(ip) == Some(name) {
                                self.clients.remove(ip);
                            }
                        }
                        new.into_iter().for_each(|ip| self.clients.insert(ip, name.clone()));
                    }
                }
            }
        }
        self.synced = true;
        self.serial = now().max(self.serial);
        self.view = view.clone();
    }

    /// Writes one held back Service.
    pub(crate) fn release(&mut self, name: &ServiceName, options: &Options) {
        let service = self.view.services.get(name).cloned();
        self.put_service(name, service.as_ref(), options);
        self.serial = now().max(self.serial);
    }

    fn put_service(&mut self, name: &ServiceName, new: Option<&Arc<NamedService>>, options: &Options) {
        // A name that is no label cannot be asked for.
        let Some(key) = key(name) else { return };
        let new = new.filter(|service| options.labels.as_ref().is_none_or(|selector| selector.matches(&service.labels)));
        let old = self.services.get(&key).cloned();
        let old_service = old.as_ref().and_then(|entry| entry.service.as_ref());
        self.count(&name.namespace, old.is_some(), new.is_some());
        let addresses_of = |service: Option<&Arc<NamedService>>| service.map(|service| addresses(service)).unwrap_or_default();
        let (before, after) = (addresses_of(old_service), addresses_of(new));
        let tag = self.services.tag(&key);
        before.difference(&after).for_each(|ip| self.by_address.remove(*ip, tag));
        after.difference(&before).for_each(|ip| self.by_address.insert(*ip, tag));
        match new {
            Some(service) => self.services.insert(Arc::new(Entry::of_service(&key, service, options))),
            None => self.services.remove(&key),
        }
    }

    fn count(&mut self, namespace: &Text, had: bool, has: bool) {
        if had != has {
            self.update_namespace(namespace, |namespace| {
                namespace.n_services = if has { namespace.n_services + 1 } else { namespace.n_services.saturating_sub(1) };
            });
        }
    }

    fn update_namespace(&mut self, name: &str, update: impl FnOnce(&mut Namespace)) {
        let Some(key) = label(name) else { return };
        let mut namespace = self.namespaces.get(key.as_slice()).copied().unwrap_or_default();
        update(&mut namespace);
        match namespace {
            Namespace { n_services: 0, object: None } => self.namespaces.remove(key.as_slice()),
            namespace => self.namespaces.insert(key.into(), namespace),
        }
    }

    /// Whether a namespace (its label in wire form) exists under the zone. One that only its Services tell of exists as well: its
    /// own object may come later, or never (files).
    pub(crate) fn has_namespace(&self, label: &[u8], options: &Options) -> bool {
        if !options.filters_namespaces() {
            return self.namespaces.get(label).is_some();
        }
        let listed = options.namespaces.is_empty() || options.namespaces.iter().any(|name| name.as_bytes() == &label[1..]);
        listed
            && self.namespaces.get(label).is_some_and(|namespace| match namespace.object {
                Some(exposed) => exposed,
                None => options.namespace_labels.is_none() && namespace.n_services > 0,
            })
    }

    /// The Services of other clusters, as they were taken up.
    pub(crate) fn named_imports(&self, options: &Options) -> impl Iterator<Item = (Key, Arc<NamedImport>)> {
        self.view.imports.iter().filter_map(|(name, import)| Some((key(name)?, selected(import, options))))
    }

    /// Whether a pod that has not ended has `ip` in the namespace.
    pub(crate) fn has_pod(&self, ip: IpAddr, namespace: &[u8]) -> bool {
        let has = |pods: &Shards<IpAddr, Namespaces>| pods.get(&ip).is_some_and(|owners| owners.iter().any(|owner| **owner == *namespace));
        has(&self.pods) || has(&self.host_pods)
    }

    /// The pod whose own `ip` is, if it is known and in one namespace with all others that have it.
    pub(crate) fn client(&self, ip: IpAddr) -> Option<(&PodName, &Arc<Pod>)> {
        self.namespace_of_pod(ip)?;
        let name = self.clients.get(&ip)?;
        Some((name, self.view.pods.get(name)?))
    }

    /// The namespace of the pod whose own `ip` is, if it is known and only one.
    pub(crate) fn namespace_of_pod(&self, ip: IpAddr) -> Option<&Key> {
        match self.pods.get(&ip)? {
            Namespaces::One(namespace) => Some(namespace),
            Namespaces::Many(_) => None,
        }
    }

    /// The Services whose own address this is: their names, which is all that a PTR record wants.
    pub(crate) fn with_virtual_ip(&self, ip: IpAddr) -> impl Iterator<Item = &[u8]> {
        self.with_address(ip).filter(move |entry| entry.has_virtual_ip(ip)).map(|entry| &*entry.key)
    }

    /// The Services with a ready endpoint there, by name.
    pub(crate) fn with_endpoint(&self, ip: IpAddr) -> Vec<&Arc<Entry>> {
        self.whose(ip, |service| service.endpoints().any(|endpoint| endpoint.address == ip))
    }

    /// The Services that have this address outside of the cluster, by name.
    pub(crate) fn with_external_ip(&self, ip: IpAddr) -> Vec<&Arc<Entry>> {
        self.whose(ip, |service| external_ips(service).any(|external| external == ip))
    }

    fn whose(&self, ip: IpAddr, has: impl Fn(&NamedService) -> bool) -> Vec<&Arc<Entry>> {
        let mut found: Vec<_> = self.with_address(ip).filter(|entry| entry.service.iter().any(|service| has(service))).collect();
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found.dedup_by(|one, other| *one.key == *other.key);
        found
    }

    /// The Services that may have this address in one way or another.
    fn with_address(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_address.of(ip).flat_map(|tag| self.services.tagged(tag))
    }

    /// For each Service whose slices changed between this snapshot and `view`: whether it is headless, and how long ago the cause was.
    pub(crate) fn triggered<'a>(&self, view: &'a NameView, changes: &'a Changes) -> impl Iterator<Item = (bool, Duration)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        changes.services.iter().filter_map(move |name| {
            let service = view.services.get(name)?;
            let at = service.triggered_at_ms?;
            let old = self.view.services.get(name).and_then(|service| service.triggered_at_ms);
            (old != Some(at)).then(|| (service.kind == NamedKind::Headless, now.saturating_sub(Duration::from_millis(at))))
        })
    }

    /// The Services among `changes` with a cluster IP that their answers in this snapshot lack: new ones, and those that got another
    /// address (by another type, or made anew under the old name).
    pub(crate) fn new_virtual<'a>(&self, view: &NameView, changes: &'a Changes) -> impl Iterator<Item = &'a ServiceName> {
        changes.services.iter().filter(move |name| {
            let was = key(name).and_then(|key| self.services.get(&key)).and_then(|entry| entry.service.as_ref());
            let known = was.map(|service| virtual_ips(service)).unwrap_or_default();
            view.services.get(name).is_some_and(|service| virtual_ips(service).iter().any(|ip| !known.contains(ip)))
        })
    }

    /// Whether the last view that was taken up gives the Service the cluster IPs that `view` gives it; what was held back counts.
    pub(crate) fn has_same_virtual(&self, view: &NameView, name: &ServiceName) -> bool {
        let [ours, theirs] = [&self.view, view].map(|view| view.services.get(name).map(|service| virtual_ips(service)));
        ours == theirs
    }
}

// === impl Namespaces ===

impl Namespaces {
    fn iter(&self) -> std::slice::Iter<'_, Key> {
        match self {
            Namespaces::One(key) => std::slice::from_ref(key).iter(),
            Namespaces::Many(keys) => keys.iter(),
        }
    }
}

fn own(table: &mut Shards<IpAddr, Namespaces>, ip: IpAddr, key: &Key) {
    let owners = match table.get(&ip) {
        None => Namespaces::One(key.clone()),
        Some(owners) if owners.iter().any(|owner| owner == key) => return,
        // Sorted, so that equal facts give equal answers.
        Some(owners) => {
            let mut keys: Vec<Key> = owners.iter().chain([key]).cloned().collect();
            keys.sort();
            Namespaces::Many(keys.into())
        }
    };
    table.insert(ip, owners);
}

fn disown(table: &mut Shards<IpAddr, Namespaces>, ip: IpAddr, key: &Key) {
    let Some(owners) = table.get(&ip) else { return };
    let mut left: Vec<Key> = owners.iter().filter(|owner| *owner != key).cloned().collect();
    match left.len() {
        0 => table.remove(&ip),
        1 => table.insert(ip, Namespaces::One(left.remove(0))),
        _ => table.insert(ip, Namespaces::Many(left.into())),
    }
}

/// An import with those of its slices that `labels` selects. The import itself has none of theirs (CoreDNS's rule).
fn selected(import: &Arc<NamedImport>, options: &Options) -> Arc<NamedImport> {
    let Some(selector) = &options.labels else { return import.clone() };
    let slices = import.slices.iter().filter(|slice| selector.matches(&slice.labels)).cloned().collect();
    Arc::new(NamedImport { import: import.import.clone(), slices })
}

pub(crate) fn key(name: &ServiceName) -> Option<Key> {
    Some([label(&name.name)?, label(&name.namespace)?].concat().into())
}

fn virtual_ips(service: &NamedService) -> &[IpAddr] {
    match &service.kind {
        NamedKind::ClusterIp(ips) => ips,
        _ => &[],
    }
}

fn external_ips(service: &NamedService) -> impl Iterator<Item = IpAddr> {
    let balanced = service.load_balancer.iter().filter_map(|name| match name {
        LoadBalancerName::Ip(ip) => Some(*ip),
        LoadBalancerName::Hostname(_) => None,
    });
    service.external_ips.iter().copied().chain(balanced)
}

fn addresses(service: &NamedService) -> HashSet<IpAddr> {
    let endpoints = service.endpoints().map(|endpoint| endpoint.address);
    virtual_ips(service).iter().copied().chain(endpoints).chain(external_ips(service)).collect()
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
