//! What a Service of some type has.

use serde_json::{Map, Value};

use crate::value::Get;

pub(super) type Spec = Map<String, Value>;

/// The name of a node port that no two Services may hold.
pub(super) fn claim(port: i64) -> String {
    format!("nodePort/{port}")
}

pub(super) fn needs_cluster_ip(spec: &Spec) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

pub(super) fn needs_node_port(spec: &Spec) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.at("allocateLoadBalancerNodePorts").as_bool() != Some(false),
        _ => false,
    }
}

pub(super) fn needs_health_check_port(spec: &Spec) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

pub(super) fn is_external(spec: &Spec) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer") || spec.text("type") == "ClusterIP" && !spec.items("externalIPs").is_empty()
}

pub(super) fn node_ports_used(spec: &Spec) -> Vec<i64> {
    spec.items("ports").iter().map(|port| port.int("nodePort")).filter(|port| *port != 0).collect()
}

pub(super) fn same(new: &Spec, old: &Spec, field: &str) -> bool {
    new.at(field) == old.at(field)
}
