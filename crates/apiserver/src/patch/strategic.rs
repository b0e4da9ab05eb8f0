//! Strategic merge patch: a merge patch that knows lists. Lists with a merge key merge item by item; `$patch`, `$setElementOrder/..`,
//! `$deleteFromPrimitiveList/..` and `$retainKeys` say what plain JSON cannot.
//!
//! Source: apimachinery's pkg/util/strategicpatch/patch.go, whose order of steps and error texts are kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Field, Gvk, Schema, Type};
use crate::value::go_kind;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

type Object = Map<String, Value>;

/// Merges `patch` into `current` along the schema of the kind.
///
/// # Errors
/// [`PatchError::Malformed`] for directives of the wrong shape, [`PatchError::Failed`] for a patch that does not fit the object.
pub fn strategic(schema: &Schema, gvk: &Gvk, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    if patch.is_null() {
        return Ok(current.clone());
    }
    let Value::Object(patch) = patch else {
        let kind = go_kind(patch);
        return Err(PatchError::Malformed(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")));
    };
    let current = current.as_object().cloned().unwrap_or_default();
    let merged = Merge { schema }.object(current, patch.clone(), schema.kind(gvk))?;
    Ok(Value::Object(merged))
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl<'a> Merge<'a> {
    fn object(&self, mut original: Object, mut patch: Object, ty: Option<&'a Type>) -> Result<Object, PatchError> {
        match patch.get(DIRECTIVE) {
            None => {}
            Some(Value::String(directive)) if directive == "replace" => {
                patch.remove(DIRECTIVE);
                return Ok(patch);
            }
            Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
            Some(directive) => return Err(bad_directive(directive, &patch)),
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, ty)?;
        for (key, value) in patch {
            let (name, deletes) = match key.strip_prefix(DELETE_FROM) {
                Some(rest) => (named(rest, "invalid patch format of primitive list")?.to_owned(), true),
                None => (key, false),
            };
            if value.is_null() {
                original.remove(&name);
                continue;
            }
            let merged = match (original.remove(&name), value) {
                (Some(Value::Object(found)), Value::Object(patch)) => {
                    let ty = ty.and_then(|ty| ty.field(&name)).and_then(|field| self.schema.struct_in(&field.ty));
                    Some(Value::Object(self.object(found, patch, ty)?))
                }
                (Some(Value::Array(found)), Value::Array(patch)) => {
                    Some(Value::Array(self.list(found, patch, ty.and_then(|ty| ty.field(&name)), deletes)?))
                }
                (found, _) if deletes => found,
                (_, value) => without_directives(without_nulls(value)),
            };
            if let Some(merged) = merged {
                original.insert(name, merged);
            }
        }
        Ok(original)
    }

    /// Handles every list that comes with a `$setElementOrder`, and takes both out of the patch.
    fn ordered_lists(&self, original: &mut Object, patch: &mut Object, ty: Option<&'a Type>) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let bad = "invalid patch format of setElementOrder list";
            let name = named(&directive[SET_ORDER.len()..], bad)?;
            let order = match patch.remove(&directive) {
                Some(Value::Array(order)) => order,
                other => return Err(bad_type(other.as_ref())),
            };
            let list_in = |object: &mut Object| match object.remove(name) {
                None => Ok(None),
                Some(Value::Array(items)) => Ok(Some(items)),
                Some(other) => Err(bad_type(Some(&other))),
            };
            let (found, given) = (list_in(original)?, list_in(patch)?);
            let Some(field) = ty.and_then(|ty| ty.field(name)) else {
                let ty = ty.map_or("map", Type::go_name);
                return Err(PatchError::Failed(format!("unable to find api field in struct {ty} for the json field {name:?}")));
            };
            let key = field.merge.key.as_deref();
            if let Some(given) = &given {
                check_order(given, &order, key)?;
            }
            let merged = match (found.clone(), given) {
                (None, None) => continue,
                (Some(found), None) => found,
                (None, Some(given)) => match without_directives(Value::Array(given)) {
                    Some(Value::Array(items)) => items,
                    _ => continue,
                },
                (Some(found), Some(given)) => self.list(found, given, Some(field), false)?,
            };
            let ordered = in_order(merged, &order, &found.unwrap_or_default(), key)?;
            original.insert(name.to_owned(), Value::Array(ordered));
        }
        Ok(())
    }

    fn list(&self, original: Vec<Value>, patch: Vec<Value>, field: Option<&'a Field>, deletes: bool) -> Result<Vec<Value>, PatchError> {
        let merges = field.is_some_and(|field| field.merge.merge);
        if !merges && !deletes {
            return Ok(patch);
        }
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        if !one_type(&original, &patch)? {
            if deletes {
                let deleted: HashSet<String> = patch.iter().map(Value::to_string).collect();
                return Ok(original.into_iter().filter(|item| !deleted.contains(&item.to_string())).collect());
            }
            let mut seen = HashSet::new();
            let merged = original.iter().chain(&patch).filter(|item| seen.insert(item.to_string())).cloned().collect();
            return in_order(merged, &patch, &original, None);
        }
        let Some((key, field)) = field.and_then(|field| Some((field.merge.key.as_deref()?, field))) else {
            return Err(PatchError::Failed("cannot merge lists without merge key".to_owned()));
        };
        let (original, patch) = list_directives(original, patch, key)?;
        let mut merged = original.clone();
        let mut places = ranks(&merged, Some(key), false)?;
        for item in &patch {
            let Value::Object(item) = item else { continue };
            let value = item.get(key).ok_or_else(|| no_key(item, key))?;
            match places.entry(value.to_string()) {
                Entry::Occupied(place) => {
                    let index = *place.get();
                    let found = merged[index].as_object().cloned().unwrap_or_default();
                    merged[index] = Value::Object(self.object(found, item.clone(), self.schema.struct_in(&field.ty))?);
                }
                Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push(Value::Object(item.clone()));
                }
            }
        }
        in_order(merged, &patch, &original, Some(key))
    }
}

/// Carries out the items of a patch list that are directives; gives what is left of both lists.
fn list_directives(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut deleted = HashSet::new();
    let mut replaces = false;
    for item in patch {
        let Some((object, directive)) = item.as_object().and_then(|object| Some((object, object.get(DIRECTIVE)?))) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                deleted.insert(object.get(key).ok_or_else(|| no_key(object, key))?.to_string());
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(PatchError::Failed("merging lists cannot yet be specified in the patch".to_owned())),
            _ => return Err(bad_directive(directive, object)),
        }
    }
    if replaces {
        return Ok((plain, Vec::new()));
    }
    original.retain(|item| item.get(key).is_none_or(|value| !deleted.contains(&value.to_string())));
    Ok((original, plain))
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let keys = match patch.remove(RETAIN_KEYS) {
        None => return Ok(()),
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err(bad()),
    };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let retained = |name: &str| keys.contains(name);
    let is_aside = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !is_aside(name) && !retained(name)) {
        return Err(bad());
    }
    original.retain(|name, _| retained(name));
    Ok(())
}

