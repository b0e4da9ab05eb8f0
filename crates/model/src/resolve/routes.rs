//! RouteView from facts: which Ingresses are ours, their hosts, upstreams and Secrets.
//!
//! Owns the reference counts that make a change cost what it touches: an Ingress its hosts, a Service its upstreams and the issues
//! of those who refer to it, an endpoint one upstream. What a host becomes is `hosts`' to say, what an upstream is `upstreams`'.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Config;
use super::ledger::{Ledger, Subject, Told};
use super::take::Touched;
use crate::facts::{BackendPort, Facts, Ingress, IngressBackend, IngressName, IngressPath};
use crate::issue::{Issue, Reason};
use crate::names::{ObjectRef, Revision, SecretName, ServiceName};
use crate::route::{Action, Host, HostKey, HostPattern, Listener, RouteView, UpstreamKey};
use crate::view::View;

mod hosts;
mod upstreams;

/// Who refers to what, among the Ingresses that are ours.
#[derive(Debug, Default)]
pub(super) struct Index {
    claims: HashMap<IngressName, Claim>,
    by_host: HashMap<HostPattern, BTreeSet<Rank>>,
    by_service: HashMap<ServiceName, BTreeSet<IngressName>>,
    by_secret: HashMap<SecretName, BTreeSet<IngressName>>,
    /// How many routes go to each upstream.
    upstreams: HashMap<ServiceName, HashMap<BackendPort, usize>>,
    /// The Secrets that are referred to, whether or not they are there.
    wanted_secrets: View<SecretName, ()>,
}

/// What one of our Ingresses takes part in.
#[derive(Debug, PartialEq)]
struct Claim {
    rank: Rank,
    hosts: BTreeSet<HostPattern>,
    services: BTreeSet<ServiceName>,
    secrets: BTreeSet<SecretName>,
}

/// Who comes first: the oldest; of two of one age the one with the *later* `namespace/name`, as in ingress-nginx (`store.go`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created_at_secs: u64,
    path: Reverse<String>,
    name: IngressName,
}

/// What has to be resolved again.
#[derive(Default)]
struct Stale {
    hosts: BTreeSet<HostPattern>,
    ingresses: BTreeSet<IngressName>,
    upstreams: HashSet<UpstreamKey>,
    secrets: BTreeSet<SecretName>,
}

// === impl Index ===

impl Index {
    pub(super) fn new(config: &Config) -> Self {
        let mut index = Self::default();
        if let Some(secret) = config.ingress.default_certificate.clone().filter(|_| config.want.routes) {
            index.wanted_secrets.insert(Revision(0), secret, ());
        }
        index
    }

    pub(super) fn wanted_secrets(&self) -> &View<SecretName, ()> {
        &self.wanted_secrets
    }

    /// Takes up what was touched; tells whether the view changed.
    pub(super) fn resolve(
        &mut self,
        view: &mut Arc<RouteView>,
        ledger: &mut Ledger,
        config: &Config,
        facts: &Facts,
        touched: &Touched,
        revision: Revision,
    ) -> bool {
        let before = view.revision;
        let mut stale = self.stale(config, facts, touched, revision);
        let default_host = HostKey { listener: Listener::Ingress, host: HostPattern::Any };
        if config.ingress.default_backend.is_some() && view.hosts.get(&default_host).is_none() {
            stale.hosts.insert(HostPattern::Any);
        }
        for pattern in std::mem::take(&mut stale.hosts) {
            let (host, told) = self.host(config, facts, &pattern);
            ledger.tell(Subject::Host(pattern.clone()), told);
            let key = HostKey { listener: Listener::Ingress, host: pattern };
            let old = view.hosts.get(&key);
            if old == host.as_ref() {
                continue;
            }
            let mut uses = HashMap::new();
            host.iter().for_each(|host| count(host, 1, &mut uses));
            old.into_iter().for_each(|host| count(host, -1, &mut uses));
            self.count_upstreams(uses, &mut stale.upstreams);
            writable(view, revision).hosts.put(revision, key, host);
        }
        for key in stale.upstreams {
            let used = self.upstreams.get(&key.service).is_some_and(|ports| ports.contains_key(&key.port));
            let now = used.then(|| Arc::new(upstreams::upstream(config, facts, &key)));
            if view.upstreams.get(&key) != now.as_ref() {
                writable(view, revision).upstreams.put(revision, key, now);
            }
        }
        for name in stale.secrets {
            let now = self.wanted_secrets.get(&name).and_then(|()| facts.secrets.get(&name)).cloned();
            if view.secrets.get(&name) != now.as_ref() {
                writable(view, revision).secrets.put(revision, name, now);
            }
        }
        for name in stale.ingresses {
            let told = self.ingress_issues(config, facts, &name);
            ledger.tell(Subject::Ingress(name), told);
        }
        view.revision != before
    }

