//! Objects from JSON: straight from bytes into a kind, and slowly through a tree only to say what was wrong.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use crate::error::{DecodeError, Fault};

/// Reads `null` as the zero value, as Go does: `endpoints: null` is an empty slice, `creationTimestamp: null` no time.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Decodes one JSON text.
///
/// # Errors
/// The first field that does not fit, with the object's own name wherever that can be read.
pub(crate) fn decode<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| match serde_json::from_str::<Value>(text) {
        // The text is read again as a tree: only broken objects pay for a path, and a tree still knows its name.
        Ok(tree) => match from_tree::<T>(kind, &tree) {
            Err(error) => error,
            // Only what a tree forgives, such as a field given twice, ends here.
            Ok(_) => error_in_tree(kind, &tree, Fault::new(error.to_string())),
        },
        Err(syntax) => DecodeError::new(kind, "", "", Fault::new(syntax.to_string())),
    })
}

/// Decodes a tree of values, as YAML documents become.
pub(crate) fn from_tree<T: DeserializeOwned>(kind: &str, tree: &Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        let fault = Fault { path: if path == "." { String::new() } else { path }, reason: error.into_inner().to_string() };
        error_in_tree(kind, tree, fault)
    })
}

pub(crate) fn error_in_tree(kind: &str, tree: &Value, fault: Fault) -> DecodeError {
    let meta = |field| tree.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or("");
    DecodeError::new(kind, meta("namespace"), meta("name"), fault)
}
