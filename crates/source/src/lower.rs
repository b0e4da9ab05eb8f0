//! Lowering: wire objects become facts, one room a kind.
//!
//! Total: a field that cannot be read is left out and told as an issue with its path; everything else of the object is used. Keeps
//! no wire object. Must not decide anything: what a field means for packets, names and routes is the model's.

mod endpoints;
mod fields;
mod ingress;
mod ingress_class;
mod node;
mod plain;
mod service;
mod service_import;
mod slice;

use api::AnyObject;
use model::facts::{ConfigMapName, IngressName, PodName};
use model::{Change, Issue, ObjectKind, ObjectRef, SecretName, ServiceName, SliceName, Text};

pub(crate) use endpoints::slices_of;
use fields::Fields;
pub(crate) use fields::Interner;

/// What one object says: its fact, and what is wrong with it.
pub(crate) struct Lowered {
    pub(crate) change: Change,
    pub(crate) issues: Change,
}

/// Which object a fact is of, without the fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: Text,
    pub(crate) name: Text,
}

/// Lowers one object; `None` for kinds that are no facts by themselves (Endpoints, Leases).
pub(crate) fn lower(object: &AnyObject, texts: &mut Interner) -> Option<Lowered> {
    let id = Id::of(object, texts)?;
    let mut fields = Fields::new(texts);
    let change = match object {
        AnyObject::Service(it) => Change::Service(id.service(), Some(service::lower(it, &mut fields))),
        AnyObject::EndpointSlice(it) => Change::Slice(id.slice(), slice::lower(it, &mut fields)),
        AnyObject::Node(it) => Change::Node(id.name.clone(), Some(node::lower(it, &mut fields))),
        AnyObject::Namespace(it) => Change::Namespace(id.name.clone(), Some(plain::namespace(it, &mut fields))),
        AnyObject::Pod(it) => Change::Pod(id.pod(), Some(plain::pod(it, &mut fields))),
        AnyObject::Ingress(it) => Change::Ingress(id.ingress(), Some(ingress::lower(it, &mut fields))),
        AnyObject::IngressClass(it) => Change::IngressClass(id.name.clone(), Some(ingress_class::lower(it, &mut fields))),
        AnyObject::Secret(it) => Change::Secret(id.secret(), Some(plain::secret(it, &mut fields))),
        AnyObject::ConfigMap(it) => Change::ConfigMap(id.config_map(), Some(plain::config_map(it, &mut fields))),
        AnyObject::ServiceCidr(it) => Change::ServiceCidr(id.name.clone(), Some(plain::service_cidr(it, &mut fields))),
        AnyObject::ServiceImport(it) => Change::ServiceImport(id.service(), Some(service_import::lower(it, &mut fields))),
        AnyObject::Endpoints(_) | AnyObject::Lease(_) => return None,
    };
    let issues = fields.into_issues();
    Some(Lowered { change, issues: Change::Issues(id.object(), issues) })
}

// === impl Id ===

impl Id {
    pub(crate) fn of(object: &AnyObject, texts: &mut Interner) -> Option<Self> {
        let kind = kind_of(object.kind().kind)?;
        let meta = object.meta();
        Some(Self { kind, namespace: texts.text(&meta.namespace), name: texts.text(&meta.name) })
    }

    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef { kind: self.kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// That the object is gone, with all that was wrong with it.
    pub(crate) fn gone(&self) -> [Change; 2] {
        let gone = match self.kind {
            ObjectKind::Service => Change::Service(self.service(), None),
            ObjectKind::EndpointSlice => Change::Slice(self.slice(), None),
            ObjectKind::Node => Change::Node(self.name.clone(), None),
            ObjectKind::Namespace => Change::Namespace(self.name.clone(), None),
            ObjectKind::Pod => Change::Pod(self.pod(), None),
            ObjectKind::Ingress => Change::Ingress(self.ingress(), None),
            ObjectKind::IngressClass => Change::IngressClass(self.name.clone(), None),
            ObjectKind::Secret => Change::Secret(self.secret(), None),
            ObjectKind::ConfigMap => Change::ConfigMap(self.config_map(), None),
            ObjectKind::ServiceCidr => Change::ServiceCidr(self.name.clone(), None),
            ObjectKind::ServiceImport => Change::ServiceImport(self.service(), None),
        };
        [gone, Change::Issues(self.object(), Vec::new())]
    }

    fn service(&self) -> ServiceName {
        ServiceName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn slice(&self) -> SliceName {
        SliceName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn secret(&self) -> SecretName {
        SecretName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn pod(&self) -> PodName {
        PodName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn ingress(&self) -> IngressName {
        IngressName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn config_map(&self) -> ConfigMapName {
        ConfigMapName { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

pub(crate) fn kind_of(kind: &str) -> Option<ObjectKind> {
    Some(match kind {
        "Service" => ObjectKind::Service,
        "EndpointSlice" => ObjectKind::EndpointSlice,
        "Node" => ObjectKind::Node,
        "Namespace" => ObjectKind::Namespace,
        "Pod" => ObjectKind::Pod,
        "Ingress" => ObjectKind::Ingress,
        "IngressClass" => ObjectKind::IngressClass,
        "Secret" => ObjectKind::Secret,
        "ConfigMap" => ObjectKind::ConfigMap,
        "ServiceCIDR" => ObjectKind::ServiceCidr,
        "ServiceImport" => ObjectKind::ServiceImport,
        _ => return None,
    })
}

/// That an object could not be decoded at all.
pub(crate) fn undecodable(error: &api::DecodeError) -> Issue {
    Issue::new(&*error.field, model::Reason::Undecodable, &*error.reason)
}

#[cfg(test)]
mod tests;
