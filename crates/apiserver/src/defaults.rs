//! What the server makes of an object before anyone looks at it: unknown fields gone, defaults filled in, zero values written or left out as
//! Go does.
//!
//! One walk along the schema does what holds for every field; what the schema cannot say stands in one file per kind, as functions on a Go
//! type's fields, found through [`HOOKS`]. Must not know what is allowed (that is [`crate::validate`]) nor allocate anything.
//!
//! Source: the `defaults.go` files of Kubernetes' pkg/apis; encoding/json's omitempty and omitzero.

mod apps;
mod meta;
mod networking;
mod pod;
mod service;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::quantity::Quantity;
use crate::schema::{Field, Gvk, Held, Schema, Ty, Type};

pub(crate) type Object = Map<String, Value>;

/// What is filled into one Go type, wherever it stands. A type is reached before the types inside it, as in Go.
type Hook = fn(&mut Object);

const HOOKS: &[(&str, Hook)] = &[
    ("io.k8s.api.apps.v1.Deployment", apps::deployment),
    ("io.k8s.api.apps.v1.ReplicaSet", apps::replica_set),
    ("io.k8s.api.coordination.v1.LeaseSpec", meta::lease_spec),
    ("io.k8s.api.core.v1.ConfigMapVolumeSource", pod::volume_mode),
    ("io.k8s.api.core.v1.Container", pod::container),
    ("io.k8s.api.core.v1.DownwardAPIVolumeSource", pod::volume_mode),
    ("io.k8s.api.core.v1.Endpoints", service::endpoints),
    ("io.k8s.api.core.v1.EphemeralContainer", pod::container),
    ("io.k8s.api.core.v1.HTTPGetAction", pod::http_get),
    ("io.k8s.api.core.v1.HostPathVolumeSource", pod::host_path),
    ("io.k8s.api.core.v1.Namespace", meta::namespace),
    ("io.k8s.api.core.v1.NamespaceStatus", meta::namespace_status),
    ("io.k8s.api.core.v1.NodeSpec", meta::node_spec),
    ("io.k8s.api.core.v1.NodeStatus", meta::node_status),
    ("io.k8s.api.core.v1.ObjectFieldSelector", pod::field_selector),
    ("io.k8s.api.core.v1.PersistentVolumeClaim", meta::claim),
    ("io.k8s.api.core.v1.Pod", pod::pod),
    ("io.k8s.api.core.v1.PodSpec", pod::pod_spec),
    ("io.k8s.api.core.v1.PodStatus", pod::pod_status),
    ("io.k8s.api.core.v1.Probe", pod::probe),
    ("io.k8s.api.core.v1.ProjectedVolumeSource", pod::volume_mode),
    ("io.k8s.api.core.v1.Secret", meta::secret),
    ("io.k8s.api.core.v1.SecretVolumeSource", pod::volume_mode),
    ("io.k8s.api.core.v1.Service", service::service),
    ("io.k8s.api.core.v1.ServiceAccountTokenProjection", pod::token_projection),
    ("io.k8s.api.core.v1.Volume", pod::volume),
    ("io.k8s.api.discovery.v1.Endpoint", service::slice_endpoint),
    ("io.k8s.api.discovery.v1.EndpointPort", service::endpoint_port),
    ("io.k8s.api.networking.v1.IngressClassParametersReference", networking::class_parameters),
];

/// Makes `object` what the server keeps. Idempotent. Call it after every decode and after every patch.
///
/// A value that is not of its field's type stays as it is: [`crate::validate::structure`] refuses it.
pub fn apply(schema: &Schema, gvk: &Gvk, object: &mut Value) {
    if let (Some(ty), Value::Object(fields)) = (schema.kind(gvk), object) {
        // An empty list of managers is a wish to forget them, which must not be taken for silence.
        if let Some(Value::Array(entries)) = inner(fields, "metadata").and_then(|metadata| metadata.get_mut("managedFields"))
            && entries.is_empty()
        {
            entries.push(Value::Object(Object::new()));
        }
        complete(schema, ty, fields);
        if schema.is_cluster_scoped(gvk)
            && let Some(metadata) = inner(fields, "metadata")
        {
            metadata.remove("namespace");
        }
    }
}

/// An object of which nothing was said, before defaults: what a created object is compared with.
pub(crate) fn blank(schema: &Schema, ty: &Type) -> Value {
    let mut object = Object::new();
    for field in ty.fields() {
        match (&field.ty, field.held) {
            (Ty::Struct(id), Held::AlwaysStruct) => {
                object.insert(field.name.clone(), blank(schema, schema.type_of(*id)));
            }
            (_, Held::Always | Held::AlwaysStruct | Held::AlwaysNullable) => fill(schema, field, &mut object),
            (_, Held::ByPointer | Held::ByValue) => {}
        }
    }
    Value::Object(object)
}

