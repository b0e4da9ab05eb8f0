//! A set of fields as a trie, and its written form, FieldsV1: `{"f:spec": {"f:ports": {".": {}, "k:{\"port\":80}": {"f:name": {}}}}}`.
//!
//! Source: structured-merge-diff's fieldpath (set.go, serialize.go).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Deeper than any kind: entries come from clients.
const MAX_DEPTH: usize = 100;

/// Fields below one place. Each step is kept as it is written: `f:name`, `k:{..}`, `v:..`, `i:..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether the place itself is in the set.
    own: bool,
    below: BTreeMap<String, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        let mut set = self;
        for step in path {
            set = set.below.entry(step.clone()).or_default();
        }
        set.own = true;
    }

    pub(super) fn union(&mut self, other: Set) {
        self.own |= other.own;
        for (step, theirs) in other.below {
            self.below.entry(step).or_default().union(theirs);
        }
    }

    pub(super) fn subtract(&mut self, other: &Set) {
        self.own &= !other.own;
        self.below.retain(|step, ours| {
            if let Some(theirs) = other.below.get(step) {
                ours.subtract(theirs);
            }
            !ours.is_empty()
        });
    }

    /// Removes one field, not what is below it.
    pub(super) fn remove_path(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            self.own = false;
            return;
        };
        let step = format!("f:{first}");
        if let Some(inner) = self.below.get_mut(&step) {
            inner.remove_path(rest);
            if inner.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// Removes a step with all that is below it.
    pub(super) fn remove_all_of(&mut self, step: &str) {
        self.below.remove(step);
    }

    /// None for what is no FieldsV1.
    pub(super) fn parse(value: &Value) -> Option<Set> {
        let mut set = Set::parse_below(value, 0)?;
        // The root is no field.
        set.own = false;
        Some(set)
    }

    fn parse_below(value: &Value, depth: usize) -> Option<Set> {
        let object = match value {
            Value::Object(object) => object,
            Value::Null if depth == 0 => return Some(Set::default()),
            _ => return None,
        };
        if depth > MAX_DEPTH {
            return None;
        }
        let mut set = Set { own: object.is_empty(), below: BTreeMap::new() };
        for (step, value) in object {
            match step.split_once(':') {
                _ if step == "." => set.own = true,
                Some(("f" | "k" | "v" | "i", _)) => {
                    set.below.insert(step.clone(), Set::parse_below(value, depth + 1)?);
                }
                _ => return None,
            }
        }
        Some(set)
    }

    pub(super) fn render(&self) -> Value {
        let mut object = Map::new();
        if self.own && !self.below.is_empty() {
            object.insert(".".to_owned(), Value::Object(Map::new()));
        }
        object.extend(self.below.iter().map(|(step, set)| (step.clone(), set.render())));
        Value::Object(object)
    }
}
