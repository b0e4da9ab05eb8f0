//! Which names a rule is about, and what becomes of them. Names are text in lower case with their final dot.

use regex::bytes::Regex;

#[derive(Clone, Debug)]
pub enum Matcher {
    Exact(String),
    /// Ends in a dot, as all but a pattern: a prefix is whole labels.
    Prefix(String),
    Suffix(String),
    Substring(String),
    /// `{1}` in what replaces it is its first group.
    Regex(Regex),
}

pub(crate) const KINDS: &[&str] = &["exact", "prefix", "suffix", "substring", "regex"];

impl Matcher {
    /// `kind` is one of [`KINDS`].
    pub(crate) fn parse(kind: &str, from: &str) -> Result<Self, String> {
        Ok(match kind {
            "prefix" => Self::Prefix(absolute(from)),
            "suffix" => Self::Suffix(absolute(from)),
            "substring" => Self::Substring(absolute(from)),
            "regex" => Self::Regex(Regex::new(from).map_err(|error| crate::config::directive::reason(&error))?),
            _ => Self::Exact(absolute(from)),
        })
    }

    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(from) => name == from.as_bytes(),
            Self::Prefix(from) => name.starts_with(from.as_bytes()),
            Self::Suffix(from) => name.ends_with(from.as_bytes()),
            Self::Substring(from) => name.windows(from.len().max(1)).any(|window| window == from.as_bytes()),
            Self::Regex(pattern) => pattern.is_match(name),
        }
    }

    /// The name with what fits replaced; `None` where nothing does. `to` is absolute.
    pub(crate) fn replace(&self, name: &[u8], to: &str) -> Option<String> {
        if !self.fits(name) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(match self {
            Self::Exact(_) => to.to_owned(),
            Self::Prefix(from) => to.to_owned() + &name[from.len()..],
            Self::Suffix(from) => name[..name.len() - from.len()].to_owned() + to,
            Self::Substring(from) => name.replace(from, to),
            Self::Regex(pattern) => {
                let groups = pattern.captures(name.as_bytes())?;
                let mut text = to.to_owned();
                for (at, group) in groups.iter().enumerate() {
                    let group = group.map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or_default());
                    text = text.replace(&format!("{{{at}}}"), group);
                }
                text
            }
        })
    }

    /// A pattern has a group for each `{N}` of what replaces it.
    pub(crate) fn has_groups_of(&self, to: &str) -> bool {
        let Self::Regex(pattern) = self else { return true };
        let n_used = (0..=100).filter(|at| to.contains(&format!("{{{at}}}"))).count();
        n_used < pattern.captures_len()
    }
}

/// In lower case and with its final dot.
pub(crate) fn absolute(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}
