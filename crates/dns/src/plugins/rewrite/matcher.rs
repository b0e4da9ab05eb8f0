//! Which names a rule is about, and what becomes of them. Names are text in lower case with their final dot.

use regex::bytes::Regex;

#[derive(Clone, Debug)]
pub enum Matcher {
    Exact(String),
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
        let lower = from.to_ascii_lowercase();
        Ok(match kind {
            "prefix" => Self::Prefix(lower),
            "suffix" => Self::Suffix(absolute(&lower)),
            "substring" => Self::Substring(lower),
            "regex" => Self::Regex(Regex::new(from).map_err(|error| crate::plugins::template::first_line(&error))?),
            _ => Self::Exact(absolute(&lower)),
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

    /// The name with what fits replaced; `None` where nothing does.
    pub(crate) fn replace(&self, name: &[u8], to: &str) -> Option<String> {
        if !self.fits(name) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        Some(match self {
            Self::Exact(_) => absolute(to),
            Self::Prefix(from) => to.to_owned() + &name[from.len()..],
            Self::Suffix(from) => name[..name.len() - from.len()].to_owned() + &absolute(to),
            Self::Substring(from) => name.replace(from, to),
            Self::Regex(pattern) => {
                let groups = pattern.captures(name.as_bytes())?;
                let mut text = to.to_owned();
                for (at, group) in groups.iter().enumerate() {
                    let group = group.map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or_default());
                    text = text.replace(&format!("{{{at}}}"), group);
                }
                absolute(&text)
            }
        })
    }

    /// Takes a replacement at the front or at the end back.
    pub(crate) fn undo(&self, name: &str, to: &str) -> Option<String> {
        match self {
            Self::Prefix(from) => name.strip_prefix(to).map(|rest| from.clone() + rest),
            Self::Suffix(from) => name.strip_suffix(&absolute(to)).map(|rest| rest.to_owned() + from),
            _ => None,
        }
    }
}

pub(crate) fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}
