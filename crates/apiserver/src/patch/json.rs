//! JSON Patch, RFC 6902, as the API server's library (evanphx/json-patch v4) has it: negative indices; a missing value is null; `replace` makes
//! what is missing; no operation on the whole document. And limits.

use serde_json::Value;

use super::PatchError;
use crate::schema::{Gvk, Schema};
use crate::value::go_kind;

/// The API server's own limit.
const MAX_OPERATIONS: usize = 10_000;

/// What all `copy` operations of a patch may add up to: copies of copies grow as powers of two.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Deeper than any kind, and shallow enough for every recursive walk. Operations could otherwise nest without end.
const MAX_DEPTH: usize = 120;

/// Applies all operations or none.
///
/// # Errors
/// [`PatchError::Malformed`] for what is no list of operations, [`PatchError::Unprocessable`] for an operation that does not apply.
pub fn json(_schema: &Schema, _gvk: &Gvk, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    if patch.is_null() {
        return Ok(current.clone());
    }
    let Value::Array(operations) = patch else {
        return Err(not_a("[]handlers.jsonPatchOp", patch));
    };
    if operations.len() > MAX_OPERATIONS {
        let text = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(PatchError::TooLarge(text));
    }
    let mut document = current.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut document, operation, &mut copied)?;
    }
    Ok(document)
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    if !operation.is_object() {
        return Err(not_a("handlers.jsonPatchOp", operation));
    }
    let path = pointer(operation, "path")?;
    match member(operation, "op")? {
        "add" => add(document, &path, value_of(operation)),
        "remove" => remove(document, &path).map(drop),
        "replace" => {
            let value = value_of(operation);
            within_depth(&path, &value)?;
            let (last, parent) = split(&path)?;
            match find(document, parent)? {
                Value::Object(object) => {
                    object.insert(last.clone(), value);
                }
                _ => *find(document, &path)? = value,
            }
            Ok(())
        }
        "move" => {
            let from = pointer(operation, "from")?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(unprocessable("a value cannot move into itself"));
            }
            let value = remove(document, &from)?;
            add(document, &path, value)
        }
        "copy" => {
            let value = find(document, &pointer(operation, "from")?)?.clone();
            *copied += value.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                return Err(PatchError::Unprocessable(format!("copies add up to more than {MAX_COPIED_BYTES} bytes")));
            }
            add(document, &path, value)
        }
        "test" => {
            let wanted = operation.get("value").unwrap_or(&Value::Null);
            // What is missing equals null.
            let found = find(document, &path).map(|found| &*found).unwrap_or(&Value::Null);
            if found == wanted { Ok(()) } else { Err(unprocessable(&format!("testing value {} failed", member(operation, "path")?))) }
        }
        other => Err(unprocessable(&format!("Unexpected kind: {other}"))),
    }
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    within_depth(path, &value)?;
    let (last, parent) = split(path)?;
    match find(document, parent)? {
        Value::Object(object) => {
            object.insert(last.clone(), value);
        }
        Value::Array(items) => {
            let index = if last == "-" { items.len() } else { index(last, items.len() + 1)? };
            items.insert(index, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, PatchError> {
    let (last, parent) = split(path)?;
    match find(document, parent)? {
        Value::Object(object) => object.remove(last).ok_or_else(|| missing(path)),
        Value::Array(items) => {
            let index = index(last, items.len())?;
            Ok(items.remove(index))
        }
        _ => Err(missing(path)),
    }
}

fn find<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, PatchError> {
    let mut value = document;
    for token in path {
        value = match value {
            Value::Object(object) => object.get_mut(token).ok_or_else(|| missing(path))?,
            Value::Array(items) => {
                let index = index(token, items.len())?;
                &mut items[index]
            }
            _ => return Err(missing(path)),
        };
    }
    Ok(value)
}

/// A place in a list of `length` items; -1 is the last.
fn index(token: &str, length: usize) -> Result<usize, PatchError> {
    let bad = || unprocessable(&format!("index {token} is out of range"));
    let index: i64 = token.parse().map_err(|_| bad())?;
    let length = i64::try_from(length).map_err(|_| bad())?;
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).ok().filter(|_| index < length).ok_or_else(bad)
}

/// Splits a JSON pointer (RFC 6901) into its tokens.
fn pointer(operation: &Value, name: &str) -> Result<Vec<String>, PatchError> {
    let text = member(operation, name)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let tokens = text.strip_prefix('/').ok_or_else(|| unprocessable(&format!("{name} {text:?} is no JSON pointer")))?;
    Ok(tokens.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

fn member<'a>(operation: &'a Value, name: &str) -> Result<&'a str, PatchError> {
    match operation.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Ok(""),
        Some(other) => {
            let kind = go_kind(other);
            let text =
                format!("error decoding patch: json: cannot unmarshal {kind} into Go struct field jsonPatchOp.{name} of type string");
            Err(PatchError::Malformed(text))
        }
    }
}

fn value_of(operation: &Value) -> Value {
    operation.get("value").cloned().unwrap_or_default()
}

fn split(path: &[String]) -> Result<(&String, &[String]), PatchError> {
    path.split_last().ok_or_else(|| unprocessable("the operation has no path"))
}

fn within_depth(path: &[String], value: &Value) -> Result<(), PatchError> {
    if path.len() + depth(value) > MAX_DEPTH { Err(unprocessable("the result is nested too deep")) } else { Ok(()) }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn missing(path: &[String]) -> PatchError {
    unprocessable(&format!("the document has no /{}", path.join("/")))
}

fn unprocessable(reason: &str) -> PatchError {
    PatchError::Unprocessable(reason.to_owned())
}

fn not_a(ty: &str, value: &Value) -> PatchError {
    PatchError::Malformed(format!("error decoding patch: json: cannot unmarshal {} into Go value of type {ty}", go_kind(value)))
}
