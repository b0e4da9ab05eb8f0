//! What every cluster has from the start: its namespaces, the range of Service addresses, and the Service by which pods find this server.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::answer;
use crate::api_state::{Api, timestamp};
use crate::hooks::DEFAULT_CIDR;
use crate::kinds::Kind;
use crate::refusal::Refusal;
use crate::request::WriteOptions;
use crate::store::{Txn, key};
use crate::verbs::Draft;

/// The Service by which pods reach this server.
const KUBERNETES: &str = "kubernetes";

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// The first address of a range that can be given: the API server's.
pub(crate) fn first_address(net: &IpNet) -> IpAddr {
    net.hosts().next().unwrap_or_else(|| net.addr())
}

/// Makes what is missing, and sets right where the server is. `address` is where pods reach it; None: nowhere.
pub(crate) fn ensure(txn: &mut Txn<'_>, api: &Api, port: u16, address: Option<SocketAddr>) -> Result<(), Refusal> {
    let now = timestamp();
    let options = WriteOptions { manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
    let mut ensure = |kind: &Kind, namespace: &str, object: Value| {
        let draft = Draft { api, kind, namespace, subresource: "", options: &options, now: &now };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match txn.get(api.collection(kind), &key(namespace, name)) {
            None => draft.create(txn, dressed(kind, object)).map(drop),
            Some(stored) => {
                let mut found = answer::dressed(kind, &stored);
                merge(&mut found, &object);
                draft.update(txn, &stored, found).map(drop)
            }
        }
    };
    let namespaces = api.kinds.core("namespaces");
    for name in NAMESPACES {
        ensure(namespaces, "", json!({"metadata": {"name": name}}))?;
    }
    let cidrs: Vec<String> = api.cluster.service_cidrs.iter().map(IpNet::to_string).collect();
    ensure(api.kinds.networking("servicecidrs"), "", json!({"metadata": {"name": DEFAULT_CIDR}, "spec": {"cidrs": cidrs}}))?;
    let ip = api.cluster.service_cidrs.first().map(first_address);
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ports = json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]);
    let service = json!({
        "metadata": {"name": KUBERNETES, "namespace": "default", "labels": labels},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports, "type": "ClusterIP", "sessionAffinity": "None"},
    });
    ensure(api.kinds.core("services"), "default", service)?;
    let Some(address) = address else { return Ok(()) };
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "metadata": {"name": KUBERNETES, "namespace": "default", "labels": {"kubernetes.io/service-name": KUBERNETES}},
        "addressType": family,
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    });
    let slices = api.kinds.find("discovery.k8s.io", "v1", "endpointslices");
    if let Some(slices) = slices {
        ensure(slices, "default", slice)?;
    }
    let endpoints = json!({
        "metadata": {"name": KUBERNETES, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.ip()}], "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}]}],
    });
    ensure(api.kinds.core("endpoints"), "default", endpoints)
}

fn dressed(kind: &Kind, mut object: Value) -> Value {
    object["kind"] = kind.gvk.kind.clone().into();
    object["apiVersion"] = kind.gvk.api_version().into();
    object
}

/// Sets in `into` what `from` says; lists as a whole.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
