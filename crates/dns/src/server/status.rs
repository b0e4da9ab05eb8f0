//! The status listeners: `/health`, `/ready`, `/metrics`, on the addresses that the Corefile names. Plugins that name the same
//! address share it. An address that a changed Corefile no longer names stays bound and has no page.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::listen::BindError;
use runtime::status::{Page, serve};
use runtime::{Drain, Readiness, Registry, Trigger};
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::plugins::Spec;
use crate::plugins::health;

#[derive(Clone, Copy, Default)]
struct Wanted {
    health: bool,
    ready: bool,
    metrics: bool,
}

pub(crate) struct Status {
    readiness: Readiness,
    fresh: Option<watch::Receiver<bool>>,
    registry: Registry,
    metrics: Arc<Metrics>,
    drain: Drain,
    /// The pages go on through the lame-duck time.
    pages: (Trigger, Drain),
    wanted: Arc<ArcSwap<BTreeMap<SocketAddr, Wanted>>>,
    /// As asked for, and as bound.
    bound: BTreeMap<SocketAddr, SocketAddr>,
}

impl Status {
    pub(crate) fn new(
        readiness: Readiness,
        fresh: Option<watch::Receiver<bool>>,
        registry: Registry,
        metrics: Arc<Metrics>,
        drain: Drain,
    ) -> Self {
        Self {
            readiness,
            fresh,
            registry,
            metrics,
            drain,
            pages: runtime::drain::channel(),
            wanted: Arc::default(),
            bound: BTreeMap::new(),
        }
    }

    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        self.bound.values().copied().collect()
    }

    /// Serves what `plugins` ask for, and nothing else from now on.
    pub(crate) fn update<'a>(&mut self, plugins: impl Iterator<Item = &'a Spec>) -> Result<(), BindError> {
        let mut wanted: BTreeMap<SocketAddr, Wanted> = BTreeMap::new();
        for plugin in plugins {
            match plugin {
                Spec::Health(options) => wanted.entry(options.address).or_default().health = true,
                Spec::Ready(options) => wanted.entry(options.address).or_default().ready = true,
                Spec::Prometheus(options) => wanted.entry(options.address).or_default().metrics = true,
                _ => {}
            }
        }
        let mut asked = Vec::new();
        for (address, what) in &wanted {
            if self.bound.contains_key(address) {
                continue;
            }
            let bound = serve(*address, self.page(*address), self.pages.1.clone())?;
            self.bound.insert(*address, bound);
            asked.extend(what.health.then_some(bound));
        }
        self.wanted.store(Arc::new(wanted));
        // Not before the page is there.
        for address in asked {
            tokio::spawn(health::probe(address, self.metrics.clone(), self.drain.clone()));
        }
        Ok(())
    }

    /// Closes the listeners.
    pub(crate) async fn stop(self) {
        let (trigger, drain) = self.pages;
        drop(drain);
        trigger.drain().await;
    }

    fn page(&self, address: SocketAddr) -> runtime::status::Pages {
        let (readiness, fresh, registry) = (self.readiness.clone(), self.fresh.clone(), self.registry.clone());
        let (all, drain) = (self.wanted.clone(), self.drain.clone());
        Arc::new(move |ask| {
            let wanted = all.load().get(&address).copied().unwrap_or_default();
            match ask.path {
                "/health" if wanted.health => Some(Page::text(200, "OK")),
                // While it lets its lame-duck time pass it answers, and is to be sent nothing new.
                "/ready" if wanted.ready && drain.has_started() => Some(Page::text(503, "Shutting down")),
                "/ready" if wanted.ready => Some(match waiting(&readiness, fresh.as_ref()).as_slice() {
                    [] => Page::text(200, "OK"),
                    // CoreDNS lists the plugins that are not ready.
                    pending => Page::text(503, pending.join(",")),
                }),
                "/metrics" if wanted.metrics => Some(Page::metrics(&registry)),
                _ => None,
            }
        })
    }
}

/// The plugins that are not ready, or (stale names) no longer.
fn waiting(readiness: &Readiness, fresh: Option<&watch::Receiver<bool>>) -> Vec<&'static str> {
    let mut pending = readiness.pending();
    if pending.is_empty() && fresh.is_some_and(|fresh| !*fresh.borrow()) {
        pending.push("kubernetes");
    }
    pending
}
