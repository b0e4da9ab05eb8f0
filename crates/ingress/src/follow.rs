//! Following the view: what changed in it is compiled into the table and the upstreams, and nothing else is.
//!
//! A thread of its own, so that compiling never holds up a request. The order matters: endpoints first, then hosts, then upstreams
//! that nobody uses any more, so that no request meets a route whose upstream is not there yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use model::facts::Secret;
use model::route::{Host, HostKey, HostPattern, Listener, Origin, UpstreamKey};
use model::{Changed, Issue, ObjectRef, Reason, Revision, RouteView, SecretName, Text, View, route};
use runtime::Drain;
use rustls::sign::CertifiedKey;
use tokio::sync::{mpsc, watch};

use crate::Report;
use crate::core::Shared;
use crate::table::route::Origins;
use crate::table::{OtherName, Table, VirtualHost};
use crate::tls::certificate::Certificate;
use crate::upstream::Upstream;

/// The compiled state and what it was compiled from.
struct Follower {
    shared: Arc<Shared>,
    own_certificate: Arc<CertifiedKey>,
    table: Table,
    last: Option<Arc<RouteView>>,
    upstreams: HashMap<UpstreamKey, Arc<Upstream>>,
    certificates: HashMap<SecretName, Certificate>,
    /// Which hosts have to be compiled again when a Secret changes.
    hosts_of: HashMap<SecretName, HashSet<HostPattern>>,
    /// What names without a host of their own mean, by who says so; the first has it.
    other_names: HashMap<Text, BTreeMap<HostPattern, OtherName>>,
    /// What is wrong with each Secret by itself, and as the certificate of a host.
    unreadable: HashMap<SecretName, Issue>,
    uncovered: HashMap<HostPattern, (SecretName, Issue)>,
    /// Routes of each host that could not be compiled.
    broken: HashMap<HostPattern, Vec<(ObjectRef, Issue)>>,
    /// Reports that found no room yet.
    unsent: BTreeMap<ObjectRef, Vec<Issue>>,
}

pub(crate) fn spawn(
    shared: Arc<Shared>,
    routes: watch::Receiver<Arc<RouteView>>,
    applied: watch::Sender<Option<Revision>>,
    reports: mpsc::Sender<Report>,
    drain: Drain,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new().name("ingress-routes".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = follow(Follower::new(shared), routes, applied, reports) => {}
                () = drain.started() => {}
            }
        });
    })?;
    Ok(())
}

async fn follow(
    mut follower: Follower,
    mut routes: watch::Receiver<Arc<RouteView>>,
    applied: watch::Sender<Option<Revision>>,
    reports: mpsc::Sender<Report>,
) {
    if routes.borrow().revision == Revision::default() && routes.changed().await.is_err() {
        return;
    }
    loop {
        let view = routes.borrow_and_update().clone();
        let revision = view.revision;
        follower.apply(view);
        applied.send_replace(Some(revision));
        let changed = tokio::select! {
            changed = routes.changed() => changed,
            () = follower.report(&reports) => routes.changed().await,
        };
        if changed.is_err() {
            // Whoever decided is gone; what was decided last holds until we are told to stop.
            std::future::pending::<()>().await;
        }
    }
}

// === impl Follower ===

impl Follower {
    fn new(shared: Arc<Shared>) -> Self {
        let table = (**shared.table.load()).clone();
        Self {
            own_certificate: table.default_certificate.clone(),
            shared,
            table,
            last: None,
            upstreams: HashMap::new(),
            certificates: HashMap::new(),
            hosts_of: HashMap::new(),
            other_names: HashMap::new(),
            unreadable: HashMap::new(),
            uncovered: HashMap::new(),
            broken: HashMap::new(),
            unsent: BTreeMap::new(),
        }
    }

    fn apply(&mut self, view: Arc<RouteView>) {
        let last = self.last.take();
        let since = last.as_ref().map(|last| last.revision);
        let gone = self.take_upstreams(&view.upstreams, changed(&view.upstreams, last.as_ref().map(|last| &last.upstreams), since));
        let mut stale: HashSet<HostKey> = HashSet::new();
        for name in changed(&view.secrets, last.as_ref().map(|last| &last.secrets), since) {
            let hosts = self.hosts_of.get(&name).into_iter().flatten();
            stale.extend(hosts.map(|host| HostKey { listener: Listener::Ingress, host: host.clone() }));
            self.take_secret(&name, view.secrets.get(&name));
        }
        stale.extend(changed(&view.hosts, last.as_ref().map(|last| &last.hosts), since));
        for key in stale {
            // Listeners of Gateways have tables of their own, once they are served.
            if key.listener == Listener::Ingress {
                self.take_host(&key.host, view.hosts.get(&key), last.as_ref().and_then(|last| last.hosts.get(&key)), &view);
            }
        }
        self.table.default_certificate = self.default_certificate();
        self.shared.table.store(Arc::new(self.table.clone()));
        for key in gone {
            self.upstreams.remove(&key);
        }
        self.shared.metrics.reloads.set(1);
        self.shared.metrics.bad_certificates.set((self.unreadable.len() + self.uncovered.len()) as i64);
        self.last = Some(view);
    }

