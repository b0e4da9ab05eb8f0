//! JSON as Go sees it: fields by name, where what is missing or of another type reads as Go's zero value; and what its types are called.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Reads a field of an object.
pub(crate) trait Get {
    /// `null` if there is none.
    fn at(&self, name: &str) -> &Value;

    fn has(&self, name: &str) -> bool {
        !self.at(name).is_null()
    }

    fn text(&self, name: &str) -> &str {
        self.at(name).as_str().unwrap_or_default()
    }

    fn int(&self, name: &str) -> i64 {
        self.at(name).as_i64().unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.at(name).as_bool().unwrap_or_default()
    }

    fn items(&self, name: &str) -> &[Value] {
        self.at(name).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The texts of a list of texts.
    fn texts(&self, name: &str) -> Vec<&str> {
        self.items(name).iter().map(|item| item.as_str().unwrap_or_default()).collect()
    }

    /// Key and text of a map of texts, by key.
    fn pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> + Clone {
        let object = self.at(name).as_object();
        object.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }
}

impl Get for Value {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl Get for Map<String, Value> {
    fn at(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

/// What Go calls the type of a JSON value in its error texts.
pub(crate) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