/// Puts `items` in order: those that `order` names as it says, the others between them where `before` had them.
fn in_order(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Result<Vec<Value>, PatchError> {
    let (order, before) = (ranks(order, key, true)?, ranks(before, key, true)?);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in items {
        let name = name_of(&item, key)?;
        let was = before.get(&name).copied();
        match order.get(&name) {
            Some(at) => named.push((*at, was, item)),
            None => others.push((was.unwrap_or(usize::MAX), was, item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, ..)| *at);
    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (named.peek(), others.peek()) {
            (None, None) => return Ok(result),
            (Some((_, named, _)), Some((_, other, _))) => matches!((other, named), (Some(other), Some(named)) if other < named),
            (named, _) => named.is_none(),
        };
        result.extend(if other_first { others.next() } else { named.next() }.map(|(.., item)| item));
    }
}

/// The items of a patch list must come in the order that `$setElementOrder` gives, and be named there.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let plain = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
    let mut rest = order.iter();
    for item in plain {
        let mut matches = false;
        for named in rest.by_ref() {
            matches = match key {
                None => named == item,
                Some(key) => {
                    let [item, named] = [item, named].map(|value| value.as_object().ok_or_else(|| bad_type(Some(value))));
                    let (item, named) = (item?, named?);
                    item.get(key).ok_or_else(|| no_key(item, key))? == named.get(key).ok_or_else(|| no_key(named, key))?
                }
            };
            if matches {
                break;
            }
        }
        if !matches && !order.is_empty() {
            let [patch, order] = [patch, order].map(|list| go_text(&Value::Array(list.to_vec())));
            let text = format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n");
            return Err(PatchError::Failed(text));
        }
    }
    Ok(())
}

/// Where each item first stands, by its name. Items without the key have none, unless they must (`strict`).
fn ranks(items: &[Value], key: Option<&str>, strict: bool) -> Result<HashMap<String, usize>, PatchError> {
    let mut ranks = HashMap::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match name_of(item, key) {
            Ok(name) => {
                ranks.entry(name).or_insert(index);
            }
            Err(error) if strict => return Err(error),
            Err(_) => {}
        }
    }
    Ok(ranks)
}

/// What tells an item from the others of its list: the value of its merge key, or itself.
fn name_of(item: &Value, key: Option<&str>) -> Result<String, PatchError> {
    let Some(key) = key else { return Ok(item.to_string()) };
    let object = item.as_object().ok_or_else(|| bad_type(Some(item)))?;
    object.get(key).map(Value::to_string).ok_or_else(|| no_key(object, key))
}

/// Whether the lists hold objects; an error if they hold this and that.
fn one_type(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut first = None;
    for item in original.iter().chain(patch) {
        if first.is_none() && item.is_array() {
            return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
        }
        if *first.get_or_insert(go_kind(item)) != go_kind(item) {
            let [original, patch] = [original, patch].map(|list| go_text(&Value::Array(list.to_vec())));
            return Err(PatchError::Failed(format!("list element types are not identical: [{original} {patch}]")));
        }
    }
    Ok(first == Some("object"))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_nulls(value))).collect(),
        ),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// None for an object that is itself a directive.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.contains_key(DIRECTIVE) => None,
        Value::Object(object) => {
            Some(Value::Object(object.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect()))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_directives).collect()),
        other => Some(other),
    }
}

fn named<'b>(rest: &'b str, otherwise: &str) -> Result<&'b str, PatchError> {
    rest.strip_prefix('/').ok_or_else(|| PatchError::Malformed(otherwise.to_owned()))
}

fn bad_directive(directive: &Value, patch: &Object) -> PatchError {
    let (directive, patch) = (go_text(directive), go_text(&Value::Object(patch.clone())));
    PatchError::Failed(format!("unknown patch type: {directive} in map: {patch}"))
}

fn no_key(object: &Object, key: &str) -> PatchError {
    let object = go_text(&Value::Object(object.clone()));
    PatchError::Failed(format!("map: {object} does not contain declared merge key: {key}"))
}

fn bad_type(found: Option<&Value>) -> PatchError {
    let found = match found {
        None | Some(Value::Null) => "<nil>",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(number)) if number.is_f64() => "float64",
        Some(Value::Number(_)) => "int64",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "[]interface {}",
        Some(Value::Object(_)) => "map[string]interface {}",
    };
    PatchError::Failed(format!("expected a []interface {{}}, but received a {found}"))
}

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}
