//! Service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use api::IntOrString;
use ipnet::IpNet;
use model::facts::{Index, LoadBalancerName, Service, ServiceKind, ServicePort, TargetPort, TrafficPolicy};
use model::{Family, NodePort};

use super::Fields;

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotations that decisions read.
const OUR_ANNOTATIONS: &str = "rutter.dev/";

/// The API's default for `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECS: i32 = 10_800;

pub(super) fn lower(service: &api::Service, fields: &mut Fields<'_>) -> Service {
    let spec = &service.spec;
    let kind = kind(spec, fields);
    let cluster_ips = if kind == ServiceKind::ClusterIp { cluster_ips(spec, fields) } else { Vec::new() };
    let ingress = &service.status.load_balancer.ingress;
    let mut load_balancer_ips = Vec::new();
    let mut load_balancer_names = Vec::new();
    for (index, entry) in ingress.iter().enumerate() {
        if !entry.ip.is_empty() {
            let Some(ip) = fields.address(&entry.ip, || format!("status.loadBalancer.ingress[{index}].ip")) else { continue };
            load_balancer_names.push(LoadBalancerName::Ip(ip));
            if entry.ip_mode.as_deref().unwrap_or("VIP") == "VIP" {
                load_balancer_ips.push(ip);
            }
        } else if !entry.hostname.is_empty() {
            load_balancer_names.push(LoadBalancerName::Hostname(fields.text(entry.hostname.trim_end_matches('.'))));
        }
    }
    let labels = &service.metadata.labels.0;
    Service {
        kind,
        cluster_ips,
        ports: ports(spec, fields),
        external_ips: fields.addresses(spec.external_ips.iter().map(|ip| &**ip), "spec.externalIPs"),
        load_balancer_ips,
        load_balancer_names,
        source_ranges: source_ranges(spec, fields),
        internal_policy: policy(spec.internal_traffic_policy.as_deref().unwrap_or(""), "spec.internalTrafficPolicy", fields),
        external_policy: policy(&spec.external_traffic_policy, "spec.externalTrafficPolicy", fields),
        affinity: affinity(spec, fields),
        health_check_node_port: health_check(spec, fields),
        proxy_name: fields.some_text(labels.get(PROXY_NAME).map(|name| &**name)),
        headless_label: labels.contains_key(HEADLESS),
        publish_not_ready: spec.publish_not_ready_addresses,
        labels: fields.texts().labels(&service.metadata.labels),
        annotations: annotations(&service.metadata.annotations, fields),
    }
}

