//! The task that owns the model: takes up what is ready in one step, publishes what changed, answers questions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Freshness, Scope};
use model::{Change, Facts, Issue, Issues, Model, NameView, NodeView, ObjectKind, ObjectRef, Revision, RouteView, SecretName, View, Views};
use runtime::metrics::{Gauge, GaugeVec, IntGauge, IntGaugeVec};
use runtime::{Drain, Pending, Registry};
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::report::{self, Report};
use crate::{Ask, OnDemand};

/// How often staleness is measured, which changes without anything happening.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often it is told what is known before all is. A start that goes well is over by then: whoever holds views while thousands of others
/// follow pays for it in memory.
const TELL_EARLY_EVERY: Duration = Duration::from_secs(1);

/// What an origin has to say.
pub(crate) struct Told {
    /// Changes as they come. When the other end is dropped, nothing will change any more.
    pub(crate) batches: mpsc::Receiver<Batch>,
    /// The kinds to be listed before anything is published.
    pub(crate) missing: HashSet<&'static str>,
    /// Which Secrets are wanted by now, for an origin that fetches only these; those of the start are waited for as well.
    pub(crate) wanted_secrets: Option<watch::Sender<View<SecretName, ()>>>,
    /// What is to be followed on demand, for an origin that does not read everything.
    pub(crate) demand: Option<Arc<watch::Sender<OnDemand>>>,
    /// How far behind each kind may be.
    pub(crate) freshness: Vec<(&'static str, Freshness)>,
}

/// How much of each kind, by plural, was listed, and what came of that; one that is not here is not listed yet, or nobody asks for it.
pub(crate) type Listings = BTreeMap<&'static str, (Scope, Listing)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// The published views hold it. So do they, by their own lights, what an optional kind lacks.
    Whole,
    /// The API server's sentence.
    Refused(Box<str>),
}

#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    /// What has been listed with it for the first time (or again).
    pub(crate) listed: Option<Listed>,
}

