//! What several rooms' tests share.

use serde_json::Value;

/// A small generator (xorshift) whose runs can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Any JSON, with keys and strings from `words` among others.
    pub(crate) fn json(&mut self, words: &[&str], depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => ([0, -1, 1, 80, 70_000, i64::MIN, i64::MAX][self.below(7)]).into(),
            3 => 1.5.into(),
            4 | 5 => words[self.below(words.len())].into(),
            6 => Value::Array((0..self.below(4)).map(|_| self.json(words, depth - 1)).collect()),
            _ => (0..self.below(5)).map(|_| (words[self.below(words.len())].to_owned(), self.json(words, depth - 1))).collect(),
        }
    }

    /// The same value with a few of its parts replaced by anything.
    pub(crate) fn twist(&mut self, value: &Value, words: &[&str]) -> Value {
        if self.below(12) == 0 {
            return self.json(words, 3);
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.twist(item, words)).collect(),
            Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), self.twist(value, words))).collect(),
            other => other.clone(),
        }
    }
}

/// A folder of its own for one test, removed with it.
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rutter-apiserver-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
