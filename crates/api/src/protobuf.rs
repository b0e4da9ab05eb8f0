//! Protocol buffers, as much of them as Kubernetes uses: varints, length-delimited fields, messages of proto2 without groups.
//!
//! Owns the reader and the `message!` table from which a kind's struct, its JSON names and its field numbers come, so that the two
//! codecs cannot drift apart. Total: any bytes give a value or a [`Fault`], never a panic, and no length is believed before it is checked.
//! Field numbers are those of Kubernetes' `generated.proto` files; they never change.

use crate::error::Fault;

/// What precedes a Kubernetes message outside a watch: these four bytes, then a `runtime.Unknown` that says its kind.
pub(crate) const MAGIC: &[u8] = b"k8s\0";

/// One field's value as the wire holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of one message in the order of the wire. Ends at the first fault.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// What can take a field's value. A repeated field takes one element each time, a message merges, a scalar keeps the last.
pub(crate) trait Field {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault>;
}

/// Defines kinds and their parts from a table: field number, JSON name, Rust name, type.
macro_rules! message {
    ($($(#[$attr:meta])* pub struct $name:ident {
        $($(#[$field_attr:meta])* $number:literal $json:literal $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$attr])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_attr])*
            #[serde(rename = $json, deserialize_with = "crate::json::or_default")]
            pub $field: $type,)*
        }

        impl crate::protobuf::Field for $name {
            fn merge(&mut self, wire: crate::protobuf::Wire<'_>) -> Result<(), crate::error::Fault> {
                for entry in crate::protobuf::Reader::new(wire.bytes()?) {
                    let (number, wire) = entry?;
                    match number {
                        $($number => crate::protobuf::Field::merge(&mut self.$field, wire)
                            .map_err(|fault| fault.inside($json))?,)*
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    )*};
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), Fault> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| Fault::new("protobuf field number out of range"))?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| cut_short())?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(Fault::new(format!("protobuf wire type {other} is not in use"))),
        };
        Ok((number, wire))
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(cut_short)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::new("protobuf number longer than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn cut_short() -> Fault {
    Fault::new("protobuf message is cut short")
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Wire<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

// === impl Wire ===

impl<'a> Wire<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Fault> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(Fault::new("expected protobuf bytes")),
        }
    }

    fn varint(self) -> Result<u64, Fault> {
        match self {
            Wire::Varint(value) => Ok(value),
            _ => Err(Fault::new("expected a protobuf integer")),
        }
    }
}

// === impl Field ===

impl Field for bool {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        *self = wire.varint()? != 0;
        Ok(())
    }
}

impl Field for i64 {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        *self = wire.varint()?.cast_signed();
        Ok(())
    }
}

impl Field for i32 {
    /// Negative numbers take ten bytes on the wire; like every protobuf reader, this one keeps the low 32 bits.
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        *self = wire.varint()? as i32;
        Ok(())
    }
}

impl Field for Box<str> {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        let text = std::str::from_utf8(wire.bytes()?).map_err(|_| Fault::new("not UTF-8"))?;
        *self = text.into();
        Ok(())
    }
}

impl<T: Default + Field> Field for Option<T> {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        self.get_or_insert_with(T::default).merge(wire)
    }
}

impl<T: Default + Field> Field for Vec<T> {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        let mut element = T::default();
        element.merge(wire).map_err(|fault| fault.inside(&format!("[{}]", self.len())))?;
        self.push(element);
        Ok(())
    }
}

/// The message inside a `k8s\0` envelope: its apiVersion, its kind, its bytes.
pub(crate) struct Envelope<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) raw: &'a [u8],
}

/// Opens a `runtime.Unknown`: {1: TypeMeta {1: apiVersion, 2: kind}, 2: raw, 3: contentEncoding, 4: contentType}.
pub(crate) fn open(bytes: &[u8]) -> Result<Envelope<'_>, Fault> {
    let unknown = bytes.strip_prefix(MAGIC).ok_or_else(|| Fault::new("not a Kubernetes protobuf message"))?;
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[] };
    fn text(wire: Wire<'_>) -> Result<&str, Fault> {
        std::str::from_utf8(wire.bytes()?).map_err(|_| Fault::new("not UTF-8"))
    }
    for entry in Reader::new(unknown) {
        match entry? {
            (1, wire) => {
                for entry in Reader::new(wire.bytes()?) {
                    match entry? {
                        (1, wire) => envelope.api_version = text(wire)?,
                        (2, wire) => envelope.kind = text(wire)?,
                        _ => {}
                    }
                }
            }
            (2, wire) => envelope.raw = wire.bytes()?,
            (3, wire) if !wire.bytes()?.is_empty() => return Err(Fault::new("compressed protobuf content")),
            _ => {}
        }
    }
    Ok(envelope)
}

#[cfg(test)]
pub(crate) mod tests;
