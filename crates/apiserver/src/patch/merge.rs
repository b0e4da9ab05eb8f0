//! JSON Merge Patch, RFC 7386.

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Gvk, Schema};
use crate::value::go_kind;

/// Objects merge, null deletes, anything else replaces.
///
/// # Errors
/// [`PatchError::Malformed`] for a patch that is no object: the result would be none either.
pub fn merge(_schema: &Schema, _gvk: &Gvk, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        if patch.is_null() {
            return Err(PatchError::Malformed("Invalid JSON Patch".to_owned()));
        }
        let kind = go_kind(patch);
        let text = format!("error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
        return Err(PatchError::Malformed(text));
    };
    let mut result = current.clone();
    merge_object(&mut result, patch);
    Ok(result)
}

fn merge_object(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                object.remove(key);
            }
            Value::Object(inner) => merge_object(object.entry(key.clone()).or_insert(Value::Null), inner),
            other => {
                object.insert(key.clone(), other.clone());
            }
        }
    }
}
