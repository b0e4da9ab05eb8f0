//! The three patches: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386), and Kubernetes' strategic merge patch.
//!
//! Each takes the current object as the API shows it and a parsed patch and gives the object that would replace it, not yet defaulted nor
//! validated. Total: any patch gives an object or a [`PatchError`]. Must not know what is allowed, nor who may write what.

mod json;
mod merge;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use json::json;
pub use merge::merge;
pub use strategic::strategic;

use crate::validate::Cause;

/// How the API server answers a patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 BadRequest with this text.
    #[error("{0}")]
    Malformed(String),
    /// 422, reason Invalid, always with the message "the server rejected our request due to an error in our request"; the text says more than
    /// the API server tells.
    #[error("{0}")]
    Unprocessable(String),
    /// 413 RequestEntityTooLarge with this text.
    #[error("{0}")]
    TooLarge(String),
    /// 500 without a reason, with this text.
    #[error("{0}")]
    Failed(String),
}

/// The cause of a 422 whose message starts ` "" is invalid: `, for a patch that applied but whose result cannot be decoded: `detail` says why.
/// `strategic` is the patch itself if it was a strategic one, which is then shown; else the result is.
pub fn undecodable(strategic: Option<&Value>, patched: &Value, detail: &str) -> Cause {
    let shown = strategic.map_or_else(|| patched.to_string(), strategic::go_text);
    let message = format!("Invalid value: {}: {detail}", Value::from(shown));
    Cause { reason: "FieldValueInvalid", field: "patch".to_owned(), message }
}
