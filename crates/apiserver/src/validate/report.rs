//! Causes and where they stand.
//!
//! Source: apimachinery's pkg/util/validation/field (errors.go, path.go).

use std::fmt;

use serde_json::Value;

use super::names;

/// One thing wrong with one field; becomes an entry of `Status.details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`.
    pub reason: &'static str,
    /// `spec.ports[0].port`.
    pub field: String,
    /// `Invalid value: 0: must be between 1 and 65535, inclusive`.
    pub message: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The causes as the message of a Status has them: one alone, several as `[a, b]`, each once.
pub fn summary(causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes.iter().map(Cause::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [only] => only.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// A value as causes show it.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), names::quote)
}

/// JSON with some fields first; the others follow by name.
fn in_order(value: &Value, order: &[&str]) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(|item| in_order(item, order)).collect::<Vec<_>>().join(",")),
        Value::Object(object) => {
            let first = order.iter().filter_map(|name| object.get_key_value(*name));
            let others = object.iter().filter(|(name, _)| !order.contains(&name.as_str()));
            let fields: Vec<String> = first.chain(others).map(|(name, value)| format!("{}:{value}", names::quote(name))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// A place in an object.
#[derive(Debug, Clone)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn new(text: &str) -> Path {
        Path(text.to_owned())
    }

    pub(super) fn child(&self, name: &str) -> Path {
        if self.0.is_empty() { Path(name.to_owned()) } else { Path(format!("{}.{name}", self.0)) }
    }

    pub(super) fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    pub(super) fn key(&self, key: &str) -> Path {
        Path(format!("{}[{key}]", self.0))
    }
}

/// What was found so far. A report has a bound: an object of a thousand broken parts is told about the first ones.
#[derive(Debug, Default)]
pub(super) struct Report {
    causes: Vec<Cause>,
}

const MAX_CAUSES: usize = 1_000;

impl Report {
    pub(super) fn into_causes(self) -> Vec<Cause> {
        self.causes
    }

    pub(super) fn count(&self) -> usize {
        self.causes.len()
    }

    /// Forgets what was reported after `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.causes.truncate(count);
    }

    pub(super) fn required(&mut self, path: &Path, detail: &str) {
        self.push("FieldValueRequired", path, "Required value".to_owned(), detail);
    }

    pub(super) fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push("FieldValueForbidden", path, "Forbidden".to_owned(), detail);
    }

    pub(super) fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        self.push("FieldValueInvalid", path, format!("Invalid value: {}", shown(&value.into())), detail);
    }

    /// An object, or a list of them, with its fields in the order that its Go type has.
    pub(super) fn invalid_in_order(&mut self, path: &Path, value: &Value, order: &[&str], detail: &str) {
        self.push("FieldValueInvalid", path, format!("Invalid value: {}", in_order(value, order)), detail);
    }

    /// One cause for each fault.
    pub(super) fn faults(&mut self, path: &Path, value: impl Into<Value>, faults: Vec<String>) {
        let value = value.into();
        for fault in faults {
            self.invalid(path, value.clone(), &fault);
        }
    }

    pub(super) fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        self.not_supported_text(path, &shown(&value.into()), supported);
    }

    pub(super) fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push("FieldValueDuplicate", path, format!("Duplicate value: {}", shown(&value.into())), "");
    }

    /// A duplicate that is no JSON value of the object.
    pub(super) fn duplicate_text(&mut self, path: &Path, value: &str) {
        self.push("FieldValueDuplicate", path, format!("Duplicate value: {value}"), "");
    }

    /// An unsupported value that is no JSON value of the object.
    pub(super) fn not_supported_text(&mut self, path: &Path, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| names::quote(value)).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.push("FieldValueNotSupported", path, format!("Unsupported value: {value}"), &detail);
    }

    pub(super) fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push("FieldValueNotFound", path, format!("Not found: {}", shown(&value.into())), "");
    }

    pub(super) fn too_long(&mut self, path: &Path, max: usize) {
        self.push("FieldValueTooLong", path, "Too long".to_owned(), &format!("may not be more than {max} bytes"));
    }

    pub(super) fn too_many(&mut self, path: &Path, count: usize, max: usize) {
        self.push("FieldValueTooMany", path, format!("Too many: {count}"), &format!("must have at most {max} items"));
    }

    pub(super) fn not_negative(&mut self, path: &Path, value: i64) {
        if value < 0 {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// A field that must be there and have one of a few values.
    pub(super) fn one_of(&mut self, path: &Path, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !supported.contains(&value) {
            self.not_supported(path, value, supported);
        }
    }

    fn push(&mut self, reason: &'static str, path: &Path, message: String, detail: &str) {
        if self.causes.len() < MAX_CAUSES {
            let message = if detail.is_empty() { message } else { format!("{message}: {detail}") };
            self.causes.push(Cause { reason, field: path.0.clone(), message });
        }
    }
}
