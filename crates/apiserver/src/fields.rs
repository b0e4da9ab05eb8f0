//! Field ownership: `metadata.managedFields`, recorded on every write.
//!
//! Owns the sets of fields ([`set`]), what changed between two objects along the schema ([`compare`]), and who owns it afterwards. Server-side
//! apply will stand on the same two. Must not know verbs or storage.
//!
//! Source: KEP-555; structured-merge-diff's merge/update.go; apimachinery's pkg/util/managedfields.

mod compare;
mod set;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::defaults;
use crate::schema::{Gvk, Schema};
use crate::value::Get;
use set::Set;

/// An object keeps no more entries of updates; older ones are merged into one.
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// Who writes: what the entry of `metadata.managedFields` is kept under.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub manager: &'a str,
    pub operation: Operation,
    /// `""`, `"status"`, `"scale"`.
    pub subresource: &'a str,
    /// `2026-01-01T00:00:00Z`.
    pub time: &'a str,
}

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone)]
struct Entry {
    operation: Operation,
    time: Option<String>,
    manager: String,
    api_version: String,
    subresource: String,
    fields: Set,
}

/// What the server writes by itself and nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Sets `new.metadata.managedFields` from the entries so far and from what changed since `old` (None: the object is created).
///
/// Both objects are defaulted. Call it before anything is allocated or otherwise filled in by the server: its choices belong to nobody.
/// Entries that the writer sends replace the old ones, so that ownership can be handed over; an empty one resets them.
pub fn update(schema: &Schema, gvk: &Gvk, old: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let Some(ty) = schema.kind(gvk) else { return };
    let mut entries = entries_before(old, new, writer.subresource);
    let blank;
    let old = match old {
        Some(old) => old,
        None => {
            blank = defaults::blank(schema, ty);
            &blank
        }
    };
    let changes = compare::compare(schema, ty, old, new);
    let ignored = if writer.subresource == "status" { "f:spec" } else { "f:status" };
    let mut taken = changes.added;
    taken.union(changes.modified);
    taken.remove_all_of(ignored);
    for path in UNOWNED {
        taken.remove_path(path);
    }
    for entry in &mut entries {
        entry.fields.subtract(&taken);
        entry.fields.subtract(&changes.removed);
    }
    if !taken.is_empty() {
        let api_version = gvk.api_version();
        let own = |entry: &&mut Entry| {
            entry.manager == writer.manager
                && entry.operation == writer.operation
                && entry.subresource == writer.subresource
                && entry.api_version == api_version
        };
        match entries.iter_mut().find(own) {
            Some(entry) => {
                entry.fields.union(taken);
                entry.time = Some(writer.time.to_owned());
            }
            None => entries.push(Entry {
                operation: writer.operation,
                time: Some(writer.time.to_owned()),
                manager: writer.manager.to_owned(),
                api_version,
                subresource: writer.subresource.to_owned(),
                fields: taken,
            }),
        }
    }
    entries.retain(|entry| !entry.fields.is_empty());
    merge_oldest(&mut entries);
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
    write(new, entries);
}

/// The entries that hold before the write: those sent along, if any can be read, else those of the old object.
fn entries_before(old: Option<&Value>, new: &Value, subresource: &str) -> Vec<Entry> {
    let read = |object: Option<&Value>| object.and_then(|object| entries(object.at("metadata").items("managedFields"))).unwrap_or_default();
    if !subresource.is_empty() {
        return read(old);
    }
    let sent = new.at("metadata").items("managedFields");
    let resets = matches!(sent, [only] if only.as_object().is_some_and(|only| only.values().all(|value| matches!(value, Value::Null) || value == "")));
    if resets {
        return Vec::new();
    }
    match entries(sent) {
        Some(entries) if !entries.is_empty() => entries,
        _ => read(old),
    }
}

/// None if one of them cannot be read.
fn entries(values: &[Value]) -> Option<Vec<Entry>> {
    values.iter().map(Entry::parse).collect()
}

impl Entry {
    fn parse(value: &Value) -> Option<Entry> {
        let operation = match value.text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Entry {
            operation,
            time: value.at("time").as_str().map(str::to_owned),
            manager: value.text("manager").to_owned(),
            api_version: value.text("apiVersion").to_owned(),
            subresource: value.text("subresource").to_owned(),
            fields: Set::parse(value.at("fieldsV1"))?,
        })
    }
}

/// The order in which entries are kept.
fn key(entry: &Entry) -> (Operation, &Option<String>, &str, &str, &str) {
    (entry.operation, &entry.time, &entry.manager, &entry.api_version, &entry.subresource)
}

fn merge_oldest(entries: &mut Vec<Entry>) {
    let mut updates = entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    while updates > MAX_UPDATE_MANAGERS {
        let oldest = |entries: &[Entry]| {
            let updates = entries.iter().enumerate().filter(|(_, entry)| entry.operation == Operation::Update);
            updates.min_by(|(_, a), (_, b)| key(a).cmp(&key(b))).map(|(index, _)| index)
        };
        let Some(mut ancient) = oldest(entries).map(|index| entries.remove(index)) else { return };
        let Some(next) = oldest(entries).map(|index| entries.remove(index)) else { return };
        ancient.fields.union(next.fields);
        ancient.manager = ANCIENT.to_owned();
        ancient.subresource = String::new();
        ancient.time = ancient.time.max(next.time);
        entries.push(ancient);
        updates -= 1;
    }
}

fn write(object: &mut Value, entries: Vec<Entry>) {
    let Some(metadata) = object.as_object_mut().map(|object| object.entry("metadata").or_insert_with(|| Value::Object(Map::new()))) else {
        return;
    };
    let Some(metadata) = metadata.as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let entries = entries.into_iter().map(|entry| {
        let operation = match entry.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut value = json!({
            "manager": entry.manager,
            "operation": operation,
            "apiVersion": entry.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": entry.fields.render(),
        });
        for (name, text) in [("time", entry.time.unwrap_or_default()), ("subresource", entry.subresource)] {
            if !text.is_empty() {
                value[name] = text.into();
            }
        }
        value
    });
    metadata.insert("managedFields".to_owned(), entries.collect());
}
