//! JSON values to protobuf.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::wire::{put_bytes, put_int};
use super::{Error, MAGIC};
use crate::schema::{Gvk, Schema, Ty, Type};

/// Encodes one object with its envelope. Fields that the schema lacks are left out, nulls too.
///
/// # Errors
/// A kind that the schema lacks, or a value that is not of its field's type: neither happens to what the server stores.
pub fn encode(schema: &Schema, object: &Value) -> Result<Vec<u8>, Error> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let ty = schema.kind(&Gvk::parse(api_version, kind)).ok_or_else(unknown)?;
    let raw = message(schema, ty, object.as_object().ok_or_else(unknown)?)?;
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, &raw);
    Ok(out)
}

fn message(schema: &Schema, ty: &Type, object: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    // By field number, so that equal objects give equal bytes.
    let mut parts = BTreeMap::<u32, Vec<u8>>::new();
    let mut embedded = BTreeMap::<u32, BTreeMap<u32, Vec<u8>>>::new();
    for (name, json) in object {
        let Some(field) = ty.field(name).filter(|field| field.number > 0) else { continue };
        let parts = match field.outer {
            None => &mut parts,
            Some(outer) => embedded.entry(outer).or_default(),
        };
        value(schema, name, &field.ty, field.number, json, parts.entry(field.number).or_default())?;
    }
    for (outer, inner) in embedded {
        put_bytes(parts.entry(outer).or_default(), outer, &inner.into_values().flatten().collect::<Vec<u8>>());
    }
    Ok(parts.into_values().flatten().collect())
}

fn value(schema: &Schema, name: &str, ty: &Ty, number: u32, json: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let mismatch = |expected| move || Error::Mismatch { field: name.to_owned(), expected };
    let text = || json.as_str().ok_or_else(mismatch("string"));
    if json.is_null() {
        return Ok(());
    }
    match ty {
        Ty::String => put_bytes(out, number, text()?.as_bytes()),
        Ty::Bytes => put_bytes(out, number, &BASE64.decode(text()?).map_err(|_| mismatch("base64")())?),
        Ty::Bool => put_int(out, number, json.as_bool().ok_or_else(mismatch("boolean"))?.into()),
        Ty::Int32 | Ty::Int64 => put_int(out, number, json.as_i64().ok_or_else(mismatch("number"))?),
        Ty::Time | Ty::MicroTime => {
            let time = api::Time::parse(text()?).ok_or_else(mismatch("time"))?;
            let mut inner = Vec::new();
            put_int(&mut inner, 1, time.seconds);
            put_int(&mut inner, 2, time.nanos.into());
            put_bytes(out, number, &inner);
        }
        Ty::Quantity => {
            let mut inner = Vec::new();
            match json {
                Value::Number(plain) => put_bytes(&mut inner, 1, plain.to_string().as_bytes()),
                _ => put_bytes(&mut inner, 1, text()?.as_bytes()),
            }
            put_bytes(out, number, &inner);
        }
        Ty::IntOrString => {
            let mut inner = Vec::new();
            let (kind, int, text) = match json {
                Value::String(text) => (1, 0, text.as_str()),
                _ => (0, json.as_i64().ok_or_else(mismatch("number or string"))?, ""),
            };
            put_int(&mut inner, 1, kind);
            put_int(&mut inner, 2, int);
            put_bytes(&mut inner, 3, text.as_bytes());
            put_bytes(out, number, &inner);
        }
        Ty::Any => {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, json.to_string().as_bytes());
            put_bytes(out, number, &inner);
        }
        Ty::Struct(id) => {
            let object = json.as_object().ok_or_else(mismatch("object"))?;
            put_bytes(out, number, &message(schema, schema.type_of(*id), object)?);
        }
        Ty::List(item) => {
            for element in json.as_array().ok_or_else(mismatch("list"))? {
                value(schema, name, item, number, element, out)?;
            }
        }
        Ty::Map(item) => {
            for (key, element) in json.as_object().ok_or_else(mismatch("object"))? {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                if let Ty::List(_) = **item {
                    let mut list = Vec::new();
                    value(schema, name, item, 1, element, &mut list)?;
                    put_bytes(&mut entry, 2, &list);
                } else {
                    value(schema, name, item, 2, element, &mut entry)?;
                }
                put_bytes(out, number, &entry);
            }
        }
    }
    Ok(())
}
