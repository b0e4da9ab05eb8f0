//! The text of a record with placeholders in it.

use super::Found;
use crate::wire::{CLASS_IN, type_name};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Name,
    Zone,
    Class,
    Type,
    Remote,
    Group(String),
    Match(usize),
}

impl Text {
    /// Reads `{{ .Name }}` and its like; says which placeholder is unknown.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((plain, after)) = rest.split_once("{{") {
            let Some((inside, after)) = after.split_once("}}") else {
                return Err(format!("`{text}`: a `{{{{` is never closed"));
            };
            pieces.push(Piece::Plain(plain.to_owned()));
            pieces.push(placeholder(inside.trim_matches('-').trim()).ok_or_else(|| {
                format!("`{{{{{inside}}}}}`: a template has .Name, .Zone, .Class, .Type, .Remote, .Group.NAME and `index .Match N`")
            })?);
            rest = after;
        }
        pieces.push(Piece::Plain(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The record's text; `None` where a group that it names is not there.
    pub(crate) fn fill(&self, found: &Found<'_>) -> Option<String> {
        let mut out = String::new();
        let group = |group: Option<regex::bytes::Match<'_>>| {
            group.map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or("")).to_owned()
        };
        for piece in &self.0 {
            out += &match piece {
                Piece::Plain(text) => text.clone(),
                Piece::Name => found.name.to_owned(),
                Piece::Zone => found.zone.to_string(),
                Piece::Class => if found.request.question.qclass == CLASS_IN { "IN" } else { "CH" }.to_owned(),
                Piece::Type => type_name(found.request.question.qtype).to_owned(),
                Piece::Remote => found.request.client.ip().to_canonical().to_string(),
                Piece::Group(name) => group(found.groups.as_ref()?.name(name)),
                Piece::Match(0) => found.name.to_owned(),
                Piece::Match(at) => group(found.groups.as_ref()?.get(*at)),
            };
        }
        Some(out)
    }
}

fn placeholder(inside: &str) -> Option<Piece> {
    let words: Vec<&str> = inside.split_whitespace().collect();
    Some(match words.as_slice() {
        [".Name"] => Piece::Name,
        [".Zone"] => Piece::Zone,
        [".Class"] => Piece::Class,
        [".Type"] => Piece::Type,
        [".Remote"] => Piece::Remote,
        ["index", ".Match", at] => Piece::Match(at.parse().ok()?),
        ["index", ".Group", name] => Piece::Group(name.strip_prefix(['"', '`'])?.strip_suffix(['"', '`'])?.to_owned()),
        [field] => Piece::Group(field.strip_prefix(".Group.")?.to_owned()),
        _ => return None,
    })
}
