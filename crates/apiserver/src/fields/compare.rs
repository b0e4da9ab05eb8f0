//! What changed between two objects of one kind, as sets of fields.
//!
//! Source: structured-merge-diff's typed/compare.go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::Set;
use crate::schema::{Field, ListType, Schema, Ty, Type};

#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

pub(super) fn compare(schema: &Schema, ty: &Type, old: &Value, new: &Value) -> Changes {
    let mut walk = Walk { schema, path: Vec::new(), changes: Changes::default() };
    walk.object(ty, old.as_object(), new.as_object());
    walk.changes
}

struct Walk<'a> {
    schema: &'a Schema,
    path: Vec<String>,
    changes: Changes,
}

impl Walk<'_> {
    fn object(&mut self, ty: &Type, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) {
        for field in ty.fields() {
            let [old, new] = [old, new].map(|object| object.and_then(|object| object.get(&field.name)));
            let leaf = matches!(self.path.as_slice(), [only] if only == "f:metadata") && field.name == "managedFields";
            if !leaf {
                self.step(format!("f:{}", field.name), &field.ty, Some(field), old, new);
            }
        }
    }

    fn step(&mut self, step: String, ty: &Ty, field: Option<&Field>, old: Option<&Value>, new: Option<&Value>) {
        if old.is_none() && new.is_none() {
            return;
        }
        self.path.push(step);
        if self.descend(ty, field, old, new) {
            // The container itself is a field, too, where it came or went.
            match (old, new) {
                (None, _) => self.changes.added.insert(&self.path),
                (_, None) => self.changes.removed.insert(&self.path),
                _ => {}
            }
        } else {
            match (old, new) {
                (None, _) => self.changes.added.insert(&self.path),
                (_, None) => self.changes.removed.insert(&self.path),
                (old, new) if old != new => self.changes.modified.insert(&self.path),
                _ => {}
            }
        }
        self.path.pop();
    }

    /// Compares what is inside; false for a value that is owned as a whole.
    fn descend(&mut self, ty: &Ty, field: Option<&Field>, old: Option<&Value>, new: Option<&Value>) -> bool {
        let both_empty = [old, new].into_iter().flatten().all(|value| match value {
            Value::Object(object) => object.is_empty(),
            Value::Array(items) => items.is_empty(),
            other => other.is_null(),
        });
        if both_empty {
            return false;
        }
        match ty {
            Ty::Struct(id) if !self.schema.type_of(*id).atomic && !field.is_some_and(|field| field.atomic_map) => {
                let [old, new] = [old, new].map(|value| value.and_then(Value::as_object));
                self.object(self.schema.type_of(*id), old, new);
                true
            }
            Ty::Map(item) if !field.is_some_and(|field| field.atomic_map) => {
                let [old, new] = [old, new].map(|value| value.and_then(Value::as_object));
                let keys: BTreeSet<&String> = [old, new].into_iter().flatten().flat_map(Map::keys).collect();
                for key in keys {
                    let [old, new] = [old, new].map(|entries| entries.and_then(|entries| entries.get(key)));
                    self.step(format!("f:{key}"), item, None, old, new);
                }
                true
            }
            Ty::List(item) => match field.map(|field| &field.list) {
                Some(ListType::Set) => {
                    self.items(item, old, new, |value| format!("v:{value}"));
                    true
                }
                Some(ListType::Map(keys)) => {
                    let schema = self.schema;
                    let ty = schema.struct_in(item);
                    self.items(item, old, new, |value| format!("k:{}", list_key(ty, keys, value)));
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn items(&mut self, item: &Ty, old: Option<&Value>, new: Option<&Value>, key: impl Fn(&Value) -> String) {
        let [old, new] = [old, new].map(|list| {
            let items = list.and_then(Value::as_array).into_iter().flatten();
            items.map(|value| (key(value), value)).collect::<BTreeMap<String, &Value>>()
        });
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            self.step(key.clone(), item, None, old.get(key).copied(), new.get(key).copied());
        }
    }
}

/// The fields that name an item of a list, with their defaults: `{"port":80,"protocol":"TCP"}`.
fn list_key(ty: Option<&Type>, keys: &[String], item: &Value) -> Value {
    let value = |key: &String| {
        let default = || ty.and_then(|ty| ty.field(key)).and_then(|field| field.default.clone());
        (key.clone(), item.get(key).cloned().or_else(default).unwrap_or(Value::Null))
    };
    keys.iter().map(value).collect()
}
