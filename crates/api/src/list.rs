//! Lists, decoded item by item: a broken item is an error of its own beside the others.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{DecodeError, Fault};
use crate::meta::ListMeta;
use crate::protobuf::{self, Field, Reader, Wire};
use crate::{Encoding, Object, json};

/// One page of a list.
#[derive(Debug)]
pub struct List<K> {
    pub meta: ListMeta,
    pub items: Vec<Result<K, DecodeError>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default, deserialize_with = "json::or_default")]
    metadata: ListMeta,
    #[serde(borrow, default, deserialize_with = "json::or_default")]
    items: Vec<&'a RawValue>,
}

impl<K: Object> List<K> {
    /// Decodes the body of a list request.
    ///
    /// # Errors
    /// Only when the list itself cannot be read; what is wrong with an item stands in `items`.
    pub fn decode(encoding: Encoding, body: &[u8]) -> Result<List<K>, DecodeError> {
        match encoding {
            Encoding::Json => {
                let whole = |reason: String| DecodeError::new(&format!("{}List", K::KIND), "", "", Fault::new(reason));
                let text = std::str::from_utf8(body).map_err(|_| whole("not UTF-8".to_owned()))?;
                let page: Page<'_> = serde_json::from_str(text).map_err(|error| whole(error.to_string()))?;
                let items = page.items.into_iter().map(|item| K::decode_json(item.get())).collect();
                Ok(List { meta: page.metadata, items })
            }
            Encoding::Protobuf => Self::decode_protobuf(body).map_err(|fault| DecodeError::new(&format!("{}List", K::KIND), "", "", fault)),
        }
    }

    /// Every list is {1: ListMeta, 2: repeated item} inside an envelope.
    fn decode_protobuf(body: &[u8]) -> Result<List<K>, Fault> {
        let envelope = protobuf::open(body)?;
        let expected = format!("{}List", K::KIND);
        if envelope.kind != expected {
            return Err(Fault::new(format!("expected kind {expected}, found {} {}", envelope.api_version, envelope.kind)));
        }
        let mut list = List { meta: ListMeta::default(), items: Vec::new() };
        for entry in Reader::new(envelope.raw) {
            match entry? {
                (1, wire) => list.meta.merge(wire).map_err(|fault| fault.inside("metadata"))?,
                (2, Wire::Bytes(item)) => list.items.push(K::decode_protobuf(item)),
                _ => {}
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