    /// Brings the index up to date and says what hangs on that.
    fn stale(&mut self, config: &Config, facts: &Facts, touched: &Touched, revision: Revision) -> Stale {
        let mut stale = Stale { secrets: touched.secrets.clone(), ..Stale::default() };
        // The default certificate is wanted from the start, and no Ingress brings it in.
        stale.secrets.extend(config.ingress.default_certificate.clone());
        let mut ingresses = touched.ingresses.clone();
        if !touched.ingress_classes.is_empty() {
            let of_class = |ingress: &Ingress| ingress.class.as_ref().is_some_and(|class| touched.ingress_classes.contains(class));
            ingresses.extend(facts.ingresses.iter().filter(|(_, ingress)| of_class(ingress)).map(|(name, _)| name.clone()));
        }
        for name in &ingresses {
            self.claim(config, facts, name, &mut stale);
        }
        for secret in &stale.secrets {
            let wanted = self.by_secret.contains_key(secret) || config.ingress.default_certificate.as_ref() == Some(secret);
            if wanted != self.wanted_secrets.get(secret).is_some() {
                self.wanted_secrets.put(revision, secret.clone(), wanted.then_some(()));
            }
        }
        for (service, object_changed) in &touched.services {
            let ports = self.upstreams.get(service).into_iter().flat_map(HashMap::keys);
            stale.upstreams.extend(ports.map(|port| UpstreamKey { service: service.clone(), port: port.clone() }));
            if *object_changed {
                stale.ingresses.extend(self.by_service.get(service).into_iter().flatten().cloned());
            }
        }
        for secret in &touched.secrets {
            stale.ingresses.extend(self.by_secret.get(secret).into_iter().flatten().cloned());
        }
        stale.ingresses.extend(ingresses);
        stale
    }

    /// Puts the Ingress as it is now in place of what was known of it.
    fn claim(&mut self, config: &Config, facts: &Facts, name: &IngressName, stale: &mut Stale) {
        let now =
            facts.ingresses.get(name).filter(|ingress| is_ours(config, facts, name, ingress)).map(|ingress| Claim::new(name, ingress));
        if let Some(old) = self.claims.remove(name) {
            for host in &old.hosts {
                leave(&mut self.by_host, host, &old.rank);
            }
            for service in &old.services {
                leave(&mut self.by_service, service, name);
            }
            for secret in &old.secrets {
                leave(&mut self.by_secret, secret, name);
            }
            stale.hosts.extend(old.hosts);
            stale.secrets.extend(old.secrets);
        }
        if let Some(now) = now {
            for host in &now.hosts {
                self.by_host.entry(host.clone()).or_default().insert(now.rank.clone());
            }
            for service in &now.services {
                self.by_service.entry(service.clone()).or_default().insert(name.clone());
            }
            for secret in &now.secrets {
                self.by_secret.entry(secret.clone()).or_default().insert(name.clone());
            }
            stale.hosts.extend(now.hosts.iter().cloned());
            stale.secrets.extend(now.secrets.iter().cloned());
            self.claims.insert(name.clone(), now);
        }
    }

    fn host(&self, config: &Config, facts: &Facts, pattern: &HostPattern) -> (Option<Arc<Host>>, Told) {
        let ranks = self.by_host.get(pattern);
        let default_backend = config.ingress.default_backend.as_ref();
        if ranks.is_none() && !(*pattern == HostPattern::Any && default_backend.is_some()) {
            return (None, Vec::new());
        }
        let oldest_first = ranks.into_iter().flatten().filter_map(|rank| Some((&rank.name, &**facts.ingresses.get(&rank.name)?)));
        let (host, told) = hosts::host(pattern, oldest_first, default_backend);
        (Some(Arc::new(host)), told)
    }

    /// Adds the changes of use up, and names the upstreams that came into use or went out of it.
    fn count_upstreams(&mut self, uses: HashMap<UpstreamKey, isize>, stale: &mut HashSet<UpstreamKey>) {
        for (key, change) in uses.into_iter().filter(|(_, change)| *change != 0) {
            let ports = self.upstreams.entry(key.service.clone()).or_default();
            let n_routes = ports.entry(key.port.clone()).or_default();
            let before = *n_routes;
            *n_routes = n_routes.saturating_add_signed(change);
            if *n_routes == 0 {
                ports.remove(&key.port);
                if ports.is_empty() {
                    self.upstreams.remove(&key.service);
                }
                stale.insert(key);
            } else if before == 0 {
                stale.insert(key);
            }
        }
    }

