//! Labels (and annotations) of an object: few, read often, never changed. One allocation, where a tree's smallest node alone is ten
//! times as large as the usual two or three.

use crate::names::Text;

/// Sorted by key, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Text, Text)]>);

// === impl Labels ===

impl Labels {
    pub fn get(&self, key: &str) -> Option<&Text> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok().map(|at| &self.0[at].1)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl FromIterator<(Text, Text)> for Labels {
    /// Of two entries with one key the later counts.
    fn from_iter<I: IntoIterator<Item = (Text, Text)>>(labels: I) -> Self {
        let mut sorted: Vec<_> = labels.into_iter().collect();
        sorted.reverse();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted.dedup_by(|(one, _), (other, _)| one == other);
        Self(sorted.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_with_its_last_value() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].map(|(key, value)| (key.into(), value.into())).into_iter().collect();
        assert_eq!(labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(), ["a=2", "b=3"]);
        assert_eq!((labels.get("b").map(|value| &**value), labels.get("c")), (Some("3"), None));
    }
}
