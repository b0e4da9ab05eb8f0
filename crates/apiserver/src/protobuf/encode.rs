//! Objects to protobuf, straight from whatever serde reads: stored JSON text or a value, with no tree of values between.
//!
//! Fields stand in the order in which the object has them: stored text is sorted by name, so equal objects give equal bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{put_bytes, put_head, put_int, put_nested};
use super::{Error, MAGIC};
use crate::schema::{Field, Gvk, Schema, Ty, Type};

/// The number of a list's items in its message.
const ITEMS: u32 = 2;

/// Encodes one object with its envelope. Fields that the schema lacks are left out, nulls too.
///
/// # Errors
/// A kind that the schema lacks, or a value that is not of its field's type: neither happens to what the server stores.
pub fn encode(schema: &Schema, object: &Value) -> Result<Vec<u8>, Error> {
    let gvk = Gvk::of(object).unwrap_or_else(|| Gvk::new("", "", ""));
    let mut raw = Vec::new();
    message(schema, &gvk, object, &mut raw)?;
    let mut out = envelope(&gvk, raw.len());
    out.extend_from_slice(&raw);
    Ok(out)
}

/// The same for an object as JSON text, whose kind the text need not say.
pub fn encode_text(schema: &Schema, gvk: &Gvk, json: &[u8]) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::with_capacity(json.len());
    message(schema, gvk, &mut serde_json::Deserializer::from_slice(json), &mut raw)?;
    let mut out = envelope(gvk, raw.len());
    out.extend_from_slice(&raw);
    Ok(out)
}

/// Writes an object as one item of a list's message.
pub fn put_item<'de>(schema: &Schema, gvk: &Gvk, object: impl Deserializer<'de>, out: &mut Vec<u8>) -> Result<(), Error> {
    put_nested(out, ITEMS, |out| message(schema, gvk, object, out))
}

/// What precedes the items of a list: `metadata` is the list's own, `items` the length of all items in bytes.
pub fn list_head(schema: &Schema, gvk: &Gvk, metadata: &Value, items: usize) -> Result<Vec<u8>, Error> {
    let mut own = Vec::new();
    message(schema, gvk, serde_json::json!({"metadata": metadata}), &mut own)?;
    let mut out = envelope(gvk, own.len() + items);
    out.extend_from_slice(&own);
    Ok(out)
}

/// The envelope up to a message of `length` bytes, which follows.
fn envelope(gvk: &Gvk, length: usize) -> Vec<u8> {
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, gvk.api_version().as_bytes());
    put_bytes(&mut meta, 2, gvk.kind.as_bytes());
    let mut out = Vec::with_capacity(MAGIC.len() + meta.len() + length + 16);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &meta);
    put_head(&mut out, 2, length);
    out
}

fn message<'de>(schema: &Schema, gvk: &Gvk, object: impl Deserializer<'de>, out: &mut Vec<u8>) -> Result<(), Error> {
    let unknown = || Error::UnknownKind { api_version: gvk.api_version(), kind: gvk.kind.clone() };
    let ty = schema.kind(gvk).ok_or_else(unknown)?;
    Message { schema, ty, out }.deserialize(object).map_err(|error| Error::Unfit(error.to_string()))
}

/// Reads an object and writes its fields.
struct Message<'a> {
    schema: &'a Schema,
    ty: &'a Type,
    out: &'a mut Vec<u8>,
}

/// Reads one value and writes it as a field, or as one element of a repeated field.
struct Slot<'a> {
    schema: &'a Schema,
    ty: &'a Ty,
    number: u32,
    out: &'a mut Vec<u8>,
}

/// Reads a field's name and gives what is known of the field.
struct Name<'a>(&'a Type);

