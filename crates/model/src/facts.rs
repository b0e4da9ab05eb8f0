//! Facts: what the objects say, in our own words, before anything is decided.
//!
//! `source` lowers wire objects into these at once and keeps no wire object; values that cannot be read were left out and told as
//! issues by then. One task owns `Facts`. Order of arrival means nothing: a slice may come before its Service.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::issue::Issue;
pub use crate::labels::Labels;
use crate::names::{Family, NodePort, ObjectRef, Protocol, SecretName, ServiceName, SliceName, Text};
use crate::options::RouteOptions;
use crate::texts::Texts;

/// The place of an entry in the object's list as it is written, where issues point: entries before it may have been left out.
pub type Index = u32;

/// One change of the facts: the object as it is now, or `None` once it is gone. A first list is some hundred thousand of them.
#[derive(Clone, Debug)]
pub enum Change {
    Service(ServiceName, Option<Arc<Service>>),
    Slice(SliceName, Option<Arc<Slice>>),
    Node(Text, Option<Arc<Node>>),
    Namespace(Text, Option<Arc<Namespace>>),
    Pod(PodName, Option<Arc<Pod>>),
    Ingress(IngressName, Option<Arc<Ingress>>),
    IngressClass(Text, Option<IngressClass>),
    Secret(SecretName, Option<Arc<Secret>>),
    ConfigMap(ConfigMapName, Option<Arc<ConfigMap>>),
    ServiceCidr(Text, Option<Vec<IpNet>>),
    ServiceImport(ServiceName, Option<Arc<ServiceImport>>),
    /// What lowering (or decoding) found wrong with an object; an empty list clears it.
    Issues(ObjectRef, Vec<Issue>),
}

/// Everything known, by kind and name. Read by `resolve` alone.
#[derive(Debug, Default)]
pub struct Facts {
    pub services: HashMap<ServiceName, Arc<Service>>,
    /// By the Service that the slice belongs to; kept also while that Service is unknown.
    pub slices: HashMap<ServiceName, Slices>,
    /// Slices of other clusters (label `multicluster.kubernetes.io/service-name`), by the ServiceImport that they belong to.
    /// One that also has the label `kubernetes.io/service-name` is among `slices` too.
    pub imported_slices: HashMap<ServiceName, Slices>,
    /// Which Service each slice belongs to, so that a slice can move or go.
    pub slice_owner: HashMap<SliceName, ServiceName>,
    pub nodes: HashMap<Text, Arc<Node>>,
    pub namespaces: HashMap<Text, Arc<Namespace>>,
    pub pods: HashMap<PodName, Arc<Pod>>,
    pub ingresses: HashMap<IngressName, Arc<Ingress>>,
    pub ingress_classes: BTreeMap<Text, IngressClass>,
    pub secrets: HashMap<SecretName, Arc<Secret>>,
    pub config_maps: HashMap<ConfigMapName, Arc<ConfigMap>>,
    pub service_cidrs: BTreeMap<Text, Vec<IpNet>>,
    pub service_imports: HashMap<ServiceName, Arc<ServiceImport>>,
}

