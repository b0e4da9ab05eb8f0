//! The status listeners: `/health`, `/ready`, `/metrics`, on the addresses that the Corefile names. Plugins that name the same
//! address share it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use runtime::listen::BindError;
use runtime::status::{Page, serve};
use runtime::{Drain, Readiness, Registry};

use crate::plugins::Spec;

#[derive(Clone, Copy, Default)]
struct Wanted {
    health: bool,
    ready: bool,
    metrics: bool,
}

/// Serves what `plugins` ask for; gives the addresses that were bound.
pub(crate) fn start<'a>(
    plugins: impl Iterator<Item = &'a Spec>,
    readiness: &Readiness,
    registry: &Registry,
    drain: &Drain,
) -> Result<Vec<SocketAddr>, BindError> {
    let mut wanted: BTreeMap<SocketAddr, Wanted> = BTreeMap::new();
    for plugin in plugins {
        match plugin {
            Spec::Health(options) => wanted.entry(options.address).or_default().health = true,
            Spec::Ready(options) => wanted.entry(options.address).or_default().ready = true,
            Spec::Prometheus(options) => wanted.entry(options.address).or_default().metrics = true,
            _ => {}
        }
    }
    let mut bound = Vec::new();
    for (address, wanted) in wanted {
        let (readiness, registry) = (readiness.clone(), registry.clone());
        let pages = move |ask: &runtime::status::Ask<'_>| match ask.path {
            "/health" if wanted.health => Some(Page::text(200, "OK")),
            "/ready" if wanted.ready => Some(match readiness.pending() {
                pending if pending.is_empty() => Page::text(200, "OK"),
                // CoreDNS lists the plugins that are not ready.
                pending => Page::text(503, pending.join(",")),
            }),
            "/metrics" if wanted.metrics => Some(Page::metrics(&registry)),
            _ => None,
        };
        bound.push(serve(address, Arc::new(pages), drain.clone())?);
    }
    Ok(bound)
}
