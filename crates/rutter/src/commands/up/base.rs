//! The objects that make a cluster usable: its DNS Service, whose endpoint is our own server, and the class of its ingress.

use std::net::IpAddr;

use client::{Client, Error, Method};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Makes what is missing and mends what another start left otherwise.
pub async fn ensure(client: &Client, dns_ip: IpAddr, server: IpAddr, node_name: &str) -> Result<(), Error> {
    let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let ports = |target: bool| {
        let port = |name: &str, protocol: &str| {
            let mut port = json!({"name": name, "protocol": protocol, "port": 53});
            if target {
                port["targetPort"] = 53.into();
            }
            port
        };
        json!([port("dns", "UDP"), port("dns-tcp", "TCP")])
    };
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": labels},
        "spec": {"clusterIP": dns_ip.to_string(), "ports": ports(true)},
    });
    put(client, "/api/v1/namespaces/kube-system/services", service).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": if server.is_ipv4() { "IPv4" } else { "IPv6" },
        "ports": ports(false),
        "endpoints": [{"addresses": [server.to_string()], "conditions": {"ready": true}, "nodeName": node_name}],
    });
    put(client, "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice).await?;
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    });
    put(client, "/apis/networking.k8s.io/v1/ingressclasses", class).await
}

/// Mended if it is there, else made: made first, a Service of another start would be refused for the address that it has itself.
async fn put(client: &Client, collection: &str, object: Value) -> Result<(), Error> {
    let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or(""));
    match client.call(Method::PATCH, &path, Some((MERGE_PATCH, &object))).await {
        Err(error) if error.code() == Some(404) => client.call(Method::POST, collection, Some((JSON, &object))).await.map(drop),
        done => done.map(drop),
    }
}
