//! The kinds that controllers read and write, and the shape of their collections.

use std::sync::Arc;

use api::Kind;
use client::{Client, Freshness, FromTree, Own, Pace, Scope};
use serde_json::Value;
use tokio::sync::mpsc::Sender;

/// Each kind by its name in constants and the name of its objects, which are read whole: every field as it came.
macro_rules! kinds {
    ($($constant:ident, $which:ident, $group:literal, $kind:literal, $plural:literal, namespaced: $namespaced:literal;)*) => {
        $(
        pub static $constant: Kind = $which::KIND;

        #[derive(Debug)]
        struct $which(Arc<Value>);

        impl FromTree for $which {
            const KIND: Kind = Kind { group: $group, version: "v1", kind: $kind, plural: $plural, namespaced: $namespaced, protobuf: false };

            fn from_tree(tree: &Value) -> Result<Self, serde_json::Error> {
                Ok(Self(whole(tree, &Self::KIND)))
            }
        }
        )*

        /// Follows the objects of `kind` until the receiver of `events` is gone.
        pub(crate) async fn follow(kind: &'static Kind, client: Client, events: Sender<client::Event<Arc<Value>>>) {
            let (scope, pace, freshness) = (Scope::default(), Pace::default(), Freshness::default());
            $(if *kind == $which::KIND {
                return client::follow(client, scope, pace, freshness, |own: Own<$which>| own.contents.0, events).await;
            })*
        }
    };
}

kinds! {
    POD, Pod, "", "Pod", "pods", namespaced: true;
    NODE, Node, "", "Node", "nodes", namespaced: false;
    SERVICE, Service, "", "Service", "services", namespaced: true;
    ENDPOINTS, Endpoints, "", "Endpoints", "endpoints", namespaced: true;
    NAMESPACE, Namespace, "", "Namespace", "namespaces", namespaced: false;
    CONFIG_MAP, ConfigMap, "", "ConfigMap", "configmaps", namespaced: true;
    SECRET, Secret, "", "Secret", "secrets", namespaced: true;
    SERVICE_ACCOUNT, ServiceAccount, "", "ServiceAccount", "serviceaccounts", namespaced: true;
    DEPLOYMENT, Deployment, "apps", "Deployment", "deployments", namespaced: true;
    REPLICA_SET, ReplicaSet, "apps", "ReplicaSet", "replicasets", namespaced: true;
    ENDPOINT_SLICE, EndpointSlice, "discovery.k8s.io", "EndpointSlice", "endpointslices", namespaced: true;
    INGRESS, Ingress, "networking.k8s.io", "Ingress", "ingresses", namespaced: true;
    LEASE, Lease, "coordination.k8s.io", "Lease", "leases", namespaced: true;
    EVENT, Event, "", "Event", "events", namespaced: true;
    LIMIT_RANGE, LimitRange, "", "LimitRange", "limitranges", namespaced: true;
    RESOURCE_QUOTA, ResourceQuota, "", "ResourceQuota", "resourcequotas", namespaced: true;
    CLAIM, PersistentVolumeClaim, "", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced: true;
}

/// With what lists leave out of their items.
fn whole(tree: &Value, kind: &Kind) -> Arc<Value> {
    let mut value = tree.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_string(), kind.api_version().into());
        fields.insert("kind".to_string(), kind.kind.into());
    }
    Arc::new(value)
}

/// Kinds that live in a namespace and that nobody here follows: a namespace that goes away is emptied of them unseen.
pub static UNSEEN: [&Kind; 4] = [&EVENT, &LIMIT_RANGE, &RESOURCE_QUOTA, &CLAIM];

/// Every other kind that lives in a namespace, in the order in which a namespace that goes away is emptied: Pods first (KEP-5080).
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
pub fn of_reference(reference: &Value) -> Option<&'static Kind> {
    let text = crate::json::text;
    COLLECTED.into_iter().find(|kind| kind.is(text(&reference["apiVersion"]), text(&reference["kind"])))
}

/// The kind whose collection is called so.
pub fn of_plural(plural: &str) -> Option<&'static Kind> {
    COLLECTED.into_iter().find(|kind| kind.plural == plural)
}
