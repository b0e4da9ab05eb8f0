//! What a kind is, what every object can do, and the one table of kinds.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{DecodeError, Fault};
use crate::protobuf::{self, Field};
use crate::{json, meta::ObjectMeta};

/// What the API server calls a kind of object and where it serves it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// Whether the server has it in protobuf; kinds that a CRD defines exist in JSON only.
    pub protobuf: bool,
}

/// The two forms in which a server sends objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Protobuf,
}

/// An object of the Kubernetes API, as much of it as somebody reads.
pub trait Object: Sized + Send + Sync + 'static {
    const KIND: Kind;

    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// Decodes the body of a request for one object.
    ///
    /// # Errors
    /// As [`Object::decode_json`]; also when the envelope around protobuf is broken or holds another kind.
    fn decode(encoding: Encoding, body: &[u8]) -> Result<Self, DecodeError> {
        let broken = |fault| DecodeError::new(Self::KIND.kind, "", "", fault);
        match encoding {
            Encoding::Json => Self::decode_json(std::str::from_utf8(body).map_err(|_| broken(Fault::new("not UTF-8")))?),
            Encoding::Protobuf => {
                let envelope = protobuf::open(body).map_err(broken)?;
                if !Self::KIND.is(envelope.api_version, envelope.kind) {
                    let found = format!("expected this kind, found {} {}", envelope.api_version, envelope.kind);
                    return Err(broken(Fault::new(found)));
                }
                Self::decode_protobuf(envelope.raw)
            }
        }
    }

    /// Decodes one JSON text.
    ///
    /// # Errors
    /// Names the object, as far as it can be read, and the first field that does not fit.
    fn decode_json(text: &str) -> Result<Self, DecodeError>;

    /// Decodes one message without its envelope, as lists and watches hold it.
    ///
    /// # Errors
    /// As [`Object::decode_json`]; kinds without protobuf always refuse.
    fn decode_protobuf(message: &[u8]) -> Result<Self, DecodeError>;

    /// Decodes a tree of values, as YAML becomes.
    ///
    /// # Errors
    /// As [`Object::decode_json`].
    fn decode_tree(tree: &Value) -> Result<Self, DecodeError>;

    /// Fills in what the API server would have: for objects that come from files. Never changes what is set.
    fn set_defaults(&mut self) {}
}

// === impl Kind ===

impl Kind {
    /// `v1`, `discovery.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.kind == kind && self.group == group && self.version == version
    }

    /// The path of the collection: of one namespace, or of all when `namespace` is `None` or the kind has none.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let namespace = match namespace {
            Some(namespace) if self.namespaced => format!("/namespaces/{namespace}"),
            _ => String::new(),
        };
        format!("{root}/{}{namespace}/{}", self.api_version(), self.plural)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

// === impl Encoding ===

impl Encoding {
    /// The encoding that a Content-Type header names, parameters aside.
    pub fn of_content_type(value: &str) -> Option<Encoding> {
        match value.split(';').next()?.trim() {
            "application/json" => Some(Encoding::Json),
            "application/vnd.kubernetes.protobuf" => Some(Encoding::Protobuf),
            _ => None,
        }
    }
}

pub(crate) fn from_json<K: Object + DeserializeOwned>(text: &str) -> Result<K, DecodeError> {
    named(json::decode(K::KIND.kind, text)?)
}

pub(crate) fn from_tree<K: Object + DeserializeOwned>(tree: &Value) -> Result<K, DecodeError> {
    named(json::from_tree(K::KIND.kind, tree)?)
}

pub(crate) fn from_protobuf<K: Object + Default + Field>(message: &[u8]) -> Result<K, DecodeError> {
    let mut object = K::default();
    // `metadata` is field 1 of every kind and so was read before whatever is broken.
    match object.merge(protobuf::Wire::Bytes(message)) {
        Ok(()) => named(object),
        Err(fault) => Err(DecodeError::new(K::KIND.kind, &object.meta().namespace, &object.meta().name, fault)),
    }
}

/// An object without a name is nobody's: nothing could be said about it later.
fn named<K: Object>(object: K) -> Result<K, DecodeError> {
    if object.meta().name.is_empty() {
        let fault = Fault { path: "metadata.name".to_owned(), reason: "required".to_owned() };
        return Err(DecodeError::new(K::KIND.kind, &object.meta().namespace, "", fault));
    }
    Ok(object)
}

/// How a kind decodes protobuf: by its table, or not at all.
macro_rules! protobuf_decoder {
    (true, $message:ident) => {
        from_protobuf($message)
    };
    (false, $message:ident) => {{
        let _ = $message;
        Err(DecodeError::new(Self::KIND.kind, "", "", Fault::new("this kind has no protobuf form")))
    }};
}