pub(crate) enum Listed {
    /// A kind, by its plural.
    Kind(&'static str, Scope),
    /// A required kind was not: why.
    Refused(&'static str, Scope, Box<str>),
    /// A kind is followed no longer.
    GivenUp(&'static str),
    Secret(SecretName),
}

/// What the first views wait for.
struct Awaited {
    kinds: HashSet<&'static str>,
    listed_secrets: HashSet<SecretName>,
    ready: Pending,
}

pub(crate) struct Outlets {
    node: watch::Sender<Arc<NodeView>>,
    names: watch::Sender<Arc<NameView>>,
    pub(crate) early_names: watch::Sender<Arc<NameView>>,
    routes: watch::Sender<Arc<RouteView>>,
    issues: watch::Sender<Arc<Issues>>,
}

pub(crate) struct Metrics {
    revision: IntGauge,
    changed_at: Gauge,
    objects: IntGaugeVec,
    /// As they were last told: mostly none of them changes.
    counted: [usize; 11],
    staleness: GaugeVec,
    issues: IntGaugeVec,
}

/// Issues of one object by who tells them: both sides are kept apart, so that neither clears the other's.
#[derive(Default)]
struct Tellers {
    lowering: HashMap<ObjectRef, Vec<Issue>>,
    sinks: HashMap<ObjectRef, Vec<Issue>>,
}

type Receivers = (
    Outlets,
    watch::Receiver<Arc<NodeView>>,
    watch::Receiver<Arc<NameView>>,
    watch::Receiver<Arc<RouteView>>,
    watch::Receiver<Arc<Issues>>,
);

pub(crate) fn outlets() -> Receivers {
    let (node, node_out) = watch::channel(Arc::default());
    let (names, names_out) = watch::channel(Arc::default());
    let (routes, routes_out) = watch::channel(Arc::default());
    let (issues, issues_out) = watch::channel(Arc::default());
    (Outlets { node, names, early_names: watch::Sender::default(), routes, issues }, node_out, names_out, routes_out, issues_out)
}

/// Everything that the task is connected to.
pub(crate) struct Task {
    pub(crate) model: Model,
    pub(crate) told: Told,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) outlets: Outlets,
    pub(crate) listings: watch::Sender<Listings>,
    pub(crate) statuses: report::Statuses,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
}

// === impl Task ===

impl Task {
    /// Runs until the drain starts.
    pub(crate) async fn run(mut self, ready: Pending) {
        let kinds = std::mem::take(&mut self.told.missing);
        let mut awaited = Some(Awaited { kinds, listed_secrets: HashSet::new(), ready });
        let mut tellers = Tellers::default();
        let mut changes: Vec<Change> = Vec::new();
        let mut listed: Vec<Listed> = Vec::new();
        let mut tick = tokio::time::interval(MEASURE_EVERY);
        let mut early = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EARLY_EVERY, TELL_EARLY_EVERY);
        loop {
            tokio::select! {
                () = self.drain.started() => return,
                batch = self.told.batches.recv() => match batch {
                    Some(batch) => take(batch, &mut changes, &mut listed),
                    // Questions are still answered, from what was known last.
                    None => {
                        self.drain.started().await;
                        return;
                    }
                },
                Some(ask) = self.asks.recv() => {
                    ask(&self.model);
                    continue;
                }
                Some(report) = self.reports.recv() => match report {
                    Report::Issues { object, issues } => changes.push(tellers.sinks(object, issues)),
                    Report::IngressStatus { ingress, addresses } => {
                        self.statuses.put(ingress, addresses);
                        continue;
                    }
                },
                _ = tick.tick() => {
                    self.metrics.measure(&self.told.freshness);
                    continue;
                }
                _ = early.tick(), if awaited.is_some() => {
                    self.outlets.early_names.send_replace(self.model.views().names.clone());
                    continue;
                }
            }
            // Whatever else is ready goes into the same step: a burst costs one revision, not a thousand.
            while let Ok(batch) = self.told.batches.try_recv() {
                take(batch, &mut changes, &mut listed);
            }
            let views = self.model.update(std::mem::take(&mut changes).into_iter().map(|change| tellers.keep(change)));
            self.want_secrets();
            if let Some(awaited) = &mut awaited {
                listed.iter().for_each(|listed| awaited.note(listed));
            }
            if awaited.as_ref().is_some_and(|awaited| !awaited.is_over(&self.model, &self.told)) {
                continue;
            }
            let has_new_issues = match awaited.take() {
                Some(awaited) => {
                    info!(revision = views.revision.0, "first views");
                    if views.revision == Revision(0) {
                        // What comes next is later than the nothing that is published now.
                        self.model.pass_revision();
                    }
                    let has_new_issues = self.outlets.publish_all(&views);
                    // Held no longer: it shares less with what comes the more that changes.
                    self.outlets.early_names.send_replace(Arc::default());
                    awaited.ready.done();
                    has_new_issues
                }
                None => self.outlets.publish(&views),
            };
            self.metrics.tell(&views, self.model.facts());
            if has_new_issues {
                self.metrics.tell_issues(&views.issues);
            }
            self.tell_listings(std::mem::take(&mut listed));
        }
    }

    /// Comes behind the views: whoever waits for a kind finds it in them.
    fn tell_listings(&self, listed: Vec<Listed>) {
        self.listings.send_if_modified(|listings| {
            let before = listings.clone();
            for listed in listed {
                match listed {
                    Listed::Kind(plural, scope) => _ = listings.insert(plural, (scope, Listing::Whole)),
                    Listed::Refused(plural, scope, why) => _ = listings.insert(plural, (scope, Listing::Refused(why))),
                    Listed::GivenUp(plural) => _ = listings.remove(plural),
                    Listed::Secret(_) => {}
                }
            }
            *listings != before
        });
    }

    fn want_secrets(&self) {
        let Some(wanted) = &self.told.wanted_secrets else { return };
        let now = self.model.wanted_secrets();
        wanted.send_if_modified(|known| {
            let is_new = known.revision() != now.revision() || known.len() != now.len();
            if is_new {
                *known = now.clone();
            }
            is_new
        });
    }
}

fn take(batch: Batch, changes: &mut Vec<Change>, listed: &mut Vec<Listed>) {
    changes.extend(batch.changes);
    listed.extend(batch.listed);
}

// === impl Awaited ===

impl Awaited {
    fn note(&mut self, listed: &Listed) {
        match listed {
            Listed::Kind(plural, _) | Listed::GivenUp(plural) => _ = self.kinds.remove(plural),
            Listed::Secret(name) => _ = self.listed_secrets.insert(name.clone()),
            Listed::Refused(..) => {}
        }
    }

    /// Every kind was listed, and so was every Secret that is referred to by now.
    fn is_over(&self, model: &Model, told: &Told) -> bool {
        let has_secrets = || model.wanted_secrets().iter().all(|(name, ())| self.listed_secrets.contains(name));
        self.kinds.is_empty() && (told.wanted_secrets.is_none() || has_secrets())
    }
}

// === impl Batch ===

impl From<Vec<Change>> for Batch {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes, listed: None }
    }
}

// === impl Outlets ===

impl Outlets {
    /// The first time: also a view of nothing is news.
    fn publish_all(&self, views: &Views) -> bool {
        // Revision 0 means "nothing known yet"; knowing that there is nothing is more.
        let known = |revision: Revision| revision.max(Revision(1));
        let mut node = NodeView::clone(&views.node);
        node.revision = known(node.revision);
        self.node.send_replace(Arc::new(node));
        let mut names = NameView::clone(&views.names);
        names.revision = known(names.revision);
        self.names.send_replace(Arc::new(names));
        let mut routes = RouteView::clone(&views.routes);
        routes.revision = known(routes.revision);
        self.routes.send_replace(Arc::new(routes));
        self.issues.send_replace(views.issues.clone());
        true
    }