    /// Patches upstreams in place; gives those that are gone from the view.
    fn take_upstreams(&mut self, now: &View<UpstreamKey, Arc<route::Upstream>>, keys: Vec<UpstreamKey>) -> Vec<UpstreamKey> {
        let mut gone = Vec::new();
        for key in keys {
            match (now.get(&key), self.upstreams.get(&key)) {
                (Some(target), Some(upstream)) => upstream.set(target.clone()),
                (Some(target), None) => {
                    self.upstreams.insert(key, Arc::new(Upstream::new(target.clone())));
                }
                (None, _) => gone.push(key),
            }
        }
        gone
    }

    fn take_secret(&mut self, name: &SecretName, secret: Option<&Arc<Secret>>) {
        let expires = &self.shared.metrics.certificate_expires;
        match secret.map(|secret| Certificate::parse(secret)) {
            Some(Ok(certificate)) => {
                if certificate.is_expired() {
                    tracing::warn!(secret = %name, "the certificate has expired; it serves all the same");
                }
                expires.with_label_values(&[&*name.namespace, &*name.name]).set(certificate.expires);
                self.certificates.insert(name.clone(), certificate);
                self.unreadable.remove(name);
            }
            Some(Err(bad)) => {
                tracing::warn!(secret = %name, error = %bad, "not a certificate; the default one serves");
                let _ = expires.remove_label_values(&[&*name.namespace, &*name.name]);
                self.certificates.remove(name);
                self.unreadable.insert(name.clone(), bad.issue());
            }
            // That a Secret is missing is said by the model.
            None => {
                let _ = expires.remove_label_values(&[&*name.namespace, &*name.name]);
                self.certificates.remove(name);
                self.unreadable.remove(name);
            }
        }
        self.tell(name);
    }

    fn take_host(&mut self, pattern: &HostPattern, now: Option<&Arc<Host>>, before: Option<&Arc<Host>>, view: &RouteView) {
        for secret in before.iter().flat_map(|host| &host.certificates) {
            if let Some(hosts) = self.hosts_of.get_mut(secret) {
                hosts.remove(pattern);
                if hosts.is_empty() {
                    self.hosts_of.remove(secret);
                }
            }
        }
        for secret in now.iter().flat_map(|host| &host.certificates) {
            self.hosts_of.entry(secret.clone()).or_default().insert(pattern.clone());
        }
        self.take_other_names(pattern, now, before);
        if let Some((secret, _)) = self.uncovered.remove(pattern) {
            self.tell(&secret);
        }
        let compiled = now.map(|host| {
            let readable = host.certificates.iter().filter_map(|name| Some((name, self.certificates.get(name)?)));
            let (covering, others): (Vec<_>, Vec<_>) = readable.partition(|(_, certificate)| certificate.covers_pattern(pattern));
            if let ([], [(secret, other), ..], true) = (&*covering, &*others, host.tls) {
                let names = other.names().join(", ");
                let message = format!("covers {names} and not {}; the default certificate serves", describe(pattern));
                self.uncovered.insert(pattern.clone(), ((*secret).clone(), Issue::new("data[tls.crt]", Reason::InvalidValue, message)));
            }
            let covering: Vec<Certificate> = covering.into_iter().map(|(_, certificate)| certificate.clone()).collect();
            let upstreams = &mut self.upstreams;
            Arc::new(VirtualHost::compile(pattern, host, covering, &mut |key| {
                let target = || view.upstreams.get(key).cloned().unwrap_or(Arc::new(route::Upstream::Absent));
                upstreams.entry(key.clone()).or_insert_with(|| Arc::new(Upstream::new(target()))).clone()
            }))
        });
        if let Some((secret, _)) = self.uncovered.get(pattern).cloned() {
            self.tell(&secret);
        }
        self.tell_broken(pattern, compiled.as_deref());
        self.forget_series(pattern, compiled.as_deref());
        self.table.put(pattern, compiled);
    }

