//! JSON against the schema: syntax and repeated fields of a body, the JSON type of each field, fields that nobody knows.
//!
//! Source: sigs.k8s.io/json and encoding/json, whose texts are kept.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::quantity::Quantity;
use crate::schema::{Gvk, Schema, Ty, Type};
use crate::value::go_kind;

/// More are not told.
const MAX_FAULTS: usize = 100;

/// Parses a JSON body and tells what of it came twice: `duplicate field "spec.type"`. The last one counts.
///
/// # Errors
/// The text of a syntax error.
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut duplicates = Vec::new();
    let seed = Strict { path: String::new(), duplicates: &mut duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    Ok((value.map_err(|error| syntax_error(bytes, &error))?, duplicates))
}

/// A syntax error in Go's words, as far as it has words for it.
pub(crate) fn syntax_error(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let text = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("expected ident", "in literal"),
        ("trailing characters", "after top-level value"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("key must be a string", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("trailing comma", "looking for beginning of value"),
        ("control character", "in string literal"),
    ];
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.get(error.column().saturating_sub(1)..).and_then(|rest| std::str::from_utf8(rest).ok()?.chars().next());
    match (place.into_iter().find(|(ours, _)| text.starts_with(ours)), at) {
        (Some((_, place)), Some(found)) => format!("invalid character {found:?} {place}"),
        _ => text,
    }
}

struct Strict<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) =
            items.next_element_seed(Strict { path: format!("{}[{}]", self.path, found.len()), duplicates: &mut *self.duplicates })?
        {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = join(&self.path, &key);
            if found.contains_key(&key) && self.duplicates.len() < MAX_FAULTS {
                self.duplicates.push(format!("duplicate field {path:?}"));
            }
            let value = entries.next_value_seed(Strict { path, duplicates: &mut *self.duplicates })?;
            found.insert(key, value);
        }
        Ok(Value::Object(found))
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// `unknown field "spec.selectr"` for each field that the schema lacks.
pub fn unknown_fields(schema: &Schema, gvk: &Gvk, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let (Some(ty), Value::Object(object)) = (schema.kind(gvk), object) {
        unknown_in(schema, ty, object, "", &mut found);
    }
    found
}

fn unknown_in(schema: &Schema, ty: &Type, object: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for (name, value) in object {
        let place = join(path, name);
        match ty.field(name) {
            Some(field) => unknown_below(schema, &field.ty, value, &place, found),
            None if found.len() < MAX_FAULTS => found.push(format!("unknown field {place:?}")),
            None => return,
        }
    }
}

fn unknown_below(schema: &Schema, ty: &Ty, value: &Value, path: &str, found: &mut Vec<String>) {
    match (ty, value) {
        (Ty::Struct(id), Value::Object(object)) => unknown_in(schema, schema.type_of(*id), object, path, found),
        (Ty::List(item), Value::Array(items)) if schema.struct_in(item).is_some() => {
            for (index, value) in items.iter().enumerate() {
                unknown_below(schema, item, value, &format!("{path}[{index}]"), found);
            }
        }
        (Ty::Map(item), Value::Object(entries)) if schema.struct_in(item).is_some() => {
            for (key, value) in entries {
                unknown_below(schema, item, value, &join(path, key), found);
            }
        }
        _ => {}
    }
}

/// Whether each field has the JSON type of its schema.
///
/// # Errors
/// What follows `Pod in version "v1" cannot be handled as a Pod: ` in a 400 answer; the first fault only, as the server has it.
pub fn structure(schema: &Schema, gvk: &Gvk, object: &Value) -> Result<(), String> {
    let Some(ty) = schema.kind(gvk) else { return Ok(()) };
    match object {
        Value::Object(object) => fields(schema, ty, object, ""),
        other => Err(format!("json: cannot unmarshal {} into Go value of type {}", go_kind(other), go_struct(ty))),
    }
}

