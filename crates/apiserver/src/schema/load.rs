//! Joins the embedded files into the graph of types. A field that the files disagree about is a defect of the data: a test loads them.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::{Field, Gvk, Held, ListType, Merge, Schema, Ty, Type, TypeId};

pub(crate) const OPENAPI: &str = include_str!("../../schema/openapi.json");
pub(crate) const DISCOVERY: &str = include_str!("../../schema/discovery.json");
const PROTOBUF: &str = include_str!("../../schema/protobuf.json");
const HELD: &str = include_str!("../../schema/held.json");
const TABLES: &str = include_str!("../../schema/tables.json");

const REF: &str = "#/components/schemas/";

/// `openapi.json`: components by name.
#[derive(Deserialize)]
struct OpenApi {
    schemas: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    properties: BTreeMap<String, Property>,
    #[serde(default, rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<KindName>,
    #[serde(rename = "x-kubernetes-map-type")]
    map_type: Option<String>,
}

#[derive(Deserialize)]
struct KindName {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
struct Property {
    #[serde(rename = "type")]
    ty: Option<String>,
    format: Option<String>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(default, rename = "allOf")]
    all_of: Vec<Property>,
    items: Option<Box<Property>>,
    #[serde(rename = "additionalProperties")]
    values: Option<Box<Property>>,
    default: Option<Value>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(default, rename = "x-kubernetes-list-map-keys")]
    list_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-map-type")]
    map_type: Option<String>,
    #[serde(rename = "x-kubernetes-patch-strategy")]
    patch_strategy: Option<String>,
    #[serde(rename = "x-kubernetes-patch-merge-key")]
    patch_key: Option<String>,
}

/// What of `discovery.json` is of interest here.
#[derive(Deserialize)]
struct Resource {
    group: String,
    version: String,
    #[serde(rename = "responseKind")]
    kind: ResponseKind,
    scope: String,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

/// `protobuf.json`: messages by name, each field's number and type; `+Name` is an embedded message.
type Messages = HashMap<String, HashMap<String, (u32, String)>>;

pub(super) fn load() -> Schema {
    let openapi: OpenApi = parse(OPENAPI);
    let messages: Messages = parse(PROTOBUF);
    let held: HashMap<String, HashMap<String, char>> = parse(HELD);
    let ids: HashMap<&str, TypeId> = openapi.schemas.keys().enumerate().map(|(index, name)| (name.as_str(), TypeId(index))).collect();
    let mut kinds = HashMap::new();
    let mut types = Vec::with_capacity(ids.len());
    for (name, component) in &openapi.schemas {
        for kind in &component.kinds {
            kinds.insert(Gvk::new(&kind.group, &kind.version, &kind.kind), TypeId(types.len()));
        }
        let mut numbers = HashMap::new();
        number(&messages, name.strip_prefix("io.k8s.").unwrap_or(name), None, &mut numbers);
        let held = held.get(name);
        let fields = component.properties.iter().map(|(field, property)| {
            let held = held.and_then(|held| held.get(field)).copied();
            let (number, outer) = numbers.get(field.as_str()).copied().unwrap_or_default();
            self::field(field, property, &ids, held, number, outer)
        });
        let fields = fields.collect();
        types.push(Type { name: name.clone(), fields, atomic: component.map_type.as_deref() == Some("atomic") });
    }
    let resources: Vec<Resource> = parse(DISCOVERY);
    let cluster = resources.into_iter().filter(|resource| resource.scope == "Cluster");
    let cluster_scoped = cluster.map(|resource| Gvk::new(&resource.group, &resource.version, &resource.kind.kind)).collect();
    Schema { types, kinds, tables: parse(TABLES), cluster_scoped }
}

fn parse<T: for<'a> Deserialize<'a>>(text: &'static str) -> T {
    serde_json::from_str(text).expect("BUG: the embedded schema is no JSON of its shape")
}

/// Where each field of a message stands, fields of embedded messages included.
fn number<'a>(messages: &'a Messages, message: &str, outer: Option<u32>, found: &mut HashMap<&'a str, (u32, Option<u32>)>) {
    for (field, (tag, ty)) in messages.get(message).into_iter().flatten() {
        if field.starts_with('+') {
            number(messages, ty, Some(*tag), found);
        } else {
            found.insert(field, (*tag, outer));
        }
    }
}

fn field(name: &str, property: &Property, ids: &HashMap<&str, TypeId>, held: Option<char>, number: u32, outer: Option<u32>) -> Field {
    let held = match held {
        Some('v') => Held::ByValue,
        Some('r') => Held::Always,
        Some('s') => Held::AlwaysStruct,
        Some('n') => Held::AlwaysNullable,
        _ => Held::ByPointer,
    };
    let strategy = property.patch_strategy.as_deref().unwrap_or_default();
    let merge = Merge {
        merge: strategy.split(',').any(|part| part == "merge"),
        retain_keys: strategy.split(',').any(|part| part == "retainKeys"),
        key: property.patch_key.clone(),
    };
    // Without a list type of its own a list takes it from the patch strategy (kube-openapi's schemaconv).
    let list = match (property.list_type.as_deref(), &merge) {
        (Some("map"), _) => ListType::Map(property.list_keys.clone()),
        (Some("set"), _) => ListType::Set,
        (None, Merge { merge: true, key: Some(key), .. }) => ListType::Map(vec![key.clone()]),
        (None, Merge { merge: true, key: None, .. }) => ListType::Set,
        _ => ListType::Atomic,
    };
    Field {
        name: name.to_owned(),
        number,
        outer,
        ty: ty(property, ids),
        held,
        default: property.default.clone(),
        list,
        atomic_map: property.map_type.as_deref() == Some("atomic"),
        merge,
    }
}

fn ty(property: &Property, ids: &HashMap<&str, TypeId>) -> Ty {
    let reference = property.reference.as_deref().or_else(|| property.all_of.first()?.reference.as_deref());
    if let Some(name) = reference.and_then(|reference| reference.strip_prefix(REF)) {
        return match name.rsplit('.').next().unwrap_or(name) {
            "Time" => Ty::Time,
            "MicroTime" => Ty::MicroTime,
            "Quantity" => Ty::Quantity,
            "IntOrString" => Ty::IntOrString,
            "FieldsV1" | "RawExtension" => Ty::Any,
            _ => ids.get(name).map_or(Ty::Any, |id| Ty::Struct(*id)),
        };
    }
    let inner = |inner: &Option<Box<Property>>| Box::new(inner.as_deref().map_or(Ty::Any, |inner| ty(inner, ids)));
    match (property.ty.as_deref(), property.format.as_deref()) {
        (Some("string"), Some("byte")) => Ty::Bytes,
        (Some("string"), _) => Ty::String,
        (Some("boolean"), _) => Ty::Bool,
        (Some("integer"), Some("int32")) => Ty::Int32,
        (Some("integer"), _) => Ty::Int64,
        (Some("array"), _) => Ty::List(inner(&property.items)),
        (Some("object"), _) if property.values.is_some() => Ty::Map(inner(&property.values)),
        _ => Ty::Any,
    }
}
