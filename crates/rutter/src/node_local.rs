//! A DNS server that answers on the node what is otherwise the cluster's: the room of `proxy` and the server, connected.
//!
//! Which address that is (`rutter dns --node-local`: the one of a Service), and whether the server is well: it is asked once a second
//! at that address, and three times in vain hands the traffic back to the Service's other endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::name::NamedKind;
use model::{NameView, ServiceName};
use proxy::node_local::{Config, NodeLocal, PROBE_PORT};
use runtime::Drain;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{self, App};
use crate::usage::Usage;

/// DNS.
const PORT: u16 = 53;
const EVERY: Duration = Duration::from_secs(1);
/// Probes in a row that must fail: one may be lost on a busy node.
const MAX_MISSED: u32 = 3;

/// The Service whose addresses are answered here, and the addresses at their place.
pub struct OfService {
    service: ServiceName,
    addresses: BTreeSet<IpAddr>,
    names: watch::Receiver<Arc<NameView>>,
    node_local: NodeLocal,
}

impl OfService {
    /// Waits for the Service and puts its addresses on `lo`. `None`: the process is to stop instead.
    pub async fn place(app: &App, service: &str) -> anyhow::Result<Option<Self>> {
        let Some((namespace, name)) = service.split_once('/') else {
            return Err(Usage(format!("--dns-service {service}: not NAMESPACE/NAME")).into());
        };
        let (service, mut names) = (ServiceName::new(namespace, name), app.name_views());
        info!(%service, "answering on this node what this Service is asked");
        let found = tokio::select! {
            found = names.wait_for(|view| !addresses_of(view, &service).is_empty()) => found.map(|view| addresses_of(&view, &service)),
            stop = app::stop_signal() => {
                stop?;
                return Ok(None);
            }
        };
        let addresses = found.context("the objects ended before the Service of the cluster's DNS was among them")?;
        let config = Config {
            addresses: addresses.iter().copied().collect(),
            port: PORT,
            health_port: None,
            interface: None,
            set_up_interface: true,
            rules: true,
        };
        let node_local = NodeLocal::place(config).context("--node-local")?;
        Ok(Some(Self { service, addresses, names, node_local }))
    }

    /// Where the server has to listen.
    pub fn listen(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, PORT))
    }

    /// Exempts the addresses while the server is well; ends with an error if the Service gets others.
    pub async fn serve(&self, drain: Drain) -> anyhow::Result<()> {
        let mut names = self.names.clone();
        // One that is gone may come back as it was, and until then nobody misses its addresses.
        let others = |view: &NameView| Some(addresses_of(view, &self.service)).filter(|now| !now.is_empty() && *now != self.addresses);
        tokio::select! {
            Ok(_) = names.wait_for(|view| others(view).is_some()) => {
                anyhow::bail!("Service {} has other addresses now: ending, to be started with them", self.service)
            }
            () = supervise(&self.node_local, self.listen().collect(), drain, || {}) => std::future::pending().await,
        }
    }
}

fn addresses_of(view: &NameView, service: &ServiceName) -> BTreeSet<IpAddr> {
    match view.services.get(service).map(|service| &service.kind) {
        Some(NamedKind::ClusterIp(ips)) => ips.iter().copied().collect(),
        _ => BTreeSet::new(),
    }
}

/// Asks the server at each of its addresses, and has the room know, until `drain` starts.
pub async fn supervise(node_local: &NodeLocal, servers: Vec<SocketAddr>, drain: Drain, failed: impl Fn()) {
    let (well, is_well) = watch::channel(false);
    let probing = async {
        let mut missed: u32 = 0;
        loop {
            let mut all = true;
            for server in &servers {
                all &= dns::probe::answers(*server, PROBE_PORT).await;
            }
            missed = if all { 0 } else { missed.saturating_add(1) };
            if missed == MAX_MISSED {
                warn!(?servers, "the server does not answer at its addresses on this node");
            }
            if missed == 0 || missed >= MAX_MISSED {
                well.send_if_modified(|well| std::mem::replace(well, all) != all);
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = node_local.run(is_well, drain, failed) => {}
        () = probing => {}
    }
}