/// The default is a ClusterIP Service with nothing but what the API server fills in, and without an address yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    pub kind: ServiceKind,
    /// At most one address of each family; empty for headless and ExternalName.
    pub cluster_ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub external_ips: Vec<IpAddr>,
    /// Addresses of `status.loadBalancer.ingress` whose `ipMode` is VIP (or unset).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` as names see it: every address whatever its `ipMode`, and host names.
    pub load_balancer_names: Vec<LoadBalancerName>,
    /// Empty: everyone may come.
    pub source_ranges: Vec<IpNet>,
    pub internal_policy: TrafficPolicy,
    pub external_policy: TrafficPolicy,
    /// `sessionAffinity: ClientIP` with its time-out.
    pub affinity: Option<Duration>,
    pub health_check_node_port: Option<NodePort>,
    /// Label `service.kubernetes.io/service-proxy-name`: another proxy's business if it differs from ours.
    pub proxy_name: Option<Text>,
    /// Label `service.kubernetes.io/headless` is present: no service proxy takes it.
    pub headless_label: bool,
    pub publish_not_ready: bool,
    pub labels: Arc<Labels>,
    /// The annotations that a decision reads (`rutter.dev/...`), nothing else.
    pub annotations: Arc<Labels>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// ClusterIP, NodePort and LoadBalancer differ only in the fields that they fill.
    #[default]
    ClusterIp,
    /// `clusterIP: None`.
    Headless,
    /// The name as written, without the final dot. Text that is no host name (an address, say) is still kept: sinks differ.
    ExternalName(Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadBalancerName {
    Ip(IpAddr),
    Hostname(Text),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub at: Index,
    /// Empty for the unnamed port. Links to the slices' ports; the target port is never read for that.
    pub name: Text,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<NodePort>,
    pub app_protocol: Option<Text>,
    /// As written, for ingress-nginx's habit of accepting it in a backend's port.
    pub target_port: TargetPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    Name(Text),
}

/// One EndpointSlice. Slices of address type FQDN are not facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Label `kubernetes.io/service-name`, or for a slice of another cluster that has only it,
    /// `multicluster.kubernetes.io/service-name`; slices without either are not facts.
    pub service: ServiceName,
    pub family: Family,
    pub ports: Arc<[SlicePort]>,
    pub endpoints: Box<[Endpoint]>,
    /// What the endpoints are called; `None` where none has a name or nobody wants to know.
    pub names: Option<Box<EndpointNames>>,
    /// Those that a decision reads: all of another cluster's slice, and those that give a slice to another proxy.
    pub labels: Arc<Labels>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time` in Unix milliseconds, for the programming-latency metric.
    pub triggered_at_ms: Option<u64>,
}

/// The slices of one Service, by name. Nearly always one or two: a sorted list of just the size needed, where a map's smallest
/// node would take more than the slice itself.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    sorted: Vec<(Text, Arc<Slice>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    pub name: Text,
    pub protocol: Protocol,
    pub port: u16,
}

/// One endpoint of a slice, with its first address: the others are never used (as in kube-proxy). Half a cache line, as there are a
/// quarter of a million in a large cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub at: Index,
    pub address: IpAddr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// Shared by all endpoints that are at one place and meant for the same ones.
    pub topology: Arc<Topology>,
}

/// Where an endpoint is, and whom it is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Topology {
    pub node: Option<Text>,
    pub zone: Option<Text>,
    pub zone_hints: Hints,
    pub node_hints: Hints,
}

/// Names from `hints.forZones` or `hints.forNodes`; mostly none or one.
pub type Hints = Option<Box<[Text]>>;

/// What the endpoints of a slice are called, by their place in `Slice::endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointNames {
    pub hostnames: Texts,
    /// The pods behind them, where `targetRef` names one.
    pub pods: Texts,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub internal_ips: Vec<IpAddr>,
    pub external_ips: Vec<IpAddr>,
    pub pod_cidrs: Vec<IpNet>,
    /// Label `topology.kubernetes.io/zone`, if not empty.
    pub zone: Option<Text>,
    /// The node is being deleted, or carries the taint `ToBeDeletedByClusterAutoscaler` (KEP-3836): healthz says so.
    pub leaving: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    pub labels: Arc<Labels>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    pub namespace: Text,
    pub name: Text,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Empty once the pod has ended (Succeeded, Failed): its addresses may belong to another by then.
    pub ips: Vec<IpAddr>,
    /// They are its node's, and so the node's own processes and other pods ask from them as well.
    pub host_network: bool,
    pub labels: Arc<Labels>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngressName {
    pub namespace: Text,
    pub name: Text,
}

/// One Ingress, its annotations already lowered to typed options.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// `spec.ingressClassName`.
    pub class: Option<Text>,
    /// Annotation `kubernetes.io/ingress.class`.
    pub class_annotation: Option<Text>,
    /// Unix seconds: of two claims to one path the older has it.
    pub created_at_secs: u64,
    pub default_backend: Option<IngressBackend>,
    pub rules: Vec<IngressRule>,
    pub tls: Vec<IngressTls>,
    pub options: Arc<RouteOptions>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IngressRule {
    pub at: Index,
    /// Lower case; `None` for every host. `*.` starts a wildcard of exactly one label.
    pub host: Option<Text>,
    pub paths: Vec<IngressPath>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IngressPath {
    pub at: Index,
    pub path: PathMatch,
    pub backend: IngressBackend,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// Byte for byte.
    Exact(Text),
    /// Element by element; a trailing slash of the rule means nothing.
    Prefix(Text),
    /// From the start of the path, without regard to case, as ingress-nginx does.
    Regex(Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressBackend {
    Service {
        name: Text,
        port: BackendPort,
    },
    /// A resource backend, `group/Kind name`: nothing we serve, answered 404.
    Resource(Text),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendPort {
    Number(u16),
    Name(Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    pub at: Index,
    pub hosts: Vec<Text>,
    pub secret: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    pub controller: Text,
    pub is_default: bool,
}

/// A Secret's values, decoded from base64. Only Secrets that something refers to become facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub data: BTreeMap<Text, Arc<[u8]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigMapName {
    pub namespace: Text,
    pub name: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    pub data: BTreeMap<Text, Text>,
}

/// A Service imported from other clusters (KEP-1645).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceImport {
    pub headless: bool,
    pub ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
}

// === impl Slice ===

impl Slice {
    /// The host name of the endpoint at this place.
    pub fn hostname(&self, at: usize) -> Option<&str> {
        self.names.as_ref()?.hostnames.get(at)
    }

    /// The pod behind the endpoint at this place.
    pub fn pod(&self, at: usize) -> Option<&str> {
        self.names.as_ref()?.pods.get(at)
    }
}

// === impl Slices ===

impl Slices {
    pub fn get(&self, name: &str) -> Option<&Arc<Slice>> {
        self.find(name).ok().map(|at| &self.sorted[at].1)
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.sorted.iter().map(|(_, slice)| slice)
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    pub fn insert(&mut self, name: Text, slice: Arc<Slice>) {
        match self.find(&name) {
            Ok(at) => self.sorted[at].1 = slice,
            Err(at) => {
                self.sorted.reserve_exact(1);
                self.sorted.insert(at, (name, slice));
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.sorted.remove(at);
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

impl<'a> IntoIterator for &'a Slices {
    type Item = (&'a Text, &'a Arc<Slice>);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (Text, Arc<Slice>)>, fn(&'a (Text, Arc<Slice>)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.sorted.iter().map(|(name, slice)| (name, slice))
    }
}

// === impl Facts ===

impl Facts {
    /// The slices of one Service, by name.
    pub fn slices_of(&self, service: &ServiceName) -> impl Iterator<Item = &Slice> {
        self.slices.get(service).into_iter().flat_map(|slices| slices.values().map(|slice| &**slice))
    }
}
