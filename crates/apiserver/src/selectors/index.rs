//! What selectors read of an object, taken off it once and kept small: every stored object has one.

/// Labels stand under this path.
const LABELS: &str = "metadata.labels.";

/// Texts by the path of their field (`spec.nodeName`, `metadata.labels.app`), all in one piece of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    text: Box<str>,
    /// Where each path and each value ends in `text`, by turns.
    ends: Box<[u32]>,
}

impl Index {
    /// From paths and values; a path that comes twice reads as the first.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Index {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for (path, value) in entries {
            for part in [path, value] {
                text.push_str(part);
                // Objects are far smaller than 4 GiB: bodies are bounded.
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Index { text: text.into(), ends: ends.into() }
    }

    /// The text of a field, None where the object has none.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.entries().find(|(known, _)| *known == path).map(|(_, value)| value)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.entries().find(|(path, _)| path.strip_prefix(LABELS) == Some(key)).map(|(_, value)| value)
    }

    /// The path of a label.
    pub fn label_path(key: &str) -> String {
        format!("{LABELS}{key}")
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        let mut part = move |end: u32| {
            let part = &self.text[start..end as usize];
            start = end as usize;
            part
        };
        self.ends.chunks_exact(2).map(move |ends| (part(ends[0]), part(ends[1])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_the_path_of_their_field() {
        let index = Index::new([("metadata.name", "web"), ("metadata.labels.app.kubernetes.io/name", "a"), ("metadata.namespace", "")]);
        assert_eq!(index.get("metadata.name"), Some("web"));
        assert_eq!(index.get("metadata.namespace"), Some(""));
        assert_eq!(index.get("metadata"), None);
        assert_eq!(index.label("app.kubernetes.io/name"), Some("a"));
        assert_eq!(index.label("name"), None);
        assert_eq!(Index::default().get(""), None);
    }
}
