//! Label selectors, as `kubectl -l` takes them.

use model::facts::Labels;

/// Requirements that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// As written, for whoever asks an API server with it.
    pub text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no label selector such as `a=b,c in (d, e),!f`")]
pub struct SelectorError(String);

impl Selector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let failed = || SelectorError(text.to_owned());
        let mut terms = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = end_of_term(rest).ok_or_else(failed)?;
            terms.push(term(rest[..end].trim()).ok_or_else(failed)?);
            rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]).trim_start();
        }
        if terms.is_empty() { Err(failed()) } else { Ok(Self { text: text.to_owned(), terms }) }
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        let value = |key: &str| labels.get(key).map(|value| &**value);
        self.terms.iter().all(|term| match term {
            Term::In(key, values) => value(key).is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Term::NotIn(key, values) => value(key).is_none_or(|value| values.iter().all(|refused| refused != value)),
            Term::Exists(key) => value(key).is_some(),
            Term::Absent(key) => value(key).is_none(),
        })
    }
}

/// Where the first term ends: at a comma outside of parentheses, or at the end of the text. `None` when they do not match up.
fn end_of_term(text: &str) -> Option<usize> {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return None,
            ',' if !inside => return Some(at),
            _ => {}
        }
    }
    (!inside).then_some(text.len())
}

fn term(text: &str) -> Option<Term> {
    if let Some(open) = text.find('(') {
        let values = text[open + 1..].strip_suffix(')')?.split(',').map(value).collect::<Option<_>>()?;
        return match text[..open].split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, "in"] => Some(Term::In(key(name)?, values)),
            [name, "notin"] => Some(Term::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Term::NotIn(key(name)?, vec![self::value(value)?]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Term::In(key(name)?, vec![self::value(value)?]));
    }
    match text.strip_prefix('!') {
        Some(name) => Some(Term::Absent(key(name)?)),
        None => Some(Term::Exists(key(text)?)),
    }
}

/// A label's key: letters, digits and `-_./`, not empty.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    fine.then(|| text.to_owned())
}

/// The value of a label; it may be empty.
fn value(text: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    Some(text.trim().to_owned()).filter(|value| value.len() <= 63 && value.chars().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_as_kubectl_does() {
        let labels: Labels = [("app", "web"), ("tier", "front")].map(|(key, value)| (key.into(), value.into())).into_iter().collect();
        for (text, matches) in [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (db, web),tier", true),
            ("app notin (web)", false),
            ("!app", false),
            ("!zone,zone!=a", true),
            ("zone=", false),
        ] {
            assert_eq!(Selector::parse(text).expect("a selector").matches(&labels), matches, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "a in (b", "a in b)", "a like (b)", "=b", "a b", "a=b c", "a in (b, c d)", "a=%"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
