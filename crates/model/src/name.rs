//! NameView: what exists under the cluster's domain, before it becomes DNS records.
//!
//! Owns the shape, and which endpoints a name may show: ready ones. `resolve` fills it, `dns` reads it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::facts::{Labels, LoadBalancerName, Namespace, Pod, PodName, ServiceImport, ServicePort, Slice, SlicePort};
use crate::names::{Family, Revision, ServiceName, Text};
use crate::view::View;

/// Which cluster a slice was imported from (KEP-1645).
const CLUSTER_LABEL: &str = "multicluster.kubernetes.io/source-cluster";

#[derive(Clone, Debug, Default)]
pub struct NameView {
    pub revision: Revision,
    pub services: View<ServiceName, Arc<NamedService>>,
    pub namespaces: View<Text, Arc<Namespace>>,
    /// Filled only where `pods verified` (or `autopath`) asks for it.
    pub pods: View<PodName, Arc<Pod>>,
    /// Services of other clusters (KEP-1645), with the endpoints of their imported slices.
    pub imports: View<ServiceName, Arc<NamedImport>>,
}

#[derive(Clone, Debug)]
pub struct NamedService {
    pub kind: NamedKind,
    pub ports: Vec<ServicePort>,
    /// Those of the facts, shared: of their endpoints a name shows the ready ones ([`NamedService::endpoints`]).
    pub slices: Box<[Arc<Slice>]>,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer: Vec<LoadBalancerName>,
    pub labels: Arc<Labels>,
    /// When the slices say that the cause of their newest change happened, in Unix milliseconds.
    pub triggered_at_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// One address, or two of different families.
    ClusterIp(Vec<IpAddr>),
    Headless,
    ExternalName(Text),
}

/// A ready endpoint, as its slice tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEndpoint<'a> {
    pub address: IpAddr,
    pub hostname: Option<&'a str>,
    pub pod: Option<&'a str>,
    pub zone: Option<&'a str>,
    pub ports: &'a [SlicePort],
}

#[derive(Clone, Debug)]
pub struct NamedImport {
    pub import: Arc<ServiceImport>,
    pub slices: Box<[Arc<Slice>]>,
}

// === impl NamedService ===

impl NamedService {
    /// The ready endpoints of either family, whatever the kind of Service (a ClusterIP Service's endpoints have names too), in the
    /// order of the slices: one on its way from one slice to another is there twice.
    pub fn endpoints(&self) -> impl Iterator<Item = NamedEndpoint<'_>> {
        self.slices.iter().flat_map(|slice| ready_endpoints(slice))
    }

    /// Those that stand in one slice with a ready endpoint at `address`, sorted.
    pub fn endpoints_beside(&self, address: IpAddr) -> Vec<NamedEndpoint<'_>> {
        let holds = |slice: &&Arc<Slice>| ready_endpoints(slice).any(|endpoint| endpoint.address == address);
        sorted(self.slices.iter().filter(holds).flat_map(|slice| ready_endpoints(slice)), |endpoint| endpoint.address)
    }

    /// All of them sorted by address, one that two slices tell as often: records are weighed by what the slices say.
    pub fn sorted_endpoints(&self) -> Vec<NamedEndpoint<'_>> {
        sorted(self.endpoints(), |endpoint| endpoint.address)
    }
}

/// Equal is what shows the same names: a slice may differ in what none shows.
impl PartialEq for NamedService {
    fn eq(&self, other: &Self) -> bool {
        let Self { kind, ports, slices: _, external_ips, load_balancer, labels, triggered_at_ms } = self;
        (kind, ports, external_ips, load_balancer, labels, triggered_at_ms)
            == (&other.kind, &other.ports, &other.external_ips, &other.load_balancer, &other.labels, &other.triggered_at_ms)
            && self.endpoints().eq(other.endpoints())
    }
}

// === impl NamedImport ===

impl NamedImport {
    /// The ready endpoints sorted by address, each with the cluster that it lives in.
    pub fn sorted_endpoints(&self) -> Vec<(&str, NamedEndpoint<'_>)> {
        sorted(self.endpoints(), |(_, endpoint)| endpoint.address)
    }

    fn endpoints(&self) -> impl Iterator<Item = (&str, NamedEndpoint<'_>)> {
        self.slices.iter().flat_map(|slice| {
            let cluster = cluster(slice);
            ready_endpoints(slice).map(move |endpoint| (cluster, endpoint))
        })
    }
}

impl PartialEq for NamedImport {
    fn eq(&self, other: &Self) -> bool {
        let labels = |import: &Self| import.slices.iter().map(|slice| slice.labels.clone()).collect::<Vec<_>>();
        self.import == other.import && self.endpoints().eq(other.endpoints()) && labels(self) == labels(other)
    }
}

/// The cluster that an imported slice comes from.
pub fn cluster(slice: &Slice) -> &str {
    slice.labels.get(CLUSTER_LABEL).map_or("", |cluster| &**cluster)
}

/// The endpoints that a name may show: ready ones of the slice's own family.
pub fn ready_endpoints(slice: &Slice) -> impl Iterator<Item = NamedEndpoint<'_>> {
    let shown = slice.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.ready && Family::of(endpoint.address) == slice.family);
    shown.map(|(at, endpoint)| NamedEndpoint {
        address: endpoint.address,
        hostname: slice.hostname(at),
        pod: slice.pod(at),
        zone: endpoint.topology.zone.as_deref(),
        ports: &slice.ports,
    })
}

fn sorted<T>(endpoints: impl Iterator<Item = T>, address: fn(&T) -> IpAddr) -> Vec<T> {
    let mut all: Vec<T> = endpoints.collect();
    all.sort_by_key(address);
    all
}
