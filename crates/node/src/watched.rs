//! Objects as this crate reads them: `client::follow` decodes them straight into the fields that somebody here acts on.

use api::{DecodeError, Kind, Object, ObjectMeta};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::spec;

/// A type that says of which kind it is.
pub(crate) trait Read: DeserializeOwned + Send + Sync + 'static {
    const KIND: Kind;
}

/// An object of one kind.
pub(crate) struct Watched<T> {
    meta: ObjectMeta,
    pub(crate) object: T,
}

impl Read for spec::Pod {
    // JSON, since that is what `spec` decodes.
    const KIND: Kind = Kind { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true, protobuf: false };
}

impl<T: Read> Object for Watched<T> {
    const KIND: Kind = T::KIND;

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn decode_json(text: &str) -> Result<Self, DecodeError> {
        Self::decode_tree(&serde_json::from_str(text).map_err(|error| broken(T::KIND.kind, "", error))?)
    }

    fn decode_protobuf(_: &[u8]) -> Result<Self, DecodeError> {
        Err(broken(T::KIND.kind, "", "it is read as JSON"))
    }

    fn decode_tree(tree: &Value) -> Result<Self, DecodeError> {
        let name = tree["metadata"]["name"].as_str().unwrap_or_default();
        let meta = ObjectMeta::deserialize(&tree["metadata"]).map_err(|error| broken(T::KIND.kind, name, error))?;
        let object = T::deserialize(tree).map_err(|error| broken(T::KIND.kind, name, error))?;
        Ok(Self { meta, object })
    }
}

fn broken(kind: &str, name: &str, reason: impl ToString) -> DecodeError {
    DecodeError { kind: kind.into(), namespace: "".into(), name: name.into(), field: "".into(), reason: reason.to_string().into() }
}