fn kind(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> ServiceKind {
    match &*spec.service_type {
        "ExternalName" => {
            if spec.external_name.is_empty() {
                fields.invalid(|| "spec.externalName".to_string(), "is not set, so the name leads nowhere");
            }
            return ServiceKind::ExternalName(fields.text(spec.external_name.trim_end_matches('.')));
        }
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        other => {
            let message = format!("`{other}` is none of ClusterIP, NodePort, LoadBalancer, ExternalName; ClusterIP is used");
            fields.invalid(|| "spec.type".to_string(), message);
        }
    }
    let first = spec.cluster_ips.first().unwrap_or(&spec.cluster_ip);
    // A server would have given it an address. In a file where nobody does, its endpoints are what can be reached; an address
    // that is written and cannot be read must not open them.
    if matches!(&**first, "None" | "") { ServiceKind::Headless } else { ServiceKind::ClusterIp }
}

/// The first address of each family; `clusterIP` where `clusterIPs` is not filled in.
fn cluster_ips(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Vec<IpAddr> {
    let mut found = if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
        fields.address(&spec.cluster_ip, || "spec.clusterIP".to_string()).into_iter().collect()
    } else {
        fields.addresses(spec.cluster_ips.iter().map(|ip| &**ip), "spec.clusterIPs")
    };
    let mut seen = Vec::new();
    found.retain(|ip| {
        let is_first = !seen.contains(&Family::of(*ip));
        seen.push(Family::of(*ip));
        is_first
    });
    found
}

/// Who may come through load-balancer addresses. A list of which nothing can be read admits nobody: without it everyone could come.
fn source_ranges(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Vec<IpNet> {
    let written = &spec.load_balancer_source_ranges;
    let ranges = fields.nets(written.iter().map(|net| &**net), "spec.loadBalancerSourceRanges");
    if ranges.is_empty() && !written.is_empty() {
        // No packet comes from these.
        return [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)].map(IpNet::from).to_vec();
    }
    ranges
}

/// The ports, each number and protocol and each name and protocol once: both are keys further on.
fn ports(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(spec.ports.len());
    for (index, port) in spec.ports.iter().enumerate() {
        let Some(port) = self::port(index, port, fields) else { continue };
        let same = |other: &&ServicePort| other.protocol == port.protocol && (other.port == port.port || other.name == port.name);
        if let Some(other) = ports.iter().find(same) {
            let message = format!("port {} {} named {:?} comes before it; only that is used", other.port, other.protocol, other.name);
            fields.conflict(|| format!("spec.ports[{index}]"), message);
            continue;
        }
        ports.push(port);
    }
    ports
}

fn port(index: usize, port: &api::core::ServicePort, fields: &mut Fields<'_>) -> Option<ServicePort> {
    let path = |field: &'static str| move || format!("spec.ports[{index}].{field}");
    let number = fields.port(port.port, path("port"))?;
    let protocol = fields.protocol(&port.protocol, path("protocol"))?;
    let node_port = if port.node_port == 0 { None } else { fields.port(port.node_port, path("nodePort")).map(NodePort) };
    Some(ServicePort {
        at: index as Index,
        name: fields.text(&port.name),
        protocol,
        port: number,
        node_port,
        app_protocol: fields.some_text(port.app_protocol.as_deref()),
        target_port: match &port.target_port {
            IntOrString::Int(0) => TargetPort::Number(number),
            IntOrString::Int(target) => TargetPort::Number(fields.port(*target, path("targetPort")).unwrap_or(number)),
            IntOrString::String(name) => TargetPort::Name(fields.text(name)),
        },
    })
}

fn policy(text: &str, field: &'static str, fields: &mut Fields<'_>) -> TrafficPolicy {
    match text {
        "" | "Cluster" => TrafficPolicy::Cluster,
        "Local" => TrafficPolicy::Local,
        _ => {
            fields.invalid(|| field.to_string(), format!("`{text}` is neither Cluster nor Local; Cluster is used"));
            TrafficPolicy::Cluster
        }
    }
}

fn affinity(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Option<Duration> {
    match &*spec.session_affinity {
        "" | "None" => return None,
        "ClientIP" => {}
        other => {
            fields.invalid(|| "spec.sessionAffinity".to_string(), format!("`{other}` is neither None nor ClientIP; None is used"));
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let secs = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECS);
    match u64::try_from(secs) {
        Ok(secs) if secs > 0 => Some(Duration::from_secs(secs)),
        _ => {
            fields.invalid(
                || "spec.sessionAffinityConfig.clientIP.timeoutSeconds".to_string(),
                format!("{secs} is no time; {AFFINITY_SECS} is used"),
            );
            Some(Duration::from_secs(AFFINITY_SECS as u64))
        }
    }
}

/// Only a LoadBalancer with policy Local has one.
fn health_check(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Option<NodePort> {
    if spec.health_check_node_port == 0 || &*spec.service_type != "LoadBalancer" || &*spec.external_traffic_policy != "Local" {
        return None;
    }
    fields.port(spec.health_check_node_port, || "spec.healthCheckNodePort".to_string()).map(NodePort)
}

fn annotations(map: &api::Map, fields: &mut Fields<'_>) -> Arc<model::facts::Labels> {
    let ours = map.0.iter().filter(|(key, _)| key.starts_with(OUR_ANNOTATIONS));
    let ours = api::Map(ours.map(|(key, value)| (key.clone(), value.clone())).collect());
    fields.texts().labels(&ours)
}