// === impl Message ===

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, object: D) -> Result<(), D::Error> {
        object.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {}", self.ty.go_name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        // Fields of a struct that Go embeds make one message, wherever they stand.
        let mut embedded: Vec<(u32, Vec<u8>)> = Vec::new();
        while let Some(field) = object.next_key_seed(Name(self.ty))? {
            let Some(field) = field.filter(|field| field.number > 0) else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            let out = match field.outer {
                None => &mut *self.out,
                Some(outer) => {
                    let at = embedded.iter().position(|(number, _)| *number == outer).unwrap_or(embedded.len());
                    if at == embedded.len() {
                        embedded.push((outer, Vec::new()));
                    }
                    &mut embedded[at].1
                }
            };
            object.next_value_seed(Slot { schema: self.schema, ty: &field.ty, number: field.number, out })?;
        }
        for (outer, fields) in embedded {
            put_bytes(self.out, outer, &fields);
        }
        Ok(())
    }
}

// === impl Name ===

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a Field>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Option<&'a Field>, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a Field>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<&'a Field>, E> {
        Ok(self.0.field(name))
    }
}

// === impl Slot ===

impl Slot<'_> {
    fn put_time<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let time = api::Time::parse(text).ok_or_else(|| E::custom(format_args!("no time: {text:?}")))?;
        put_nested(self.out, self.number, |out| {
            put_int(out, 1, time.seconds);
            put_int(out, 2, time.nanos.into());
            Ok(())
        })
    }

    /// A message that holds but this text: a Quantity, or the JSON of what may be anything.
    fn put_wrapped<E>(self, text: &str) -> Result<(), E> {
        put_nested(self.out, self.number, |out| {
            put_bytes(out, 1, text.as_bytes());
            Ok(())
        })
    }

    /// `kind` is 0 for a number, 1 for a text.
    fn put_int_or_string<E>(self, kind: i64, int: i64, text: &str) -> Result<(), E> {
        put_nested(self.out, self.number, |out| {
            put_int(out, 1, kind);
            put_int(out, 2, int);
            put_bytes(out, 3, text.as_bytes());
            Ok(())
        })
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if !matches!(self.ty, Ty::Any) {
            return value.deserialize_any(self);
        }
        let json = <Box<RawValue> as serde::Deserialize>::deserialize(value)?;
        if json.get() == "null" { Ok(()) } else { self.put_wrapped(json.get()) }
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ty {
            Ty::Struct(id) => write!(f, "a {}", self.schema.type_of(*id).go_name()),
            other => write!(f, "a value of type {other:?}"),
        }
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.ty {
            Ty::String => put_bytes(self.out, self.number, text.as_bytes()),
            Ty::Bytes => {
                let bytes = BASE64.decode(text).map_err(|_| E::custom("no base64"))?;
                put_bytes(self.out, self.number, &bytes);
            }
            Ty::Time | Ty::MicroTime => return self.put_time(text),
            Ty::Quantity => return self.put_wrapped(text),
            Ty::IntOrString => return self.put_int_or_string(1, 0, text),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.ty {
            Ty::Bool => put_int(self.out, self.number, value.into()),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        match self.ty {
            Ty::Int32 | Ty::Int64 => put_int(self.out, self.number, value),
            Ty::Quantity => return self.put_wrapped(&value.to_string()),
            Ty::IntOrString => return self.put_int_or_string(0, value, ""),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) if matches!(self.ty, Ty::Quantity) => self.put_wrapped(&value.to_string()),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match self.ty {
            Ty::Quantity => self.put_wrapped(&value.to_string()),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Ty::List(item) = self.ty else { return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)) };
        while items.next_element_seed(Slot { schema: self.schema, ty: item, number: self.number, out: &mut *self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let (schema, number) = (self.schema, self.number);
        match self.ty {
            Ty::Struct(id) => put_nested(self.out, number, |out| Message { schema, ty: schema.type_of(*id), out }.visit_map(object)),
            Ty::Map(item) => {
                while let Some(key) = object.next_key::<String>()? {
                    put_nested(self.out, number, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        match **item {
                            // A map of lists has a message around each list.
                            Ty::List(_) => put_nested(out, 2, |out| object.next_value_seed(Slot { schema, ty: item, number: 1, out })),
                            _ => object.next_value_seed(Slot { schema, ty: item, number: 2, out }),
                        }
                    })?;
                }
                Ok(())
            }
            _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }
}
