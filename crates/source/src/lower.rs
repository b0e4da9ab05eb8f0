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

use std::sync::Arc;

use api::AnyObject;
use model::facts::{ConfigMapName, IngressName, PodName};
use model::{Change, Issue, ObjectKind, ObjectRef, SecretName, ServiceName, SliceName, Text};

pub(crate) use endpoints::NamedSlice;
use fields::Fields;
pub(crate) use fields::Interner;

/// What one object says, and what is wrong with it.
pub(crate) struct Lowered {
    pub(crate) fact: Change,
    pub(crate) issues: Vec<Issue>,
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
    let fact = match object {
        AnyObject::Service(it) => Change::Service(id.service(), Some(Arc::new(service::lower(it, &mut fields)))),
        AnyObject::EndpointSlice(it) => Change::Slice(id.slice(), slice::lower(it, &mut fields).map(Arc::new)),
        AnyObject::Node(it) => Change::Node(id.name, Some(Arc::new(node::lower(it, &mut fields)))),
        AnyObject::Namespace(it) => Change::Namespace(id.name, Some(Arc::new(plain::namespace(it, &mut fields)))),
        AnyObject::Pod(it) => Change::Pod(id.pod(), Some(Arc::new(plain::pod(it, &mut fields)))),
        AnyObject::Ingress(it) => Change::Ingress(id.ingress(), Some(Arc::new(ingress::lower(it, &mut fields)))),
        AnyObject::IngressClass(it) => Change::IngressClass(id.name, Some(ingress_class::lower(it, &mut fields))),
        AnyObject::Secret(it) => Change::Secret(id.secret(), Some(Arc::new(plain::secret(it, &mut fields)))),
        AnyObject::ConfigMap(it) => Change::ConfigMap(id.config_map(), Some(Arc::new(plain::config_map(it, &mut fields)))),
        AnyObject::ServiceCidr(it) => Change::ServiceCidr(id.name, Some(plain::service_cidr(it, &mut fields))),
        AnyObject::ServiceImport(it) => Change::ServiceImport(id.service(), Some(Arc::new(service_import::lower(it, &mut fields)))),
        AnyObject::Endpoints(_) | AnyObject::Lease(_) => return None,
    };
    Some(Lowered { fact, issues: fields.into_issues() })
}

/// Lowers Endpoints to the slices that would mirror them.
pub(crate) fn endpoints(endpoints: &api::Endpoints, texts: &mut Interner) -> (Vec<NamedSlice>, Vec<Issue>) {
    let mut fields = Fields::new(texts);
    let slices = endpoints::lower(endpoints, &mut fields);
    (slices, fields.into_issues())
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
    pub(crate) fn gone(&self) -> impl Iterator<Item = Change> + use<> {
        let gone = match self.kind {
            ObjectKind::Service => Some(Change::Service(self.service(), None)),
            ObjectKind::EndpointSlice => Some(Change::Slice(self.slice(), None)),
            ObjectKind::Node => Some(Change::Node(self.name.clone(), None)),
            ObjectKind::Namespace => Some(Change::Namespace(self.name.clone(), None)),
            ObjectKind::Pod => Some(Change::Pod(self.pod(), None)),
            ObjectKind::Ingress => Some(Change::Ingress(self.ingress(), None)),
            ObjectKind::IngressClass => Some(Change::IngressClass(self.name.clone(), None)),
            ObjectKind::Secret => Some(Change::Secret(self.secret(), None)),
            ObjectKind::ConfigMap => Some(Change::ConfigMap(self.config_map(), None)),
            ObjectKind::ServiceCidr => Some(Change::ServiceCidr(self.name.clone(), None)),
            ObjectKind::ServiceImport => Some(Change::ServiceImport(self.service(), None)),
            ObjectKind::Endpoints | ObjectKind::File => None,
        };
        gone.into_iter().chain([Change::Issues(self.object(), Vec::new())])
    }

    pub(crate) fn service(&self) -> ServiceName {
        ServiceName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub(crate) fn slice(&self) -> SliceName {
        SliceName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub(crate) fn secret(&self) -> SecretName {
        SecretName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub(crate) fn ingress(&self) -> IngressName {
        IngressName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn pod(&self) -> PodName {
        PodName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    fn config_map(&self) -> ConfigMapName {
        ConfigMapName { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The kinds of which something becomes a fact.
pub(crate) fn kind_of(kind: &str) -> Option<ObjectKind> {
    Some(match kind {
        "Service" => ObjectKind::Service,
        "EndpointSlice" => ObjectKind::EndpointSlice,
        "Endpoints" => ObjectKind::Endpoints,
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

#[cfg(test)]
mod tests;