    /// What is wrong with the Ingress's own references.
    fn ingress_issues(&self, config: &Config, facts: &Facts, name: &IngressName) -> Told {
        let Some(ingress) = facts.ingresses.get(name) else { return Vec::new() };
        let mut issues = Vec::new();
        if self.claims.contains_key(name) {
            for (field, backend) in backends(ingress) {
                issues.extend(upstreams::issue(facts, name, &field, backend));
            }
            for tls in &ingress.tls {
                let Some(secret) = &tls.secret else { continue };
                if !facts.secrets.contains_key(&SecretName { namespace: name.namespace.clone(), name: secret.clone() }) {
                    let message =
                        format!("there is no Secret {secret:?} in namespace {:?}; the default certificate serves", name.namespace);
                    issues.push(Issue::new(format!("spec.tls[{}].secretName", tls.at), Reason::NoSuchObject, message));
                }
            }
        } else if let Some(class) = ingress.class.as_ref().filter(|class| !facts.ingress_classes.contains_key(*class))
            && in_our_namespace(config, name)
        {
            let message = format!("there is no IngressClass {class:?}");
            issues.push(Issue::new("spec.ingressClassName", Reason::NoSuchObject, message));
        }
        let object = name.object();
        issues.into_iter().map(|issue| (object.clone(), issue)).collect()
    }
}

// === impl Claim ===

impl Claim {
    fn new(name: &IngressName, ingress: &Ingress) -> Self {
        let mut hosts: BTreeSet<HostPattern> = ingress.rules.iter().map(|rule| hosts::pattern(rule.host.as_ref())).collect();
        if ingress.rules.is_empty() && ingress.default_backend.is_some() {
            // Without rules a default backend is for every host that has no rules of its own.
            hosts.insert(HostPattern::Any);
        }
        let services = backends(ingress).filter_map(|(_, backend)| Some(hosts::upstream_key(name, backend)?.service));
        let secrets = ingress.tls.iter().filter_map(|tls| tls.secret.clone());
        Self {
            rank: Rank {
                created_at_secs: ingress.created_at_secs,
                path: Reverse(format!("{}/{}", name.namespace, name.name)),
                name: name.clone(),
            },
            hosts,
            services: services.collect(),
            secrets: secrets.map(|secret| SecretName { namespace: name.namespace.clone(), name: secret }).collect(),
        }
    }
}

// === impl IngressName ===

impl IngressName {
    pub fn object(&self) -> ObjectRef {
        ObjectRef { kind: crate::names::ObjectKind::Ingress, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// Whether the Ingress is of a class that we serve: by the field, else by the old annotation, else if those without any are ours.
///
/// The default class is not looked at: the API server writes it into the field when the Ingress is created.
///
/// Source: ingress-nginx's `store.go` (`GetIngressClass`).
fn is_ours(config: &Config, facts: &Facts, name: &IngressName, ingress: &Ingress) -> bool {
    let ours = &config.ingress;
    if !in_our_namespace(config, name) || (ours.disable_catch_all && ingress.default_backend.is_some()) {
        return false;
    }
    match (&ingress.class, &ingress.class_annotation) {
        (Some(class), _) => facts
            .ingress_classes
            .get(class)
            .is_some_and(|object| object.controller == ours.controller || (ours.class_by_name && *class == ours.class)),
        (None, Some(annotation)) => *annotation == ours.class,
        (None, None) => ours.without_class,
    }
}

fn in_our_namespace(config: &Config, name: &IngressName) -> bool {
    config.ingress.namespace.as_ref().is_none_or(|namespace| *namespace == name.namespace)
}

/// Every backend with its field path.
fn backends(ingress: &Ingress) -> impl Iterator<Item = (String, &IngressBackend)> {
    let default = ingress.default_backend.iter().map(|backend| ("spec.defaultBackend".to_owned(), backend));
    let rules = ingress.rules.iter().flat_map(|rule| {
        let field = |path: &IngressPath| format!("spec.rules[{}].http.paths[{}].backend", rule.at, path.at);
        rule.paths.iter().map(move |path| (field(path), &path.backend))
    });
    default.chain(rules)
}

fn count(host: &Arc<Host>, by: isize, uses: &mut HashMap<UpstreamKey, isize>) {
    for route in host.routes.iter().chain(host.default_backend.as_deref()) {
        if let Some(canary) = &route.canary {
            *uses.entry(canary.upstream.clone()).or_default() += by;
        }
        let Action::Forward(backends) = &route.action else { continue };
        for backend in backends {
            *uses.entry(backend.upstream.clone()).or_default() += by;
        }
    }
}

fn leave<K: Eq + std::hash::Hash, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

fn writable(view: &mut Arc<RouteView>, revision: Revision) -> &mut RouteView {
    let view = Arc::make_mut(view);
    view.revision = revision;
    view
}
