//! The task that owns the model: takes up what is ready in one step, publishes what changed, answers questions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Change, Issue, Issues, Model, NameView, NodeView, ObjectRef, Revision, RouteView, SecretName, View, Views};
use runtime::metrics::{Gauge, IntGauge, IntGaugeVec};
use runtime::{Drain, Pending, Registry};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::Ask;
use crate::report::{Report, Writer};

/// What an origin has to say.
pub(crate) struct Told {
    pub(crate) changes: mpsc::Receiver<Vec<Change>>,
    /// Whether every required kind has been listed.
    pub(crate) synced: watch::Receiver<bool>,
    /// Which Secrets are wanted by now, for an origin that fetches only these.
    pub(crate) wanted_secrets: Option<watch::Sender<View<SecretName, ()>>>,
}

pub(crate) struct Outlets {
    node: watch::Sender<Arc<NodeView>>,
    names: watch::Sender<Arc<NameView>>,
    routes: watch::Sender<Arc<RouteView>>,
    issues: watch::Sender<Arc<Issues>>,
}

pub(crate) struct Metrics {
    revision: IntGauge,
    changed_at: Gauge,
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
    (Outlets { node, names, routes, issues }, node_out, names_out, routes_out, issues_out)
}

#[allow(clippy::too_many_arguments)] // The one place where everything of this crate meets.
pub(crate) async fn run(
    mut model: Model,
    mut told: Told,
    mut asks: mpsc::Receiver<Ask>,
    mut reports: mpsc::Receiver<Report>,
    outlets: Outlets,
    mut writer: Writer,
    metrics: Metrics,
    ready: Pending,
    drain: Drain,
) {
    let mut tellers = Tellers::default();
    let mut ready = Some(ready);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            changes = told.changes.recv() => match changes {
                Some(changes) => batch.extend(changes),
                // The origin ended with the drain.
                None => return,
            },
            Some(ask) = asks.recv() => {
                ask(&model);
                continue;
            }
            Some(report) = reports.recv() => match report {
                Report::Issues { object, issues } => {
                    tellers.sinks.insert(object.clone(), issues);
                    batch.push(tellers.united(object));
                }
                Report::IngressAddresses(addresses) => writer.publish(addresses),
            },
            Ok(()) = told.synced.changed(), if ready.is_some() => {}
            () = drain.started() => return,
        }
        // Whatever else is ready goes into the same step: a burst costs one revision, not a thousand.
        while let Ok(changes) = told.changes.try_recv() {
            batch.extend(changes);
        }
        let views = model.update(batch.drain(..).map(|change| tellers.keep(change)));
        if let Some(wanted) = &told.wanted_secrets {
            let now = model.wanted_secrets();
            wanted.send_if_modified(|known| {
                let is_new = known.revision() != now.revision() || known.len() != now.len();
                if is_new {
                    *known = now.clone();
                }
                is_new
            });
        }
        if !*told.synced.borrow() {
            continue;
        }
        if let Some(ready) = ready.take() {
            info!(revision = views.revision.0, "first views");
            outlets.publish_all(&views);
            ready.done();
        } else {
            outlets.publish(&views);
        }
        metrics.tell(&views);
        writer.tell(&views.issues);
    }
}

// === impl Outlets ===

impl Outlets {
    /// The first time: also a view of nothing is news.
    fn publish_all(&self, views: &Views) {
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
    }

    fn publish(&self, views: &Views) {
        replace(&self.node, &views.node, |view| view.revision);
        replace(&self.names, &views.names, |view| view.revision);
        replace(&self.routes, &views.routes, |view| view.revision);
        self.issues.send_if_modified(|held| {
            let is_new = !Arc::ptr_eq(held, &views.issues);
            if is_new {
                *held = views.issues.clone();
            }
            is_new
        });
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
    /// Notes what lowering tells; the model is told both sides together.
    fn keep(&mut self, change: Change) -> Change {
        let Change::Issues(object, issues) = change else { return change };
        if issues.is_empty() {
            self.lowering.remove(&object);
        } else {
            self.lowering.insert(object.clone(), issues);
        }
        self.united(object)
    }

    fn united(&self, object: ObjectRef) -> Change {
        let both = [&self.lowering, &self.sinks].into_iter().filter_map(|told| told.get(&object)).flatten().cloned().collect();
        Change::Issues(object, both)
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            revision: registry.gauge("rutter_facts_revision", "Number of the state that the views were last resolved from."),
            changed_at: registry.float_gauge("rutter_facts_last_change_timestamp_seconds", "When that state came about."),
            issues: registry.gauge_vec("rutter_issues", "Things wrong with objects, by kind and reason.", &["kind", "reason"]),
        }
    }

    fn tell(&self, views: &Views) {
        let revision = i64::try_from(views.revision.0).unwrap_or(i64::MAX);
        if self.revision.get() == revision {
            return;
        }
        self.revision.set(revision);
        self.changed_at.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        self.issues.reset();
        for (object, issue) in views.issues.iter() {
            self.issues.with_label_values(&[object.kind.as_str(), issue.reason.as_str()]).inc();
        }
    }
}

/// Logs an issue once, where it is first told.
pub(crate) fn log(object: &ObjectRef, issue: &Issue) {
    warn!(%object, field = %issue.field, reason = issue.reason.as_str(), "{}", issue.message);
}
