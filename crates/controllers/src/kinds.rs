//! The kinds that controllers read and write, and the shape of their collections.

use api::Kind;

const fn core(kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind { group: "", version: "v1", kind, plural, namespaced, protobuf: false }
}

const fn named(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version: "v1", kind, plural, namespaced: true, protobuf: false }
}

pub static POD: Kind = core("Pod", "pods", true);
pub static NODE: Kind = core("Node", "nodes", false);
pub static SERVICE: Kind = core("Service", "services", true);
pub static ENDPOINTS: Kind = core("Endpoints", "endpoints", true);
pub static NAMESPACE: Kind = core("Namespace", "namespaces", false);
pub static CONFIG_MAP: Kind = core("ConfigMap", "configmaps", true);
pub static SECRET: Kind = core("Secret", "secrets", true);
pub static SERVICE_ACCOUNT: Kind = core("ServiceAccount", "serviceaccounts", true);
pub static EVENT: Kind = core("Event", "events", true);
pub static DEPLOYMENT: Kind = named("apps", "Deployment", "deployments");
pub static REPLICA_SET: Kind = named("apps", "ReplicaSet", "replicasets");
pub static ENDPOINT_SLICE: Kind = named("discovery.k8s.io", "EndpointSlice", "endpointslices");
pub static INGRESS: Kind = named("networking.k8s.io", "Ingress", "ingresses");
pub static LEASE: Kind = named("coordination.k8s.io", "Lease", "leases");

/// Every kind that lives in a namespace, in the order in which a namespace that goes away is emptied: Pods first (KEP-5080).
pub static NAMESPACED: [&Kind; 11] =
    [&POD, &DEPLOYMENT, &REPLICA_SET, &SERVICE, &ENDPOINTS, &ENDPOINT_SLICE, &INGRESS, &CONFIG_MAP, &SECRET, &SERVICE_ACCOUNT, &LEASE];

/// The kinds that can own or be owned.
pub static COLLECTED: [&Kind; 13] = [
    &POD,
    &DEPLOYMENT,
    &REPLICA_SET,
    &SERVICE,
    &ENDPOINTS,
    &ENDPOINT_SLICE,
    &INGRESS,
    &CONFIG_MAP,
    &SECRET,
    &SERVICE_ACCOUNT,
    &LEASE,
    &NODE,
    &NAMESPACE,
];

/// The kind that an owner reference names, if it is one of ours.
pub fn of_reference(reference: &serde_json::Value) -> Option<&'static Kind> {
    let text = crate::json::text;
    COLLECTED.into_iter().find(|kind| kind.is(text(&reference["apiVersion"]), text(&reference["kind"])))
}

/// The kind whose collection is called so.
pub fn of_plural(plural: &str) -> Option<&'static Kind> {
    COLLECTED.into_iter().find(|kind| kind.plural == plural)
}
