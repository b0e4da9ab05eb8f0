//! Resolve: facts in, views and issues out, each change at its own cost.
//!
//! Owns the order of a step: changes become facts (`take`), what they touch is resolved into the views that are wanted (`packets`,
//! `names`, `routes`), and what is wrong is told beside them (`told`, `ledger`). Resolving the same facts in any number of steps
//! and in any order gives the same views. Must not know where changes come from or who reads the views.

use std::sync::Arc;

use self::ledger::{Ledger, Subject};
use self::take::Touched;
use crate::facts::{Change, Facts};
use crate::issue::Issues;
use crate::name::NameView;
use crate::names::{Revision, SecretName, Text};
use crate::node::NodeView;
use crate::route::{RouteView, UpstreamKey};
use crate::view::View;

mod ledger;
mod names;
mod packets;
mod routes;
mod take;
mod told;

/// What the process that asks wants to know, and whose place in the cluster it takes.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The node whose packets are decided; also the one that "local" means.
    pub node_name: Text,
    /// Services with this `service-proxy-name` label are ours; `None`: those without the label.
    pub proxy_name: Option<Text>,
    /// kube-proxy's `featureGates: PreferSameTrafficDistribution: false`: hints that name nodes do not count, those for zones do.
    pub ignore_node_hints: bool,
    pub want: Want,
    pub ingress: IngressConfig,
}

/// Which views are asked for; the others stay empty and cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    pub packets: bool,
    pub names: bool,
    pub routes: bool,
}

#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// `--controller-class`: IngressClasses of this controller are ours.
    pub controller: Text,
    /// `--ingress-class`: the value of the old annotation that is ours.
    pub class: Text,
    /// `--watch-ingress-without-class`.
    pub without_class: bool,
    /// `--ingress-class-by-name`: the class object of the name `class` is ours whatever its controller.
    pub class_by_name: bool,
    /// `--default-backend-service`.
    pub default_backend: Option<UpstreamKey>,
    /// `--default-ssl-certificate`.
    pub default_certificate: Option<SecretName>,
    /// `--watch-namespace`.
    pub namespace: Option<Text>,
    /// `--disable-catch-all`: an Ingress with a default backend is none of ours.
    pub disable_catch_all: bool,
    /// `--disable-svc-external-name`: an ExternalName Service has no endpoints (it can point anywhere, also inwards).
    pub disable_external_names: bool,
}

/// The views of one revision, all decided from the same facts.
///
/// A view that a change did not touch stays the one it was, with the revision of its own last change. A sink that wants to be behind
/// the packets (names before rules are no use to anybody) compares what `proxy` applied with `node.revision` of the same `Views`.
#[derive(Clone, Debug, Default)]
pub struct Views {
    pub revision: Revision,
    pub node: Arc<NodeView>,
    pub names: Arc<NameView>,
    pub routes: Arc<RouteView>,
    pub issues: Arc<Issues>,
}

/// The facts and what was decided from them; owned by one task.
#[derive(Debug, Default)]
pub struct Model {
    config: Config,
    facts: Facts,
    views: Views,
    routes: routes::Index,
    ledger: Ledger,
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            controller: "k8s.io/ingress-nginx".into(),
            class: "nginx".into(),
            without_class: false,
            class_by_name: false,
            default_backend: None,
            default_certificate: None,
            namespace: None,
            disable_catch_all: false,
            disable_external_names: false,
        }
    }
}

impl Model {
    pub fn new(config: Config) -> Self {
        Self { routes: routes::Index::new(&config), config, ..Self::default() }
    }

    /// Takes up `changes` as one revision and gives the views that hold from now on. Views that nothing touched keep theirs.
    ///
    /// Changes that make no difference (an equal fact, the removal of an unknown one) are no revision.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Views {
        let mut touched = Touched::default();
        for change in changes {
            touched.take(&mut self.facts, change);
        }
        let revision = Revision(self.views.revision.0 + 1);
        if touched.any {
            self.resolve(&touched, revision);
        }
        for (object, issues) in touched.told {
            let told = issues.into_iter().map(|issue| (object.clone(), issue)).collect();
            self.ledger.tell(Subject::Lowering(object), told);
        }
        let told_anew = self.ledger.take_changed();
        if told_anew {
            self.views.issues = Arc::new(self.ledger.issues().clone());
        }
        if touched.any || told_anew {
            self.views.revision = revision;
        }
        self.views.clone()
    }

    /// Counts a revision in which nothing changed: for one who publishes that there is nothing, and has to tell it from not knowing.
    pub fn pass_revision(&mut self) {
        self.views.revision.0 += 1;
    }

    fn resolve(&mut self, touched: &Touched, revision: Revision) {
        let Self { config, facts, views, routes, ledger } = self;
        for name in &touched.slices {
            ledger.tell(Subject::Slice(name.clone()), told::of_slice(facts, name));
        }
        for name in touched.services.keys() {
            ledger.tell(Subject::Service(name.clone()), told::of_service(facts, name));
        }
        if config.want.packets {
            packets::resolve(&mut views.node, config, facts, touched, revision);
        }
        if config.want.names {
            names::resolve(&mut views.names, facts, touched, revision);
        }
        if config.want.routes {
            routes.resolve(&mut views.routes, ledger, config, facts, touched, revision);
        }
    }

    /// The Secrets that our Ingresses (or flags) refer to, whether or not they exist: the only ones that have to be fetched.
    /// `since` tells what came and went.
    pub fn wanted_secrets(&self) -> &View<SecretName, ()> {
        self.routes.wanted_secrets()
    }

    pub fn views(&self) -> &Views {
        &self.views
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests;