    /// Ends the metrics of routes that the host has no longer: a cluster that changes does not grow its metrics for ever.
    fn forget_series(&self, pattern: &HostPattern, now: Option<&VirtualHost>) {
        let Some(before) = self.table.get(pattern) else { return };
        let kept: HashSet<&Origins> = now.into_iter().flat_map(VirtualHost::counted).collect();
        before.counted().filter(|origins| !kept.contains(origins)).for_each(|origins| self.shared.metrics.forget(origins));
    }

    fn take_other_names(&mut self, pattern: &HostPattern, now: Option<&Arc<Host>>, before: Option<&Arc<Host>>) {
        let mut touched = HashSet::new();
        for (name, _) in before.iter().flat_map(|host| other_names(pattern, host)) {
            if let Some(meanings) = self.other_names.get_mut(&name) {
                meanings.remove(pattern);
            }
            touched.insert(name);
        }
        for (name, meaning) in now.iter().flat_map(|host| other_names(pattern, host)) {
            self.other_names.entry(name.clone()).or_default().insert(pattern.clone(), meaning);
            touched.insert(name);
        }
        for name in touched {
            let meaning = self.other_names.get(&name).and_then(|meanings| meanings.values().next()).cloned();
            if meaning.is_none() {
                self.other_names.remove(&name);
            }
            self.table.put_other_name(name, meaning);
        }
    }

    fn default_certificate(&self) -> Arc<CertifiedKey> {
        let configured = self.shared.config.default_certificate.as_ref().and_then(|name| self.certificates.get(name));
        configured.map_or_else(|| self.own_certificate.clone(), Certificate::key)
    }

    /// Notes what is wrong with a Secret as it is now.
    fn tell(&mut self, secret: &SecretName) {
        let as_certificate = self.uncovered.values().filter(|(of, _)| of == secret).map(|(_, issue)| issue.clone());
        let issues = self.unreadable.get(secret).cloned().into_iter().chain(as_certificate).collect();
        self.unsent.insert(secret.object(), issues);
    }

    /// Notes which routes of a host had to be left out, for the objects they come from.
    fn tell_broken(&mut self, pattern: &HostPattern, now: Option<&VirtualHost>) {
        let issue = |(origin, error): &(Origin, String)| {
            // The engine's words come over several lines, with a picture of where it stopped; the last says why.
            let why = error.lines().last().unwrap_or("").trim().trim_start_matches("error: ");
            let message = format!("cannot be compiled ({why}): the route is left out");
            (origin.object.clone(), Issue::new(origin.field.clone(), Reason::InvalidValue, message))
        };
        let broken: Vec<_> = now.iter().flat_map(|host| host.broken.iter().map(issue)).collect();
        let before = if broken.is_empty() { self.broken.remove(pattern) } else { self.broken.insert(pattern.clone(), broken.clone()) };
        let objects: HashSet<ObjectRef> = before.into_iter().flatten().chain(broken).map(|(object, _)| object).collect();
        for object in objects {
            let of_object = self.broken.values().flatten().filter(|(of, _)| *of == object);
            let issues = of_object.map(|(_, issue)| issue.clone()).collect();
            self.unsent.insert(object, issues);
        }
    }

    /// Sends what is to be told, one report at a time as there is room.
    async fn report(&mut self, reports: &mpsc::Sender<Report>) {
        while let Some((object, _)) = self.unsent.first_key_value() {
            let Ok(room) = reports.reserve().await else { return };
            let object = object.clone();
            if let Some(issues) = self.unsent.remove(&object) {
                room.send(Report { object, issues });
            }
        }
    }
}

/// The names that a host has beside its own.
fn other_names(pattern: &HostPattern, host: &Host) -> Vec<(Text, OtherName)> {
    let mut names: Vec<_> = host.aliases.iter().map(|alias| (alias.clone(), OtherName::Alias(pattern.clone()))).collect();
    if let (true, HostPattern::Exact(name)) = (host.from_to_www, pattern) {
        let other = name.strip_prefix("www.").map_or_else(|| format!("www.{name}").into(), Text::from);
        names.push((other, OtherName::Redirect(name.clone())));
    }
    names
}

/// The keys to look at again: those that changed since, or all of both if nobody remembers.
fn changed<K: Eq + std::hash::Hash + Clone, V>(now: &View<K, V>, before: Option<&View<K, V>>, since: Option<Revision>) -> Vec<K> {
    let changed = since.map_or(Changed::All, |since| now.since(since));
    changed.or_all(now, before.into_iter().flat_map(View::iter).map(|(key, _)| key))
}

fn describe(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        HostPattern::Any => "every host".to_owned(),
    }
}
