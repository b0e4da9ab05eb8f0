//! Kubernetes protobuf to JSON values and back, driven by the schema's field numbers.
//!
//! Owns the `k8s\0` envelope, the wire format, and the messages that are no objects in JSON (Time, Quantity, IntOrString, FieldsV1). Total: any
//! bytes give a value or an [`Error`]; no length is believed before it is checked. Must not know defaults: what a decoder leaves at zero,
//! [`crate::defaults`] writes or drops as Go would.
//!
//! Source: apimachinery's serializer/protobuf and the `generated.proto` files.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use decode::decode;
pub use encode::{encode, encode_text, list_head, put_item};

/// What precedes an object: these four bytes, then a `runtime.Unknown` that says its kind.
const MAGIC: &[u8] = b"k8s\0";

/// Deeper messages than any kind has; a hostile body must not use up the stack.
const MAX_DEPTH: u32 = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body does not start with the protobuf prefix of Kubernetes")]
    NoEnvelope,
    #[error("protobuf message ends within a field")]
    CutShort,
    #[error("protobuf varint is longer than 64 bits")]
    LongVarint,
    #[error("protobuf wire type {wire} of field {number} is not used by Kubernetes")]
    WireType { number: u32, wire: u8 },
    #[error("{field}: protobuf field holds no {expected}")]
    Mismatch { field: String, expected: &'static str },
    #[error("protobuf messages are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("no kind {kind:?} in version {api_version:?} is registered")]
    UnknownKind { api_version: String, kind: String },
    #[error("the object is not what its kind says: {0}")]
    Unfit(String),
    #[error("protobuf content encoding {0:?} is not supported")]
    Encoding(String),
}
