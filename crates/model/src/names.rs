//! The words that facts and views share: names, protocols, families, revisions.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Text that many facts repeat (a namespace, a node, a zone): shared, so that 250,000 endpoints stay small.
pub type Text = Arc<str>;

/// The number of a state of the facts; every view carries the one it was resolved from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    pub namespace: Text,
    pub name: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceName {
    pub namespace: Text,
    pub name: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    pub namespace: Text,
    pub name: Text,
}

/// A port on the addresses of a node; never to be mixed with a Service's own port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePort(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

/// Which object an issue or a decision is about, as `kubectl` would name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: ObjectKind,
    /// Empty for cluster-scoped kinds.
    pub namespace: Text,
    pub name: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Service,
    EndpointSlice,
    Node,
    Namespace,
    Pod,
    Ingress,
    IngressClass,
    Secret,
    ConfigMap,
    ServiceCidr,
    ServiceImport,
    /// No fact of its own: read from files where no slice stands for it.
    Endpoints,
    /// A file of objects, its path as the name; nothing of the API.
    File,
}

// === impl ServiceName and its like ===

macro_rules! namespaced {
    ($name:ident, $kind:expr) => {
        impl $name {
            pub fn new(namespace: impl Into<Text>, name: impl Into<Text>) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }

            pub fn object(&self) -> ObjectRef {
                ObjectRef { kind: $kind, namespace: self.namespace.clone(), name: self.name.clone() }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
    };
}

namespaced!(ServiceName, ObjectKind::Service);
namespaced!(SliceName, ObjectKind::EndpointSlice);
namespaced!(SecretName, ObjectKind::Secret);

// === impl Protocol ===

impl Protocol {
    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }

    /// The name as netfilter and DNS write it.
    pub fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

// === impl Family ===

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

// === impl ObjectKind ===

impl ObjectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Service => "Service",
            ObjectKind::EndpointSlice => "EndpointSlice",
            ObjectKind::Node => "Node",
            ObjectKind::Namespace => "Namespace",
            ObjectKind::Pod => "Pod",
            ObjectKind::Ingress => "Ingress",
            ObjectKind::IngressClass => "IngressClass",
            ObjectKind::Secret => "Secret",
            ObjectKind::ConfigMap => "ConfigMap",
            ObjectKind::ServiceCidr => "ServiceCIDR",
            ObjectKind::ServiceImport => "ServiceImport",
            ObjectKind::Endpoints => "Endpoints",
            ObjectKind::File => "File",
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        f.write_str(" ")?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}
