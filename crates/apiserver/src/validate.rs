//! Whether an object may be kept: its JSON against the schema, then its meaning, in the API server's paths, reasons and texts.
//!
//! The schema's part ([`parse`], [`structure`], [`unknown_fields`]) is one walk. The meaning stands in one file per kind, found through [`KINDS`]:
//! functions that read an object and report [`Cause`]s. Must not know what else is stored; who asks is another's business.
//!
//! Source: the `validation.go` files of Kubernetes' pkg/apis; apimachinery's pkg/util/validation/field.

mod apps;
mod cluster;
mod config;
mod decode;
mod endpoints;
mod event;
mod ingress;
mod lease;
mod meta;
pub(crate) mod names;
mod pod;
mod report;
mod selector;
mod service;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(crate) use decode::syntax_error;
pub use decode::{parse, structure, unknown_fields};
pub use report::{Cause, summary};

use crate::schema::{Gvk, Schema};
use crate::value::Get;
use report::{Path, Report};

/// What validates one kind.
struct Kind {
    group: &'static str,
    kind: &'static str,
    namespaced: bool,
    /// What its names may be.
    name: fn(&str) -> Vec<String>,
    /// The object itself, created (None) or replacing another. Metadata is checked before.
    object: fn(&mut Report, &Value, Option<&Value>),
    /// Its status, where it has a status subresource.
    status: fn(&mut Report, &Value, &Value),
    /// What a good write is warned about.
    warnings: fn(&Value) -> Vec<String>,
}

const PLAIN: Kind = Kind {
    group: "",
    kind: "",
    namespaced: true,
    name: names::dns_subdomain,
    object: |_, _, _| {},
    status: |_, _, _| {},
    warnings: |_| Vec::new(),
};

const KINDS: &[Kind] = &[
    Kind { kind: "ConfigMap", object: config::config_map, ..PLAIN },
    Kind { kind: "Endpoints", object: endpoints::endpoints, ..PLAIN },
    Kind { kind: "Event", object: event::core_event, name: names::path_segment, ..PLAIN },
    Kind {
        kind: "Namespace",
        namespaced: false,
        name: names::dns_label,
        object: cluster::namespace,
        status: cluster::namespace_status,
        ..PLAIN
    },
    Kind { kind: "Node", namespaced: false, object: cluster::node, ..PLAIN },
    Kind { kind: "Pod", object: pod::pod, warnings: pod::warnings, ..PLAIN },
    Kind { kind: "Secret", object: config::secret, ..PLAIN },
    Kind {
        kind: "Service",
        name: names::dns_label,
        object: service::service,
        status: service::status,
        warnings: service::warnings,
        ..PLAIN
    },
    Kind { group: "apps", kind: "Deployment", object: apps::deployment, status: apps::deployment_status, ..PLAIN },
    Kind { group: "apps", kind: "ReplicaSet", object: apps::replica_set, status: apps::replica_set_status, ..PLAIN },
    Kind { group: "autoscaling", kind: "Scale", object: apps::scale, ..PLAIN },
    Kind { group: "coordination.k8s.io", kind: "Lease", object: lease::lease, ..PLAIN },
    Kind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        object: endpoints::endpoint_slice,
        warnings: endpoints::slice_warnings,
        ..PLAIN
    },
    Kind { group: "events.k8s.io", kind: "Event", object: event::event, ..PLAIN },
    Kind { group: "networking.k8s.io", kind: "IPAddress", namespaced: false, name: names::ip, object: ingress::ip_address, ..PLAIN },
    Kind {
        group: "networking.k8s.io",
        kind: "Ingress",
        object: ingress::ingress,
        status: ingress::status,
        warnings: ingress::warnings,
        ..PLAIN
    },
    Kind { group: "networking.k8s.io", kind: "IngressClass", namespaced: false, object: ingress::ingress_class, ..PLAIN },
    Kind { group: "networking.k8s.io", kind: "ServiceCIDR", namespaced: false, object: ingress::service_cidr, ..PLAIN },
];

/// What is wrong with an object that is to be created (`old` None) or to replace `old`. Both are defaulted; allocation and whatever else the
/// server fills in comes before, since what is missing afterwards is an error.
pub fn object(_schema: &Schema, gvk: &Gvk, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let kind = kind(gvk);
    let mut report = Report::default();
    match old {
        None => meta::create(&mut report, new, kind.namespaced, kind.name),
        Some(old) => meta::update(&mut report, new, old),
    }
    (kind.object)(&mut report, new, old);
    report.into_causes()
}

/// The same for a write of the status subresource.
pub fn status(_schema: &Schema, gvk: &Gvk, new: &Value, old: &Value) -> Vec<Cause> {
    let mut report = Report::default();
    meta::update(&mut report, new, old);
    (kind(gvk).status)(&mut report, new, old);
    report.into_causes()
}

/// What a good write is warned about (`Warning: 299 - "..."`).
pub fn warnings(gvk: &Gvk, new: &Value) -> Vec<String> {
    (kind(gvk).warnings)(new)
}

/// What every request for a kind is warned about, be it a read.
pub fn deprecation(gvk: &Gvk) -> Option<&'static str> {
    (gvk.group.is_empty() && gvk.kind == "Endpoints")
        .then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

/// What is wrong with the cluster addresses and families of a Service. Part of [`object`], and asked before any is allocated: what is wrong
/// with those that were sent says more than what cannot be allocated.
pub fn cluster_ips(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut report = Report::default();
    service::cluster_ips(&mut report, new.at("spec"), old.map(|old| old.at("spec")), &Path::new("spec"));
    report.into_causes()
}

/// A kind that no room knows is checked by its metadata alone.
fn kind(gvk: &Gvk) -> &'static Kind {
    KINDS.iter().find(|kind| kind.group == gvk.group && kind.kind == gvk.kind).unwrap_or(&PLAIN)
}
