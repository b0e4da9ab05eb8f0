//! What single kinds do beyond the generic path: as data and small functions, found by kind.
//!
//! A hook reads and changes one object and may look into the store through the transaction of its write; it knows nothing of requests. The
//! generic path calls hooks in the order of Kubernetes' registry: admission, allocation, preparation, then validation.

mod cluster;
mod event;
mod ip_address;
mod pod;
mod service;
mod service_cidr;
#[cfg(test)]
mod tests;
mod world;

use serde_json::Value;

use crate::kinds::Kind;
use crate::refusal::Refusal;
use crate::schema::Gvk;

pub(crate) use pod::{grace_period, take_topology};
pub(crate) use service_cidr::DEFAULT as DEFAULT_CIDR;
pub(crate) use world::{Cluster, World};

/// When `metadata.generation` grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The kind has none.
    None,
    Spec,
    /// Annotations tell Deployments as much as their spec does.
    SpecAndAnnotations,
    /// Everything but metadata.
    All,
}

/// Changes a created object (`old` None) or one that replaces `old`.
type Change = fn(&mut World<'_, '_>, &mut Value, Option<&Value>) -> Result<(), Refusal>;

/// One kind's particulars.
pub(crate) struct Hooks {
    pub(crate) generation: Generation,
    pub(crate) claims: fn(&Value) -> Vec<String>,
    /// Between the stored version and the one of this kind.
    pub(crate) outward: Option<fn(&mut Value)>,
    pub(crate) inward: Option<fn(&mut Value)>,
    /// Whether PUT makes what is not there.
    pub(crate) create_on_update: bool,
    /// Whether PUT without a resourceVersion replaces whatever is there.
    pub(crate) unconditional_update: bool,
    /// Whether a deleted object is shown to who deleted it; else a Status.
    pub(crate) shows_deleted: bool,
    /// Checks and additions that need other objects (Kubernetes: admission, and a registry's allocators).
    pub(crate) admit: Change,
    /// Fields that are the server's to set.
    pub(crate) prepare: fn(&mut Value, Option<&Value>),
    /// After the object was written: what follows it.
    pub(crate) written: fn(&mut World<'_, '_>, &Value, Option<&Value>),
    /// After an object of the kind was written or has gone, when the transaction shows that.
    pub(crate) after: fn(&mut World<'_, '_>),
    /// Before the object goes away.
    pub(crate) removing: fn(&mut World<'_, '_>, &Value) -> Result<(), Refusal>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

const PLAIN: Hooks = Hooks {
    generation: Generation::None,
    claims: |_| Vec::new(),
    outward: None,
    inward: None,
    create_on_update: false,
    unconditional_update: true,
    shows_deleted: false,
    admit: |_, _, _| Ok(()),
    prepare: |_, _| {},
    written: |_, _, _| {},
    after: |_| {},
    removing: |_, _| Ok(()),
};

const HOOKS: &[(&str, &str, Hooks)] = &[
    ("", "Endpoints", Hooks { create_on_update: true, ..PLAIN }),
    ("", "Event", Hooks { create_on_update: true, ..PLAIN }),
    ("", "LimitRange", Hooks { create_on_update: true, ..PLAIN }),
    ("", "Namespace", Hooks { prepare: cluster::namespace, removing: cluster::namespace_removing, ..PLAIN }),
    ("", "Node", Hooks { prepare: cluster::node, ..PLAIN }),
    ("", "PersistentVolumeClaim", Hooks { shows_deleted: true, ..PLAIN }),
    ("", "Pod", Hooks { generation: Generation::Spec, shows_deleted: true, admit: pod::admit, prepare: pod::prepare, ..PLAIN }),
    ("", "ResourceQuota", Hooks { shows_deleted: true, ..PLAIN }),
    ("", "ServiceAccount", Hooks { shows_deleted: true, ..PLAIN }),
    (
        "",
        "Service",
        Hooks {
            claims: service::claims,
            shows_deleted: true,
            admit: service::allocate,
            prepare: service::prepare,
            written: service::written,
            removing: service::removing,
            after: service_cidr::settle,
            ..PLAIN
        },
    ),
    ("apps", "Deployment", Hooks { generation: Generation::SpecAndAnnotations, ..PLAIN }),
    ("apps", "ReplicaSet", Hooks { generation: Generation::Spec, ..PLAIN }),
    ("coordination.k8s.io", "Lease", Hooks { create_on_update: true, unconditional_update: false, ..PLAIN }),
    ("discovery.k8s.io", "EndpointSlice", Hooks { generation: Generation::All, ..PLAIN }),
    ("events.k8s.io", "Event", Hooks { create_on_update: true, outward: Some(event::outward), inward: Some(event::inward), ..PLAIN }),
    ("networking.k8s.io", "Ingress", Hooks { generation: Generation::Spec, admit: cluster::ingress, ..PLAIN }),
    ("networking.k8s.io", "IngressClass", Hooks { generation: Generation::Spec, ..PLAIN }),
    ("networking.k8s.io", "IPAddress", Hooks { after: service_cidr::settle, ..PLAIN }),
    ("networking.k8s.io", "ServiceCIDR", Hooks { prepare: service_cidr::prepare, after: service_cidr::settle, ..PLAIN }),
];

/// The hooks of a kind; most kinds need none.
pub(crate) fn of(kind: &Kind) -> &'static Hooks {
    static NONE: Hooks = PLAIN;
    let Gvk { group, kind, .. } = &kind.gvk;
    HOOKS.iter().find(|(its_group, its_kind, _)| its_group == group && its_kind == kind).map_or(&NONE, |(_, _, hooks)| hooks)
}
