//! The service proxy of one node: NodeView in, packets where they belong.
//!
//! Owns the modes, the driver that they share, kube-proxy's configuration file, its health pages and the health-check node ports.
//! Must not know where a view came from; a mode never asks about readiness or policies, and never imports another mode.
//!
//! ```text
//! let config = proxy::Config::parse(&text)?;                          // kube-proxy's file; all mistakes at once
//! let running = proxy::start(config, node_views, drain, &registry)?;  // an OS thread syncs from now on
//! running.applied.wait_for(|r| r.0 > 0)                               // the first view is in force: ready
//! status::serve(.., running.health_pages(), ..)                       // /healthz, /livez
//! status::serve(.., running.metrics_pages(&registry), ..)             // /metrics, /proxyMode, /configz
//! ```
//! [`start`] must be called inside a tokio runtime. The `watch` may start with a default view: nothing is programmed before the
//! first one whose revision is not 0. When the drain starts the thread ends after the sync in hand; rules stay in the kernel.
//! [`render`] gives the rules of a view as text and touches nothing; [`cleanup`] removes what any mode of ours, or of
//! kube-proxy, left in the kernel. [`node_local`] is a room beside the modes, for a DNS server on this node; [`own_addresses`]
//! tells where this machine is.

mod alone;
pub mod config;
pub mod dialect;
mod driver;
pub mod health;
mod health_check;
mod knobs;
mod leftovers;
mod localhost;
mod metrics;
mod mode;
mod nftables;
pub mod node_local;
mod node_ports;
pub mod own_addresses;
mod reports;
mod stale_flows;

use std::sync::Arc;

use model::{NodeView, Revision};
use runtime::status::{Page, Pages};
use runtime::{Drain, Registry};
use tokio::sync::{mpsc, watch};

pub use config::{Config, ConfigErrors, ModeName};
pub use health::Health;
pub use knobs::prepare;
pub use mode::{Applied, ApplyError, Difference, Mode};
pub use node_ports::node_port_addresses;
pub use reports::Report;

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Known, and coming; refused by name until then.
    #[error("proxy mode {0} is not available in this version; use nftables")]
    NotYet(ModeName),
    #[error("proxy mode nftables cannot run here: {0}")]
    Kernel(#[from] kernel::probe::ProbeError),
    #[error("{0} is the service proxy of this network namespace already: stop it first")]
    Another(alone::Other),
    #[error("claiming the rules of this network namespace: {0}")]
    Claim(std::io::Error),
    #[error("asking for this machine's addresses: {0}")]
    Addresses(kernel::Errno),
    #[error("starting the sync thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Mode(#[from] ApplyError),
}

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    #[error(transparent)]
    Mode(#[from] ApplyError),
    #[error(transparent)]
    NodeLocal(#[from] node_local::NodeLocalError),
}

/// A proxy at work.
pub struct Running {
    /// The revision whose rules are in force; 0 before the first.
    pub applied: watch::Receiver<Revision>,
    pub health: Health,
    /// What only this part can find wrong: addresses that two Services claim, more endpoints than fit, a way of balancing that is not
    /// known. Level-triggered: the last report about an object replaces the ones before. Nobody need read it.
    pub reports: mpsc::Receiver<Report>,
    mode: ModeName,
    configz: String,
}

/// Starts the mode of `config` on a thread of its own, in the network namespace of the caller.
///
/// # Errors
/// If the mode is not available, this kernel cannot run it, or another process does it here already. Failures later on are retried with back-off and told by the health
/// page, the metrics and the log.
pub fn start(config: Config, views: watch::Receiver<Arc<NodeView>>, drain: Drain, registry: &Registry) -> Result<Running, StartError> {
    let name = config.mode.available()?;
    kernel::probe::nf_tables()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let alone = alone::Alone::claim()?;
    let config = Arc::new(config);
    let health = Health::new(config.sync_period);
    let modes: Vec<Box<dyn Mode + Send>> = vec![Box::new(nftables::Nftables::new(config.clone()))];
    let (to, reports) = mpsc::channel(reports::QUEUE);
    let told = reports::Reports::new(to);
    let metrics = metrics::Metrics::new(registry);
    let own = own_addresses::follow(drain.clone()).map_err(StartError::Addresses)?;
    let (health_checks, checks_changed) = watch::channel(Revision(0));
    let told = driver::Told { health: health.clone(), metrics, reports: told, health_checks, _alone: Some(alone) };
    let applied = driver::start(config.clone(), modes, views.clone(), told, drain.clone())?;
    tokio::spawn(health_check::run(config.clone(), own, views.clone(), checks_changed, health.clone(), drain.clone()));
    tokio::spawn(localhost::run(config.clone(), views, applied.clone(), drain));
    Ok(Running { applied, health, reports, mode: name, configz: config.to_json() })
}

/// The rules that the mode of `config` would program for `view` on an empty node, as nft's text.
///
/// # Errors
/// If the mode is not available.
pub fn render(view: &NodeView, config: &Config) -> Result<String, StartError> {
    config.mode.available()?;
    Ok(nftables::render(view, &Arc::new(config.clone())))
}

/// What the kernel holds other than the mode of `config` would program for `view`; nothing: all is as it should be. Changes nothing.
///
/// # Errors
/// If the mode is not available, or the kernel cannot be asked.
pub fn differences(view: &NodeView, config: &Config) -> Result<Vec<Difference>, StartError> {
    config.mode.available()?;
    Ok(nftables::differences(view, &Arc::new(config.clone()))?)
}

/// Whose rules a cleanup removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    OursAndKubeProxys,
}

/// Removes what our modes, and kube-proxy's, left in the kernel, both families. What is not there is no error.
pub fn cleanup(whose: Whose) -> Result<(), CleanupError> {
    nftables::cleanup()?;
    node_local::remove()?;
    if whose == Whose::OursAndKubeProxys {
        leftovers::remove()?;
    }
    Ok(())
}

impl Running {
    /// `/healthz` and `/livez`, as kube-proxy serves them on `healthzBindAddress`.
    pub fn health_pages(&self) -> Pages {
        let health = self.health.clone();
        Arc::new(move |ask| match ask.path {
            "/healthz" => Some(health.healthz()),
            "/livez" => Some(health.livez()),
            _ => None,
        })
    }

    /// `/metrics`, `/proxyMode`, `/configz` and `/healthz` (of the server itself), as on `metricsBindAddress`.
    pub fn metrics_pages(&self, registry: &Registry) -> Pages {
        let (registry, mode, configz) = (registry.clone(), self.mode, self.configz.clone());
        Arc::new(move |ask| match ask.path {
            "/metrics" => Some(Page::metrics(&registry)),
            "/proxyMode" => Some(Page::text(200, mode.as_str())),
            "/configz" => Some(Page::json(200, configz.clone())),
            "/healthz" => Some(Page::text(200, "ok")),
            _ => None,
        })
    }
}
