//! NodeView: what this node does with a packet for a Service, decided to the last endpoint.
//!
//! One entry per Service and address family. Owns the shape only; `resolve` fills it, the modes of `proxy` read it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::facts::{Index, Node};
use crate::names::{Family, NodePort, Protocol, Revision, ServiceName, Text};
use crate::view::{Changed, View};

#[derive(Clone, Debug, Default)]
pub struct NodeView {
    pub revision: Revision,
    /// The Node object of this node; `None` while it is unknown.
    pub node: Option<Arc<Node>>,
    /// Addresses that belong to Services alone; one of them that no Service has is answered by nobody.
    pub service_cidrs: Arc<[IpNet]>,
    /// When `node` or `service_cidrs` last changed.
    pub globals_at: Revision,
    pub services: View<NodeKey, Arc<NodeService>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    pub service: ServiceName,
    pub family: Family,
}

/// One Service as one family sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeService {
    pub cluster_ip: IpAddr,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may come through `load_balancer_ips`, this family's ranges only; `None`: everyone.
    pub source_ranges: Option<Vec<IpNet>>,
    pub affinity: Option<Duration>,
    /// Policy `Cluster` on the external addresses: the endpoint sees the node's address in place of the client's.
    pub masquerade_external: bool,
    pub ports: Vec<NodeServicePort>,
    pub health_check: Option<HealthCheck>,
    /// When the slices say that the cause of their newest change happened, in Unix milliseconds.
    pub triggered_at_ms: Option<u64>,
    /// Annotations that choose how to balance (`rutter.dev/balance`), for modes that can.
    pub balance: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeServicePort {
    pub at: Index,
    pub name: Text,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<NodePort>,
    /// For the cluster IP.
    pub internal: Verdict,
    /// For external IPs, load-balancer IPs and node ports, from outside.
    pub external: Verdict,
    /// The same addresses, from a pod of the cluster or the node itself: policy `Local` does not bind these.
    pub external_from_inside: Verdict,
    /// Every endpoint that serves, whatever policies and topology say: a UDP flow to any other is stale.
    pub serving: Arc<[SocketAddr]>,
}

/// What happens to the first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To one of these, each with equal chance; never empty, sorted, each once.
    To(Arc<[SocketAddr]>),
    /// No endpoint anywhere: refused, so that the client knows at once.
    Reject,
    /// Policy `Local` and none here, though elsewhere: silence, so that a load balancer's late packet is tried again.
    Drop,
}

/// `healthCheckNodePort`: an HTTP server that tells a load balancer how many endpoints are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub port: NodePort,
    /// Ready ones of this node; terminating ones do not count.
    pub local_endpoints: usize,
}

// === impl NodeView ===

impl NodeView {
    /// The entries to look at again by one who applied `revision`.
    pub fn since(&self, revision: Revision) -> Changed<NodeKey> {
        if revision < self.globals_at { Changed::All } else { self.services.since(revision) }
    }

    /// The node's address of one family that counts as *the* node's: the first internal one, else the first external one
    /// (kube-proxy's `GetNodeHostIPs`).
    pub fn node_ip(&self, family: Family) -> Option<IpAddr> {
        let node = self.node.as_deref()?;
        node.internal_ips.iter().chain(&node.external_ips).copied().find(|ip| Family::of(*ip) == family)
    }

    /// Whether packets that this node sends to a load-balancer address of the service, and that therefore may carry that very
    /// address as their source, pass its source ranges: they do where a range covers the node.
    pub fn reaches_own_load_balancer(&self, service: &NodeService) -> bool {
        let Some(ranges) = &service.source_ranges else { return true };
        let node_ip = self.node_ip(Family::of(service.cluster_ip));
        node_ip.is_some_and(|ip| ranges.iter().any(|range| range.contains(&ip)))
    }
}

// === impl NodeService ===

impl NodeService {
    /// A Service at one address that has no ports yet, and nothing that a Service may go without.
    pub fn new(cluster_ip: IpAddr) -> NodeService {
        NodeService {
            cluster_ip,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: None,
            affinity: None,
            masquerade_external: true,
            ports: Vec::new(),
            health_check: None,
            triggered_at_ms: None,
            balance: None,
        }
    }
}

// === impl NodeServicePort ===

impl NodeServicePort {
    /// The unnamed port of a Service, whose packets meet one verdict wherever they come from.
    pub fn new(protocol: Protocol, port: u16, verdict: Verdict) -> NodeServicePort {
        let serving = match &verdict {
            Verdict::To(endpoints) => endpoints.clone(),
            Verdict::Reject | Verdict::Drop => Arc::default(),
        };
        NodeServicePort {
            at: 0,
            name: "".into(),
            protocol,
            port,
            node_port: None,
            internal: verdict.clone(),
            external: verdict.clone(),
            external_from_inside: verdict,
            serving,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub fn endpoints(&self) -> &[SocketAddr] {
        match self {
            Verdict::To(endpoints) => endpoints,
            Verdict::Reject | Verdict::Drop => &[],
        }
    }
}