fn fields(schema: &Schema, ty: &Type, object: &Map<String, Value>, path: &str) -> Result<(), String> {
    for (name, value) in object {
        if let Some(field) = ty.field(name) {
            let place = join(path, name);
            fits(schema, &field.ty, value, &|| format!("Go struct field {}.{place}", ty.go_name()), &place)?;
        }
    }
    Ok(())
}

/// `place` names the field as the text has it, `path` is how deeper fields are named.
fn fits(schema: &Schema, ty: &Ty, value: &Value, place: &dyn Fn() -> String, path: &str) -> Result<(), String> {
    let mismatch = |kind: &str| Err(format!("json: cannot unmarshal {kind} into {} of type {}", place(), go_type(schema, ty)));
    match (ty, value) {
        (_, Value::Null) | (Ty::Any, _) | (Ty::String, Value::String(_)) | (Ty::Bool, Value::Bool(_)) => Ok(()),
        (Ty::Bytes, Value::String(text)) => base64(text),
        (Ty::Int32, Value::Number(number)) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => Ok(()),
        (Ty::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
        (Ty::Time, Value::String(text)) => time(text, "2006-01-02T15:04:05Z07:00", text, "2006"),
        (Ty::MicroTime, Value::String(text)) => micro_time(text),
        (Ty::Quantity, Value::String(text)) => Quantity::parse(text.trim()).map(drop).map_err(str::to_owned),
        (Ty::Quantity, Value::Number(number)) => Quantity::parse(&number.to_string()).map(drop).map_err(str::to_owned),
        (Ty::Quantity, other) => Quantity::parse(&other.to_string()).map(drop).map_err(str::to_owned),
        (Ty::IntOrString, Value::String(_)) => Ok(()),
        (Ty::IntOrString, Value::Number(number)) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => Ok(()),
        (Ty::Int32 | Ty::Int64 | Ty::IntOrString, Value::Number(number)) => mismatch(&format!("number {number}")),
        (Ty::Struct(id), Value::Object(object)) => fields(schema, schema.type_of(*id), object, path),
        (Ty::List(item), Value::Array(items)) => items.iter().try_for_each(|value| fits(schema, item, value, place, path)),
        (Ty::Map(item), Value::Object(entries)) => entries.values().try_for_each(|value| fits(schema, item, value, place, path)),
        (_, other) => mismatch(go_kind(other)),
    }
}

/// `rest` is what of `text` fits no more when it is no time at all, `part` the layout's part there.
fn time(text: &str, layout: &str, rest: &str, part: &str) -> Result<(), String> {
    match api::Time::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")),
    }
}

/// A time with exactly six digits of a second.
fn micro_time(text: &str) -> Result<(), String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    time(text, LAYOUT, text, "2006")?;
    let rest = text.get(19..).unwrap_or_default();
    let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let (rest, part) = match digits {
        6 => return Ok(()),
        7.. => (&rest[7..], "Z07:00"),
        _ => (rest, ".000000"),
    };
    Err(format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {part:?}"))
}

fn go_type(schema: &Schema, ty: &Ty) -> String {
    match ty {
        Ty::String | Ty::Time | Ty::MicroTime | Ty::Quantity => "string".to_owned(),
        Ty::Bytes => "[]uint8".to_owned(),
        Ty::Bool => "bool".to_owned(),
        Ty::Int32 | Ty::IntOrString => "int32".to_owned(),
        Ty::Int64 => "int64".to_owned(),
        Ty::Any => "interface {}".to_owned(),
        Ty::Struct(id) => go_struct(schema.type_of(*id)),
        Ty::List(item) => format!("[]{}", go_type(schema, item)),
        Ty::Map(item) => format!("map[string]{}", go_type(schema, item)),
    }
}

/// `v1.ServiceSpec`.
fn go_struct(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

/// Base64 with padding, as Go's decoder takes it: line ends are skipped.
fn base64(text: &str) -> Result<(), String> {
    let illegal = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let mut digits = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if digits % 4 >= 2 && digits % 4 + padding < 4 => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return illegal(at),
        }
    }
    if (digits + padding) % 4 == 0 { Ok(()) } else { illegal(text.len() - (digits + padding) % 4) }
}
