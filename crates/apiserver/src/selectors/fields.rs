//! `fieldSelector`: `metadata.name=web,status.phase!=Failed`.
//!
//! Source: apimachinery's pkg/fields/selector.go.

use super::{Index, Selectable};
use crate::schema::Gvk;

/// A parsed `fieldSelector` of one kind. All of its terms must hold.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl Fields {
    /// Parses the string form for one kind. The empty string selects everything.
    ///
    /// # Errors
    /// The API server's text, for a 400 BadRequest.
    pub(crate) fn parse(kind: &Gvk, text: &str) -> Result<Fields, String> {
        let selectable = Selectable::of(kind);
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let operator = part.char_indices().find_map(|(at, _)| {
                let operator = ["!=", "==", "="].into_iter().find(|operator| part[at..].starts_with(operator));
                operator.map(|operator| (at, operator))
            });
            let Some((at, operator)) = operator else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescape(&part[at + operator.len()..])?;
            if at == 0 && value.is_empty() {
                continue;
            }
            let field = selectable.known(&part[..at])?.to_owned();
            terms.push(Term { field, value, equal: operator != "!=" });
        }
        Ok(Fields { terms })
    }

    pub fn matches(&self, object: &Index) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name that every selected object has, if the selector says so: a list needs to look at no other.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == "metadata.name").map(|term| term.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c))),
            c => value.push(c),
        }
    }
    Ok(value)
}

fn value_of<'a>(object: &'a Index, field: &str) -> &'a str {
    match (object.get(field).unwrap_or_default(), field) {
        // What is not written out.
        ("", "spec.hostNetwork" | "spec.unschedulable") => "false",
        ("", "status.replicas") => "0",
        (text, _) => text,
    }
}
