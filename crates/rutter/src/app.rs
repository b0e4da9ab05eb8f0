//! Wiring: the one place that knows every part. Starts them, connects them, tells who is ready, ends them in order.

pub mod admin;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dns::config::Corefile;
use model::facts::{IngressName, LoadBalancerName};
use model::{Issue, NameView, NodeView, ObjectKind, ObjectRef, Revision, RouteView};
use runtime::status::{self, Page, Pages};
use runtime::{Drain, Readiness, Registry, Trigger, drain};
use source::{Demand, Origin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::output;
use crate::trace::Parts;

/// Names that may be older than this are told as not ready: longer than a watch takes to be opened anew, far shorter than a pod that
/// moved should be missed.
const STALE: Duration = Duration::from_secs(30);

/// Time passes without telling anybody.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A process of one or more parts on one source of objects.
pub struct App {
    name: &'static str,
    source: source::Running,
    /// What the proxy has put into the kernel: names wait for it.
    applied: Option<watch::Receiver<Revision>>,
    /// What the ingress answers by.
    served: Option<watch::Receiver<Option<Revision>>>,
    /// How the parts that run are configured, for `rutter trace`.
    parts: Parts,
    readiness: Readiness,
    trigger: Trigger,
    drain: Drain,
    registry: Registry,
}

impl App {
    /// Reads the objects of `origin` and resolves them as `config` says; parts are started afterwards.
    pub async fn new(name: &'static str, config: source::Config, origin: Origin) -> anyhow::Result<Self> {
        let (trigger, drain) = drain::channel();
        let (readiness, registry) = (Readiness::default(), Registry::default());
        let first = readiness.register("objects");
        let source = source::start(config, origin, first, drain.clone(), &registry).await?;
        Ok(Self { name, source, applied: None, served: None, parts: Parts::default(), readiness, trigger, drain, registry })
    }

    pub fn start_proxy(&mut self, config: proxy::Config) -> anyhow::Result<()> {
        let registry = Registry::default();
        let running = proxy::start(config.clone(), self.source.node.clone(), self.drain.clone(), &registry)?;
        registry.include(self.registry.clone());
        let pages = running.metrics_pages(&registry);
        self.serve_status(config.healthz_bind, running.health_pages(), "healthzBindAddress", config.bind_hard_fail)?;
        self.serve_status(config.metrics_bind, pages, "metricsBindAddress", config.bind_hard_fail)?;
        self.forward(running.reports, |proxy::Report { object, issues }| (object, issues));
        self.wait_for("rules", running.applied.clone(), |applied| applied.0 > 0);
        self.applied = Some(running.applied);
        self.parts.proxy = Some(config);
        Ok(())
    }

    /// `flag` is what `config.listen` was given by.
    pub fn start_dns(&mut self, config: dns::Config, flag: &'static str, feed: impl dns::Feed + 'static) -> anyhow::Result<()> {
        let registry = Registry::default();
        self.show_metrics_in(&registry);
        let flagged = !config.listen.is_empty();
        let inputs = dns::Inputs {
            names: self.source.names.clone(),
            early: Some(self.source.early_names.clone()),
            applied: self.applied.clone(),
            fresh: Some(self.freshness()),
            feed: Some(Arc::new(feed)),
        };
        let running = dns::start_with(config, inputs, self.drain.clone(), registry);
        let running = if flagged { running.context(flag)? } else { running? };
        info!(listening = ?running.listening, "dns");
        self.answers_by(running.corefile);
        let names = self.readiness.register("names");
        tokio::spawn(async move {
            running.readiness.wait().await;
            names.done();
        });
        Ok(())
    }

    /// `flag` is what `status` was given by.
    pub fn start_ingress(&mut self, config: ingress::Config, status: SocketAddr, flag: &'static str) -> anyhow::Result<()> {
        let registry = Registry::default();
        let ingress::Running { http, https, applied, reports } =
            ingress::start(config, self.source.routes.clone(), self.drain.clone(), &registry)?;
        info!(?http, ?https, "ingress");
        registry.include(self.registry.clone());
        self.forward(reports, |ingress::Report { object, issues }| (object, issues));
        let served = applied.clone();
        let pages: Pages = Arc::new(move |ask| match ask.path {
            "/healthz" if served.borrow().is_some() => Some(Page::text(200, "ok")),
            "/healthz" => Some(Page::text(503, "no routes yet")),
            "/metrics" => Some(Page::metrics(&registry)),
            _ => None,
        });
        self.serve_status(Some(status), pages, flag, true)?;
        self.wait_for("routes", applied.clone(), Option::is_some);
        self.served = Some(applied);
        Ok(())
    }

    /// Runs until SIGTERM or SIGINT, then lets every part finish what it has in hand.
    pub async fn run(self) -> anyhow::Result<()> {
        self.announce().await;
        let readiness = self.readiness.clone();
        let waiting = tokio::spawn(async move {
            readiness.wait().await;
            // A first list, and a big table read back, took more than what is kept of them.
            kernel::memory::give_back();
            info!("ready");
            output::line("ready");
        });
        stop_signal().await?;
        info!("stopping");
        waiting.abort();
        self.drain().await;
        Ok(())
    }

    /// Opens the admin socket, now that all parts are started.
    pub async fn announce(&self) {
        admin::serve(self.name, &self.source, self.parts.clone(), &self.drain).await;
    }

    /// Lets every part finish what it has in hand.
    pub async fn drain(self) {
        let Self { trigger, drain, .. } = self;
        drop(drain);
        trigger.drain().await;
    }

    /// Which Corefile is in force, for `rutter trace`.
    pub fn answers_by(&mut self, corefile: watch::Receiver<Arc<Corefile>>) {
        self.parts.corefile = Some(corefile);
    }

    /// What is followed beyond what every command of this kind follows.
    pub fn demand(&self) -> Demand {
        self.source.demand.clone()
    }

    /// Sends the names, and whether they are up to date, to where a server without a source of its own gets them.
    pub fn pass_names_on(&self, names: watch::Sender<Arc<NameView>>, fresh: watch::Sender<bool>) {
        let (mut views, mut freshness) = (self.source.names.clone(), self.freshness());
        tokio::spawn(async move {
            loop {
                let view = views.borrow_and_update().clone();
                if view.revision > Revision(0) {
                    names.send_replace(view);
                }
                if views.changed().await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while freshness.changed().await.is_ok() {
                let now = *freshness.borrow_and_update();
                fresh.send_replace(now);
            }
        });
    }

    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub fn name_views(&self) -> watch::Receiver<Arc<NameView>> {
        self.source.names.clone()
    }

    /// Starts with the end of the process, which waits for whoever holds it.
    pub fn ending(&self) -> Drain {
        self.drain.clone()
    }

    pub fn node_views(&self) -> watch::Receiver<Arc<NodeView>> {
        self.source.node.clone()
    }

    pub fn route_views(&self) -> watch::Receiver<Arc<RouteView>> {
        self.source.routes.clone()
    }

    /// The revision that the proxy has in force; one that never comes without a proxy.
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.clone().unwrap_or_else(|| watch::channel(Revision::default()).1)
    }

    /// The revision that the ingress answers by; one that never comes without an ingress.
    pub fn served(&self) -> watch::Receiver<Option<Revision>> {
        self.served.clone().unwrap_or_else(|| watch::channel(None).1)
    }

    /// Tells in the status of every Ingress that is served where it answers.
    pub fn publish_ingress_status(&self, mut addresses: watch::Receiver<Vec<IpAddr>>) {
        let (mut routes, reports) = (self.source.routes.clone(), self.source.reports.clone());
        tokio::spawn(async move {
            let (mut told, mut looked_at) = (BTreeSet::new(), None);
            loop {
                // Endpoints come and go far more often than hosts.
                let view = tokio::select! {
                    view = routes.wait_for(|view| looked_at != Some(view.hosts.revision())) => view.map(|view| view.clone()),
                    Ok(()) = addresses.changed() => {
                        (told, looked_at) = (BTreeSet::new(), None);
                        continue;
                    }
                };
                let Ok(view) = view else { return };
                looked_at = Some(view.hosts.revision());
                let served = served_ingresses(&view);
                let names: Vec<_> = addresses.borrow().iter().copied().map(LoadBalancerName::Ip).collect();
                for ingress in served.difference(&told).cloned() {
                    let report = source::Report::IngressStatus { ingress, addresses: names.clone() };
                    if reports.send(report).await.is_err() {
                        return;
                    }
                }
                told = served;
            }
        });
    }

    /// Passes on what a part finds wrong with objects.
    fn forward<R: Send + 'static>(&self, mut reports: mpsc::Receiver<R>, read: fn(R) -> (ObjectRef, Vec<Issue>)) {
        let to_source = self.source.reports.clone();
        tokio::spawn(async move {
            while let Some((object, issues)) = reports.recv().await.map(read) {
                if to_source.send(source::Report::Issues { object, issues }).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whether the views are up to date: false while the API has been silent for [`STALE`].
    fn freshness(&self) -> watch::Receiver<bool> {
        let (fresh, is_fresh) = watch::channel(true);
        let (staleness, drain) = (self.source.staleness.clone(), self.drain.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = drain.started() => return,
                }
                let now = staleness.worst().is_some_and(|worst| worst < STALE);
                fresh.send_if_modified(|fresh| std::mem::replace(fresh, now) != now);
            }
        });
        is_fresh
    }

    fn serve_status(&self, address: Option<SocketAddr>, pages: Pages, field: &str, must: bool) -> anyhow::Result<()> {
        let Some(address) = address else { return Ok(()) };
        match status::serve(address, pages, self.drain.clone()) {
            Ok(_) => Ok(()),
            Err(error) if must => Err(error).context(field.to_string()),
            Err(error) => {
                warn!(%error, field, "goes on without this page");
                Ok(())
            }
        }
    }

    /// Has the registry of a DNS server show what the whole process counts, with CoreDNS's names for what is asked of the API.
    pub fn show_metrics_in(&self, registry: &Registry) {
        let renamed = Registry::prefixed("coredns_kubernetes");
        self.source.requests.show_in(&renamed);
        registry.include(renamed);
        registry.include(self.registry.clone());
    }

    /// Adds a condition of readiness: that a part has come as far as `holds` asks.
    fn wait_for<T: Send + Sync + 'static>(&self, name: &'static str, mut state: watch::Receiver<T>, holds: fn(&T) -> bool) {
        let pending = self.readiness.register(name);
        tokio::spawn(async move {
            // A part that ended instead never is ready.
            if state.wait_for(holds).await.is_ok() {
                pending.done();
            } else {
                std::future::pending::<()>().await;
            }
        });
    }
}

/// The Ingresses that any route comes from.
fn served_ingresses(view: &RouteView) -> BTreeSet<IngressName> {
    let hosts = view.hosts.iter().map(|(_, host)| host);
    let routes = hosts.flat_map(|host| host.routes.iter().chain(host.default_backend.as_deref()));
    let objects = routes.map(|route| &route.origin.object).filter(|object| object.kind == ObjectKind::Ingress);
    objects.map(|object| IngressName { namespace: object.namespace.clone(), name: object.name.clone() }).collect()
}

/// The objects of an origin as they are now, for commands that only look.
pub struct Look {
    pub source: source::Running,
    /// The source goes on until this is dropped.
    _trigger: Trigger,
}

/// Reads `origin` once.
pub async fn look(config: impl Into<source::Config>, origin: Origin) -> anyhow::Result<Look> {
    let (trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    let source = source::start(config, origin, readiness.register("objects"), drain, &Registry::default()).await?;
    readiness.wait().await;
    Ok(Look { source, _trigger: trigger })
}

/// The host's name as kubelet registers it: in lower case.
pub fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host name")?;
    Ok(name.trim().to_ascii_lowercase())
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
