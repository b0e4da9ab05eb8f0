//! Objects that whoever follows them decodes: into the very fields that it acts on, or whole, where `api`'s slim kinds keep what most need.

use api::{DecodeError, Kind, Object, ObjectMeta};
use serde::Deserialize as _;
use serde_json::Value;

/// What somebody makes of an object of one kind.
pub trait FromTree: Send + Sync + Sized + 'static {
    /// `protobuf` is false: such objects are read as JSON.
    const KIND: Kind;

    /// Lists leave out of their items what the list says for all: `apiVersion` and `kind` may be missing.
    ///
    /// # Errors
    /// When the object does not have the form that is expected.
    fn from_tree(tree: &Value) -> Result<Self, serde_json::Error>;
}

/// An object as [`follow`](crate::follow) takes it, whose contents are the follower's own.
pub struct Own<T> {
    meta: ObjectMeta,
    pub contents: T,
}

impl<T: FromTree> Object for Own<T> {
    const KIND: Kind = T::KIND;

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn decode_json(text: &str) -> Result<Self, DecodeError> {
        Self::decode_tree(&serde_json::from_str(text).map_err(|error| broken::<T>("", error))?)
    }

    fn decode_protobuf(_: &[u8]) -> Result<Self, DecodeError> {
        Err(broken::<T>("", "it is read as JSON"))
    }

    fn decode_tree(tree: &Value) -> Result<Self, DecodeError> {
        let name = tree["metadata"]["name"].as_str().unwrap_or_default();
        let meta = ObjectMeta::deserialize(&tree["metadata"]).map_err(|error| broken::<T>(name, error))?;
        let contents = T::from_tree(tree).map_err(|error| broken::<T>(name, error))?;
        Ok(Self { meta, contents })
    }
}

fn broken<T: FromTree>(name: &str, reason: impl ToString) -> DecodeError {
    DecodeError { kind: T::KIND.kind.into(), namespace: "".into(), name: name.into(), field: "".into(), reason: reason.to_string().into() }
}
