//! Protobuf to JSON values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::wire::{Reader, Wire};
use super::{Error, MAGIC, MAX_DEPTH};
use crate::schema::{Field, Gvk, Schema, Ty, Type};

/// Decodes one enveloped object into the JSON it stands for, with `apiVersion` and `kind` from the envelope.
///
/// # Errors
/// Bytes that are no such message, or a kind that the schema lacks.
pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<Value, Error> {
    let mut envelope = Reader::new(bytes.strip_prefix(MAGIC).ok_or(Error::NoEnvelope)?);
    let (mut api_version, mut kind, mut raw, mut encoding) = (String::new(), String::new(), &[][..], String::new());
    while let Some((number, wire)) = envelope.next()? {
        match number {
            1 => {
                let mut meta = Reader::new(bytes_of(wire, "typeMeta")?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => api_version = string(wire, "apiVersion")?,
                        2 => kind = string(wire, "kind")?,
                        _ => {}
                    }
                }
            }
            2 => raw = bytes_of(wire, "raw")?,
            3 => encoding = string(wire, "contentEncoding")?,
            _ => {}
        }
    }
    if !encoding.is_empty() {
        return Err(Error::Encoding(encoding));
    }
    let Some(ty) = schema.kind(&Gvk::parse(&api_version, &kind)) else {
        return Err(Error::UnknownKind { api_version, kind });
    };
    let mut object = Map::new();
    message(schema, ty, None, raw, &mut object, 0)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

/// Reads the fields of `ty`; of those only the ones embedded at `outer`, if that is given.
fn message(schema: &Schema, ty: &Type, outer: Option<u32>, bytes: &[u8], into: &mut Map<String, Value>, depth: u32) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let is_ours = |field: &&Field| field.number == number && field.outer == outer;
        if let Some(field) = ty.fields().iter().find(is_ours) {
            let slot = into.entry(field.name.clone()).or_insert(Value::Null);
            value(schema, &field.name, &field.ty, wire, slot, depth + 1)?;
        } else if outer.is_none() && ty.fields().iter().any(|field| field.outer == Some(number)) {
            message(schema, ty, Some(number), bytes_of(wire, &ty.name)?, into, depth + 1)?;
        }
    }
    Ok(())
}

/// Merges one occurrence of a field into what earlier ones left in `slot`.
fn value(schema: &Schema, name: &str, ty: &Ty, wire: Wire<'_>, slot: &mut Value, depth: u32) -> Result<(), Error> {
    match ty {
        Ty::String => *slot = string(wire, name)?.into(),
        Ty::Bytes => *slot = BASE64.encode(bytes_of(wire, name)?).into(),
        Ty::Bool => *slot = (varint(wire, name)? != 0).into(),
        Ty::Int32 => *slot = (varint(wire, name)? as i32).into(),
        Ty::Int64 => *slot = (varint(wire, name)? as i64).into(),
        Ty::Time | Ty::MicroTime => {
            let message = bytes_of(wire, name)?;
            let [seconds, nanos] = ints(message)?;
            let time = api::Time { seconds, nanos: u32::try_from(nanos).unwrap_or(0).min(999_999_999) };
            // An empty message is Go's zero time, which JSON writes as null.
            *slot = match ty {
                _ if message.is_empty() => Value::Null,
                Ty::MicroTime => time.to_micro_string().into(),
                _ => time.to_string().into(),
            };
        }
        Ty::Quantity => {
            let mut text = String::new();
            let mut reader = Reader::new(bytes_of(wire, name)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    text = string(wire, name)?;
                }
            }
            *slot = if text.is_empty() { "0".into() } else { text.into() };
        }
        Ty::IntOrString => {
            let (mut kind, mut int, mut text) = (0, 0, String::new());
            let mut reader = Reader::new(bytes_of(wire, name)?);
            while let Some((number, wire)) = reader.next()? {
                match number {
                    1 => kind = varint(wire, name)?,
                    2 => int = varint(wire, name)? as i32,
                    3 => text = string(wire, name)?,
                    _ => {}
                }
            }
            *slot = if kind == 1 { text.into() } else { int.into() };
        }
        Ty::Any => {
            let mut reader = Reader::new(bytes_of(wire, name)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    let json = bytes_of(wire, name)?;
                    *slot = serde_json::from_slice(json).map_err(|_| mismatch(name, "JSON"))?;
                }
            }
        }
        Ty::Struct(id) => {
            let object = object_in(slot);
            message(schema, schema.type_of(*id), None, bytes_of(wire, name)?, object, depth)?;
        }
        Ty::List(item) => {
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            let Value::Array(items) = slot else { return Ok(()) };
            match (&**item, wire) {
                // Packed: proto3 writers send numbers so.
                (Ty::Int32 | Ty::Int64 | Ty::Bool, Wire::Bytes(packed)) => {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        let mut element = Value::Null;
                        value(schema, name, item, Wire::Varint(packed.varint()?), &mut element, depth)?;
                        items.push(element);
                    }
                }
                _ => {
                    let mut element = Value::Null;
                    value(schema, name, item, wire, &mut element, depth)?;
                    items.push(element);
                }
            }
        }
        Ty::Map(item) => {
            let mut key = String::new();
            let mut element = Value::Null;
            let mut reader = Reader::new(bytes_of(wire, name)?);
            while let Some((number, wire)) = reader.next()? {
                match (number, &**item) {
                    (1, _) => key = string(wire, name)?,
                    // A map of lists has a message around each list.
                    (2, Ty::List(_)) => {
                        let mut reader = Reader::new(bytes_of(wire, name)?);
                        while let Some((number, wire)) = reader.next()? {
                            if number == 1 {
                                value(schema, name, item, wire, &mut element, depth)?;
                            }
                        }
                    }
                    (2, _) => value(schema, name, item, wire, &mut element, depth)?,
                    _ => {}
                }
            }
            if element.is_null() {
                element = match **item {
                    Ty::String | Ty::Bytes => "".into(),
                    Ty::Quantity => "0".into(),
                    _ => Value::Null,
                };
            }
            object_in(slot).insert(key, element);
        }
    }
    Ok(())
}

fn object_in(slot: &mut Value) -> &mut Map<String, Value> {
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("BUG: just made an object")
}

/// Fields 1 and 2 of a message of two numbers.
fn ints(message: &[u8]) -> Result<[i64; 2], Error> {
    let mut found = [0; 2];
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        if let (1 | 2, Wire::Varint(value)) = (number, wire) {
            found[number as usize - 1] = value as i64;
        }
    }
    Ok(found)
}

fn bytes_of<'a>(wire: Wire<'a>, field: &str) -> Result<&'a [u8], Error> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) => Err(mismatch(field, "bytes")),
    }
}

fn string(wire: Wire<'_>, field: &str) -> Result<String, Error> {
    let text = std::str::from_utf8(bytes_of(wire, field)?).map_err(|_| mismatch(field, "UTF-8"))?;
    Ok(text.to_owned())
}

fn varint(wire: Wire<'_>, field: &str) -> Result<u64, Error> {
    match wire {
        Wire::Varint(value) => Ok(value),
        Wire::Bytes(_) => Err(mismatch(field, "number")),
    }
}

fn mismatch(field: &str, expected: &'static str) -> Error {
    Error::Mismatch { field: field.to_owned(), expected }
}
