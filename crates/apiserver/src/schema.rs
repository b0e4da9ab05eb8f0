//! What the server knows about kinds: every field's type, default, merge key, list type, protobuf number, and how Go holds it.
//!
//! Owns the embedded data (`schema/`, cut to size by `schema/prune.py`) and joins its four files into one graph of [`Type`]s. All other rooms of
//! the machinery walk that graph beside a JSON value. Must not know what any field means.

mod load;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub(crate) use load::{DISCOVERY, OPENAPI};

/// The name of a kind: group (empty for core), version, kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// All types of all served kinds. Cheap to share, never changes.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    kinds: HashMap<Gvk, TypeId>,
    tables: HashMap<String, Value>,
    cluster_scoped: HashSet<Gvk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeId(usize);

/// An object with named fields.
#[derive(Debug)]
pub(crate) struct Type {
    /// `io.k8s.api.core.v1.ServicePort`.
    pub(crate) name: String,
    /// Sorted by name.
    fields: Vec<Field>,
    /// Owned and applied as one value (`x-kubernetes-map-type: atomic`), as a LabelSelector is.
    pub(crate) atomic: bool,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Its protobuf number; 0 for `kind` and `apiVersion`, which travel in the envelope.
    pub(crate) number: u32,
    /// The number of the embedded message it stands in, where Go embeds a struct.
    pub(crate) outer: Option<u32>,
    pub(crate) ty: Ty,
    pub(crate) held: Held,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListType,
    pub(crate) atomic_map: bool,
    pub(crate) merge: Merge,
}

/// The type of a value.
#[derive(Debug, Clone)]
pub(crate) enum Ty {
    String,
    /// Base64 in JSON.
    Bytes,
    Bool,
    Int32,
    Int64,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON: FieldsV1 and RawExtension.
    Any,
    Struct(TypeId),
    List(Box<Ty>),
    Map(Box<Ty>),
}

/// How Go holds a field, which decides what its JSON looks like when there is nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing is left out; an explicit zero is kept (`replicas: 0`).
    ByPointer,
    /// Zero is left out (`nodePort`).
    ByValue,
    /// Zero is written (`port: 0`).
    Always,
    /// A struct that is always written, be it `{}` (`status`, `resources`).
    AlwaysStruct,
    /// Nothing is written as `null` (`endpoints`, `eventTime`).
    AlwaysNullable,
}

/// How the items of a list are owned and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// How a strategic merge patch treats the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) merge: bool,
    pub(crate) retain_keys: bool,
    pub(crate) key: Option<String>,
}

// === impl Gvk ===

impl Gvk {
    pub fn new(group: &str, version: &str, kind: &str) -> Gvk {
        Gvk { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// From an `apiVersion` (`apps/v1`, `v1`) and a kind.
    pub fn parse(api_version: &str, kind: &str) -> Gvk {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Gvk::new(group, version, kind)
    }

    /// What an object says it is.
    pub fn of(object: &Value) -> Option<Gvk> {
        Some(Gvk::parse(object.get("apiVersion")?.as_str()?, object.get("kind")?.as_str()?))
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

// === impl Schema ===

impl Schema {
    /// Joins the embedded files. Takes a few milliseconds; done once per process.
    pub fn load() -> Schema {
        load::load()
    }

    /// Whether objects of this kind stand in no namespace.
    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        self.cluster_scoped.contains(gvk)
    }

    /// Whether objects of this kind can be decoded.
    pub(crate) fn knows(&self, gvk: &Gvk) -> bool {
        self.kinds.contains_key(gvk)
    }

    pub(crate) fn kind(&self, gvk: &Gvk) -> Option<&Type> {
        self.kinds.get(gvk).map(|id| self.type_of(*id))
    }

    pub(crate) fn type_of(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }

    /// The columns of a collection's Table (`api/v1/services`).
    pub(crate) fn columns(&self, collection: &str) -> Option<&Value> {
        self.tables.get(collection)
    }

    /// The type that a field of struct type (or a list or map of them) leads to.
    pub(crate) fn struct_in<'a>(&'a self, ty: &Ty) -> Option<&'a Type> {
        match ty {
            Ty::Struct(id) => Some(self.type_of(*id)),
            Ty::List(item) | Ty::Map(item) => self.struct_in(item),
            _ => None,
        }
    }
}

// === impl Type ===

impl Type {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok().map(|index| &self.fields[index])
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The Go name of the type, as its error texts have it: `ServicePort`.
    pub(crate) fn go_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}