    /// Tells whether the issues are others now.
    fn publish(&self, views: &Views) -> bool {
        replace(&self.node, &views.node, |view| view.revision);
        replace(&self.names, &views.names, |view| view.revision);
        replace(&self.routes, &views.routes, |view| view.revision);
        self.issues.send_if_modified(|held| {
            let is_new = !Arc::ptr_eq(held, &views.issues);
            if is_new {
                *held = views.issues.clone();
            }
            is_new
        })
    }
}

fn replace<V>(outlet: &watch::Sender<Arc<V>>, view: &Arc<V>, revision: impl Fn(&V) -> Revision) {
    outlet.send_if_modified(|held| {
        let is_new = revision(view) > revision(held);
        if is_new {
            *held = view.clone();
        }
        is_new
    });
}

// === impl Tellers ===

impl Tellers {
    /// Notes what a sink tells. The change is what lowering told before, for [`Tellers::keep`] to unite with it.
    fn sinks(&mut self, object: ObjectRef, issues: Vec<Issue>) -> Change {
        put(&mut self.sinks, object.clone(), issues);
        let lowering = self.lowering.get(&object).cloned().unwrap_or_default();
        Change::Issues(object, lowering)
    }

    /// Notes what lowering tells; the model is told both sides together.
    fn keep(&mut self, change: Change) -> Change {
        let Change::Issues(object, issues) = change else { return change };
        put(&mut self.lowering, object.clone(), issues);
        let both = [&self.lowering, &self.sinks].into_iter().filter_map(|told| told.get(&object)).flatten().cloned().collect();
        Change::Issues(object, both)
    }
}

fn put(told: &mut HashMap<ObjectRef, Vec<Issue>>, object: ObjectRef, issues: Vec<Issue>) {
    if issues.is_empty() {
        told.remove(&object);
    } else {
        told.insert(object, issues);
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            revision: registry.gauge("rutter_facts_revision", "Number of the state that the views were last resolved from."),
            changed_at: registry.float_gauge("rutter_facts_last_change_timestamp_seconds", "When that state came about."),
            objects: registry.gauge_vec("rutter_objects", "Objects that are known, by kind.", &["kind"]),
            counted: [usize::MAX; 11],
            staleness: registry.float_gauge_vec(
                "rutter_facts_staleness_seconds",
                "How long what is known of a kind may have been out of date; 0 while it is watched.",
                &["kind"],
            ),
            issues: registry.gauge_vec("rutter_issues", "Things wrong with objects, by kind and reason.", &["kind", "reason"]),
        }
    }

    fn tell(&mut self, views: &Views, facts: &Facts) {
        let revision = i64::try_from(views.revision.0).unwrap_or(i64::MAX);
        if self.revision.get() == revision {
            return;
        }
        self.revision.set(revision);
        self.changed_at.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        let counts = [
            (ObjectKind::Service, facts.services.len()),
            (ObjectKind::EndpointSlice, facts.slice_owner.len()),
            (ObjectKind::Node, facts.nodes.len()),
            (ObjectKind::Namespace, facts.namespaces.len()),
            (ObjectKind::Pod, facts.pods.len()),
            (ObjectKind::Ingress, facts.ingresses.len()),
            (ObjectKind::IngressClass, facts.ingress_classes.len()),
            (ObjectKind::Secret, facts.secrets.len()),
            (ObjectKind::ConfigMap, facts.config_maps.len()),
            (ObjectKind::ServiceCidr, facts.service_cidrs.len()),
            (ObjectKind::ServiceImport, facts.service_imports.len()),
        ];
        for ((kind, n), counted) in counts.into_iter().zip(&mut self.counted).filter(|((_, n), counted)| n != *counted) {
            *counted = n;
            self.objects.with_label_values(&[kind.as_str()]).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    fn tell_issues(&self, issues: &Issues) {
        self.issues.reset();
        for (object, issue) in issues.iter() {
            self.issues.with_label_values(&[object.kind.as_str(), issue.reason.as_str()]).inc();
        }
    }

    fn measure(&self, freshness: &[(&'static str, Freshness)]) {
        for (kind, freshness) in freshness {
            match freshness.staleness() {
                Some(staleness) => self.staleness.with_label_values(&[kind]).set(staleness.as_secs_f64()),
                // Not listed yet, or followed no longer; fails if it was not told of before.
                None => _ = self.staleness.remove_label_values(&[kind]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
