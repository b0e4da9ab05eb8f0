//! Whole objects: every field as it came, where the slim kinds of `api` keep what somebody reads.

use std::marker::PhantomData;
use std::sync::Arc;

use api::{DecodeError, Kind, Object, ObjectMeta};
use serde_json::Value;

/// Says of which kind a [`Whole`] is.
pub trait Which: Send + Sync + 'static {
    const KIND: Kind;
}

/// An object of one kind, whole.
#[derive(Debug)]
pub struct Whole<W> {
    meta: ObjectMeta,
    pub(crate) value: Arc<Value>,
    which: PhantomData<W>,
}

impl<W: Which> Object for Whole<W> {
    const KIND: Kind = W::KIND;

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn decode_json(text: &str) -> Result<Self, DecodeError> {
        let tree = serde_json::from_str(text).map_err(|error| broken(W::KIND.kind, error))?;
        Self::decode_tree(&tree)
    }

    fn decode_protobuf(_message: &[u8]) -> Result<Self, DecodeError> {
        Err(broken(W::KIND.kind, "whole objects are read as JSON"))
    }

    /// Lists leave out of their items what the list says for all: kind and version are put back.
    fn decode_tree(tree: &Value) -> Result<Self, DecodeError> {
        let meta = serde_json::from_value(tree["metadata"].clone()).map_err(|error| broken(W::KIND.kind, error))?;
        let mut value = tree.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_string(), W::KIND.api_version().into());
            fields.insert("kind".to_string(), W::KIND.kind.into());
        }
        Ok(Self { meta, value: Arc::new(value), which: PhantomData })
    }
}

fn broken(kind: &str, reason: impl ToString) -> DecodeError {
    DecodeError { kind: kind.into(), namespace: "".into(), name: "".into(), field: "".into(), reason: reason.to_string().into() }
}
