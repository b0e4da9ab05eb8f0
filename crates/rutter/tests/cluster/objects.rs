//! Objects as an API server would have stored them.

use serde_json::{Value, json};

use super::{NODE, ip};

/// The Node, the Namespaces, and Service kube-dns that leads to the DNS server of the node.
pub fn of_the_cluster() -> Vec<Value> {
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    vec![
        namespace("default"),
        namespace("kube-system"),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": NODE}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/16"]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
                "ports": [{"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kube-dns-1", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "ports": [{"name": "dns", "protocol": "UDP", "port": 53}],
            "endpoints": [{"addresses": [NODE], "nodeName": "node", "conditions": {"ready": true}}]}),
    ]
}

/// A Service with port 80, and what else its spec says.
pub fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("ports").is_none() && spec.get("externalName").is_none() {
        spec["ports"] = json!([{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}]);
    }
    if let (Some(ip), None) = (spec.get("clusterIP").cloned(), spec.get("clusterIPs")) {
        spec["clusterIPs"] = json!([ip]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// Ready pods behind port `http` (and `lines`) of a Service.
pub fn slice(service: &str, pods: &[u8]) -> Value {
    let endpoints: Vec<_> = pods
        .iter()
        .map(|n| json!({"addresses": [ip(*n)], "nodeName": "node", "conditions": {"ready": true, "serving": true, "terminating": false}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "lines", "protocol": "TCP", "port": 9000}],
        "endpoints": endpoints})
}

/// Every path of `host` to port 80 of a Service.
pub fn ingress(host: &str, service: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": host, "namespace": "default", "annotations": {"kubernetes.io/ingress.class": "nginx"}},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
}

/// Service `web` on `cluster_ip` with its ready pods and its URL `http://web.test/`.
pub fn web(cluster_ip: &str, pods: &[u8]) -> Vec<Value> {
    let ports = json!([
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80, "nodePort": 30080},
        {"name": "lines", "protocol": "TCP", "port": 9000, "targetPort": 9000, "nodePort": 30900},
    ]);
    vec![
        service("web", json!({"type": "NodePort", "clusterIP": cluster_ip, "ports": ports})),
        slice("web", pods),
        ingress("web.test", "web"),
    ]
}
