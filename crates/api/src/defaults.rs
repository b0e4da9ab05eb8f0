//! What the API server would have filled in, for objects that never met one.
//!
//! Source: `SetDefaults_*` in Kubernetes' pkg/apis/{core,discovery,networking}/v1/defaults.go, and the parts of Service creation that need no
//! allocator (a ClusterIP given in one form appears in the other, and its families follow from it).

use crate::core::{ClientIpConfig, ConfigMap, Endpoints, Namespace, Node, Pod, PodIp, Secret, Service, SessionAffinityConfig};
use crate::networking::{Ingress, IngressClass, ServiceCidr};
use crate::value::{Bytes, IntOrString};
use crate::{EndpointSlice, Lease, ServiceImport};

/// 3 h: how long a client stays with its endpoint when the Service does not say.
const AFFINITY_TIMEOUT_SECS: i32 = 10_800;

pub(crate) trait Defaults {
    fn fill(&mut self) {}
}

impl Defaults for Service {
    fn fill(&mut self) {
        let spec = &mut self.spec;
        set(&mut spec.service_type, "ClusterIP");
        set(&mut spec.session_affinity, "None");
        if &*spec.session_affinity == "ClientIP" {
            spec.session_affinity_config
                .get_or_insert_with(SessionAffinityConfig::default)
                .client_ip
                .get_or_insert_with(ClientIpConfig::default)
                .timeout_seconds
                .get_or_insert(AFFINITY_TIMEOUT_SECS);
        } else {
            spec.session_affinity_config = None;
        }
        for port in &mut spec.ports {
            set(&mut port.protocol, "TCP");
            let unset = match &port.target_port {
                IntOrString::Int(number) => *number == 0,
                IntOrString::String(name) => name.is_empty(),
            };
            if unset {
                port.target_port = IntOrString::Int(port.port);
            }
        }
        let has_node_ports = matches!(&*spec.service_type, "NodePort" | "LoadBalancer");
        if has_node_ports || (&*spec.service_type == "ClusterIP" && !spec.external_ips.is_empty()) {
            set(&mut spec.external_traffic_policy, "Cluster");
        }
        if &*spec.service_type == "LoadBalancer" {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
            for ingress in self.status.load_balancer.ingress.iter_mut().filter(|ingress| !ingress.ip.is_empty()) {
                ingress.ip_mode.get_or_insert_with(|| "VIP".into());
            }
        }
        if &*spec.service_type == "ExternalName" {
            return;
        }
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());

        if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
            spec.cluster_ips.push(spec.cluster_ip.clone());
        } else if let (true, Some(first)) = (spec.cluster_ip.is_empty(), spec.cluster_ips.first()) {
            spec.cluster_ip = first.clone();
        }
        if spec.ip_families.is_empty() {
            let addresses = spec.cluster_ips.iter().filter(|ip| !matches!(&***ip, "" | "None"));
            spec.ip_families = addresses.map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" }.into()).collect();
        }
        let policy = if spec.ip_families.len() > 1 { "RequireDualStack" } else { "SingleStack" };
        if !spec.ip_families.is_empty() {
            spec.ip_family_policy.get_or_insert_with(|| policy.into());
        }
    }
}

impl Defaults for EndpointSlice {
    fn fill(&mut self) {
        for port in &mut self.ports {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }
}

impl Defaults for Endpoints {
    fn fill(&mut self) {
        for port in self.subsets.iter_mut().flat_map(|subset| &mut subset.ports) {
            set(&mut port.protocol, "TCP");
        }
    }
}

impl Defaults for Node {
    fn fill(&mut self) {
        if let (true, false) = (self.spec.pod_cidrs.is_empty(), self.spec.pod_cidr.is_empty()) {
            self.spec.pod_cidrs.push(self.spec.pod_cidr.clone());
        } else if let (true, Some(first)) = (self.spec.pod_cidr.is_empty(), self.spec.pod_cidrs.first()) {
            self.spec.pod_cidr = first.clone();
        }
    }
}

impl Defaults for Namespace {
    fn fill(&mut self) {
        set(&mut self.status.phase, "Active");
        let name = self.metadata.name.clone();
        self.metadata.labels.entry("kubernetes.io/metadata.name".into()).or_insert(name);
    }
}

impl Defaults for Pod {
    fn fill(&mut self) {
        let status = &mut self.status;
        if let (true, false) = (status.pod_ips.is_empty(), status.pod_ip.is_empty()) {
            status.pod_ips.push(PodIp { ip: status.pod_ip.clone() });
        } else if let (true, Some(first)) = (status.pod_ip.is_empty(), status.pod_ips.first()) {
            status.pod_ip = first.ip.clone();
        }
    }
}

impl Defaults for Secret {
    fn fill(&mut self) {
        set(&mut self.secret_type, "Opaque");
        for (key, text) in std::mem::take(&mut self.string_data).0 {
            self.data.insert(key, Bytes(text.into_boxed_bytes()));
        }
    }
}

impl Defaults for IngressClass {
    fn fill(&mut self) {
        if let Some(parameters) = &mut self.spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".into());
        }
    }
}

impl Defaults for ServiceImport {
    fn fill(&mut self) {
        for port in &mut self.spec.ports {
            set(&mut port.protocol, "TCP");
        }
    }
}

// The server fills in nothing here. An Ingress path without `pathType` is refused by it: `source` says so too.
impl Defaults for ConfigMap {}
impl Defaults for Ingress {}
impl Defaults for ServiceCidr {}
impl Defaults for Lease {}

fn set(field: &mut Box<str>, default: &str) {
    if field.is_empty() {
        *field = default.into();
    }
}

#[cfg(test)]
mod tests;