fn complete(schema: &Schema, ty: &Type, object: &mut Object) {
    object.retain(|name, value| ty.field(name).is_some_and(|field| !is_nothing(field, value)));
    if let Ok(index) = HOOKS.binary_search_by(|(name, _)| (*name).cmp(&ty.name)) {
        HOOKS[index].1(object);
    }
    for field in ty.fields() {
        match object.get_mut(&field.name) {
            Some(value) => {
                inside(schema, &field.ty, value);
                // What only held nothing is nothing itself; a struct behind a pointer is something even when empty.
                if is_nothing(field, value) {
                    object.remove(&field.name);
                    fill(schema, field, object);
                }
            }
            None => fill(schema, field, object),
        }
    }
}

/// Whether a value may be left out.
fn is_nothing(field: &Field, value: &Value) -> bool {
    match (value, field.held) {
        (Value::Null, _) => true,
        (Value::Array(items), _) => items.is_empty() && matches!(field.ty, Ty::List(_)),
        (Value::Object(fields), Held::ByValue) => fields.is_empty(),
        (Value::Object(fields), _) => fields.is_empty() && matches!(field.ty, Ty::Map(_)),
        (Value::String(text), Held::ByValue) => text.is_empty(),
        (Value::Bool(flag), Held::ByValue) => !flag,
        (Value::Number(number), Held::ByValue) => number.as_i64() == Some(0),
        _ => false,
    }
}

/// What stands where nothing was said.
fn fill(schema: &Schema, field: &Field, object: &mut Object) {
    let given = field.default.as_ref().filter(|default| !is_zero(default) || field.held == Held::AlwaysNullable);
    let value = match (given, field.held, &field.ty) {
        (Some(default), ..) => default.clone(),
        (None, Held::ByPointer | Held::ByValue, _) => return,
        (None, Held::AlwaysNullable, _) => Value::Null,
        (None, _, Ty::String | Ty::Bytes) => "".into(),
        (None, _, Ty::Bool) => false.into(),
        (None, _, Ty::Int32 | Ty::Int64 | Ty::IntOrString) => 0.into(),
        (None, _, Ty::Quantity) => "0".into(),
        (None, _, Ty::Struct(id)) => {
            let mut inner = Object::new();
            complete(schema, schema.type_of(*id), &mut inner);
            Value::Object(inner)
        }
        (None, ..) => return,
    };
    object.insert(field.name.clone(), value);
}

fn is_zero(default: &Value) -> bool {
    match default {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(fields) => fields.is_empty(),
        other => matches!(other, Value::Null | Value::Bool(false)),
    }
}

fn inside(schema: &Schema, ty: &Ty, value: &mut Value) {
    match (ty, value) {
        (Ty::Struct(id), Value::Object(object)) => complete(schema, schema.type_of(*id), object),
        (Ty::List(item), Value::Array(items)) => {
            for element in items {
                // A null among structs is an empty one to Go.
                if element.is_null() && matches!(**item, Ty::Struct(_)) {
                    *element = Value::Object(Object::new());
                }
                inside(schema, item, element);
            }
        }
        (Ty::Map(item), Value::Object(entries)) => {
            for element in entries.values_mut() {
                match **item {
                    Ty::String | Ty::Bytes if element.is_null() => *element = "".into(),
                    Ty::Quantity => amount(element),
                    _ => inside(schema, item, element),
                }
            }
        }
        (Ty::Quantity, value) => {
            if let Some(quantity) = quantity(value) {
                *value = quantity.to_string().into();
            }
        }
        // Base64 may come in lines.
        (Ty::Bytes, Value::String(text)) if text.contains(['\r', '\n']) => text.retain(|c| !matches!(c, '\r' | '\n')),
        (Ty::Time, Value::String(text)) => {
            if let Some(time) = api::Time::parse(text) {
                *text = time.to_string();
            }
        }
        (Ty::MicroTime, Value::String(text)) => {
            if let Some(time) = api::Time::parse(text) {
                *text = time.to_micro_string();
            }
        }
        _ => {}
    }
}

fn amount(value: &mut Value) {
    if let Some(quantity) = quantity(value) {
        *value = quantity.round_up_to_milli().to_string().into();
    }
}

/// A quantity may be written as a bare number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text.trim()).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

// What the hooks share.

/// Sets a field that is missing, null or empty text.
fn set_default(object: &mut Object, name: &str, value: impl Into<Value>) {
    if object.get(name).is_none_or(|found| found.is_null() || found == "") {
        object.insert(name.to_owned(), value.into());
    }
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The object under `name`, if there is one.
fn inner<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    object.get_mut(name)?.as_object_mut()
}

/// The object under `name`, made if there is none; None if something else stands there.
fn inner_or_new<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    let value = object.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Object::new());
    }
    value.as_object_mut()
}

/// The objects of the list under `name`.
fn each<'a>(object: &'a mut Object, name: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
