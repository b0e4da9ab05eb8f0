//! NameView: what exists under the cluster's domain, before it becomes DNS records.
//!
//! Owns the shape only; `resolve` fills it, `dns` reads it. Endpoints here are the ones that names may show: readiness is decided.

use std::net::IpAddr;
use std::sync::Arc;

use crate::facts::{Labels, LoadBalancerName, Namespace, Pod, PodName, ServiceImport, ServicePort, SlicePort};
use crate::names::{Revision, ServiceName, Text};
use crate::view::View;

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

#[derive(Clone, Debug, PartialEq)]
pub struct NamedService {
    pub kind: NamedKind,
    pub ports: Vec<ServicePort>,
    /// Ready endpoints of every kind of Service (a ClusterIP Service's endpoints have names too), sorted by address.
    pub endpoints: Arc<[NamedEndpoint]>,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEndpoint {
    pub address: IpAddr,
    pub hostname: Option<Text>,
    pub pod: Option<Text>,
    pub zone: Option<Text>,
    /// The slice's ports, shared by all its endpoints.
    pub ports: Arc<[SlicePort]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NamedImport {
    pub import: Arc<ServiceImport>,
    /// By the cluster that each endpoint lives in (label `multicluster.kubernetes.io/source-cluster`).
    pub endpoints: Vec<(Text, NamedEndpoint)>,
}