/// The one table of kinds: [`Object`] for each of them, and [`AnyObject`].
macro_rules! kinds {
    ($($path:ident::$name:ident, $group:literal, $version:literal, $kind:literal, $plural:literal, namespaced: $namespaced:literal, protobuf: $protobuf:tt;)*) => {
        /// An object of any kind that we read.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum AnyObject {
            $($name(Box<crate::$path::$name>),)*
        }

        impl AnyObject {
            /// Every kind that we read.
            pub const KINDS: &'static [Kind] = &[$(<crate::$path::$name as Object>::KIND,)*];

            pub fn kind(&self) -> &'static Kind {
                match self {
                    $(AnyObject::$name(_) => const { &<crate::$path::$name as Object>::KIND },)*
                }
            }

            pub fn meta(&self) -> &ObjectMeta {
                match self {
                    $(AnyObject::$name(object) => object.meta(),)*
                }
            }

            /// Decodes JSON of the kind named; `None` for a kind that we do not read.
            pub(crate) fn from_json(api_version: &str, kind: &str, text: &str) -> Option<Result<AnyObject, DecodeError>> {
                $(if <crate::$path::$name as Object>::KIND.is(api_version, kind) {
                    return Some(<crate::$path::$name as Object>::decode_json(text).map(AnyObject::from));
                })*
                None
            }

            /// As [`AnyObject::from_json`], from a tree of values.
            pub(crate) fn from_tree(api_version: &str, kind: &str, tree: &Value) -> Option<Result<AnyObject, DecodeError>> {
                $(if <crate::$path::$name as Object>::KIND.is(api_version, kind) {
                    return Some(<crate::$path::$name as Object>::decode_tree(tree).map(AnyObject::from));
                })*
                None
            }

            /// Fills in what the API server would have, the namespace `default` included.
            pub(crate) fn set_defaults(&mut self) {
                match self {
                    $(AnyObject::$name(object) => {
                        if <crate::$path::$name as Object>::KIND.namespaced && object.meta().namespace.is_empty() {
                            object.meta_mut().namespace = "default".into();
                        }
                        object.set_defaults();
                    })*
                }
            }
        }

        $(
        impl From<crate::$path::$name> for AnyObject {
            fn from(object: crate::$path::$name) -> AnyObject {
                AnyObject::$name(Box::new(object))
            }
        }

        impl Object for crate::$path::$name {
            const KIND: Kind = Kind {
                group: $group,
                version: $version,
                kind: $kind,
                plural: $plural,
                namespaced: $namespaced,
                protobuf: $protobuf,
            };

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            fn decode_json(text: &str) -> Result<Self, DecodeError> {
                from_json(text)
            }
            fn decode_protobuf(message: &[u8]) -> Result<Self, DecodeError> {
                protobuf_decoder!($protobuf, message)
            }
            fn decode_tree(tree: &Value) -> Result<Self, DecodeError> {
                from_tree(tree)
            }
            fn set_defaults(&mut self) {
                crate::defaults::Defaults::fill(self);
            }
        }
        )*
    };
}

kinds! {
    core::Service, "", "v1", "Service", "services", namespaced: true, protobuf: true;
    core::Endpoints, "", "v1", "Endpoints", "endpoints", namespaced: true, protobuf: true;
    core::Pod, "", "v1", "Pod", "pods", namespaced: true, protobuf: true;
    core::Secret, "", "v1", "Secret", "secrets", namespaced: true, protobuf: true;
    core::ConfigMap, "", "v1", "ConfigMap", "configmaps", namespaced: true, protobuf: true;
    core::Node, "", "v1", "Node", "nodes", namespaced: false, protobuf: true;
    core::Namespace, "", "v1", "Namespace", "namespaces", namespaced: false, protobuf: true;
    discovery::EndpointSlice, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", namespaced: true, protobuf: true;
    networking::Ingress, "networking.k8s.io", "v1", "Ingress", "ingresses", namespaced: true, protobuf: true;
    networking::IngressClass, "networking.k8s.io", "v1", "IngressClass", "ingressclasses", namespaced: false, protobuf: true;
    networking::ServiceCidr, "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", namespaced: false, protobuf: true;
    multicluster::ServiceImport, "multicluster.x-k8s.io", "v1alpha1", "ServiceImport", "serviceimports", namespaced: true, protobuf: false;
    coordination::Lease, "coordination.k8s.io", "v1", "Lease", "leases", namespaced: true, protobuf: true;
}
