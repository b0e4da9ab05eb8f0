//! Service.

use std::sync::Arc;
use std::time::Duration;

use api::IntOrString;
use model::facts::{LoadBalancerName, Service, ServiceKind, ServicePort, TargetPort, TrafficPolicy};
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
    // Without any address there is nothing to answer on: `clusterIP: ""` is what a headless Service comes closest to.
    let kind = if kind == ServiceKind::ClusterIp && cluster_ips.is_empty() { ServiceKind::Headless } else { kind };
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
        ports: spec.ports.iter().enumerate().filter_map(|(index, port)| self::port(index, port, fields)).collect(),
        external_ips: fields.addresses(spec.external_ips.iter().map(|ip| &**ip), "spec.externalIPs"),
        load_balancer_ips,
        load_balancer_names,
        source_ranges: fields.nets(spec.load_balancer_source_ranges.iter().map(|net| &**net), "spec.loadBalancerSourceRanges"),
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
    if &*spec.service_type == "ExternalName" {
        return ServiceKind::ExternalName(fields.text(spec.external_name.trim_end_matches('.')));
    }
    let is_none = |ip: &str| ip == "None";
    if is_none(&spec.cluster_ip) || spec.cluster_ips.first().is_some_and(|ip| is_none(ip)) {
        return ServiceKind::Headless;
    }
    ServiceKind::ClusterIp
}

/// The first address of each family; `clusterIP` where `clusterIPs` is not filled in.
fn cluster_ips(spec: &api::core::ServiceSpec, fields: &mut Fields<'_>) -> Vec<std::net::IpAddr> {
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

fn port(index: usize, port: &api::core::ServicePort, fields: &mut Fields<'_>) -> Option<ServicePort> {
    let path = |field: &'static str| move || format!("spec.ports[{index}].{field}");
    let number = fields.port(port.port, path("port"))?;
    let protocol = fields.protocol(&port.protocol, path("protocol"))?;
    let node_port = if port.node_port == 0 { None } else { fields.port(port.node_port, path("nodePort")).map(NodePort) };
    Some(ServicePort {
        name: fields.text(&port.name),
        protocol,
        port: number,
        node_port,
        app_protocol: fields.some_text(port.app_protocol.as_deref()),
        target_port: match &port.target_port {
            IntOrString::Int(0) => TargetPort::Number(number),
            IntOrString::Int(target) => TargetPort::Number(u16::try_from(*target).unwrap_or(number)),
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
