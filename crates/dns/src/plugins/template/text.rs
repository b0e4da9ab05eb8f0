//! The text of a record with placeholders in it.

use super::Found;
use crate::wire::{Class, Type};

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
    /// A group as a number of that base, written as a decimal one.
    Number(Box<Piece>, u32),
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
        self.0.iter().map(|piece| piece.fill(found)).collect()
    }
}

impl Piece {
    fn fill(&self, found: &Found<'_>) -> Option<String> {
        let group = |group: Option<regex::bytes::Match<'_>>| {
            group.map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or("")).to_owned()
        };
        Some(match self {
            Piece::Plain(text) => text.clone(),
            Piece::Name | Piece::Match(0) => found.name.to_owned(),
            Piece::Zone => found.zone.to_string(),
            Piece::Class => Class(found.qclass).to_string(),
            Piece::Type => Type(found.qtype).to_string(),
            Piece::Remote => found.request.client.ip().to_canonical().to_string(),
            Piece::Group(name) => group(found.groups.as_ref()?.name(name)),
            Piece::Match(at) => group(found.groups.as_ref()?.get(*at)),
            Piece::Number(piece, base) => u64::from_str_radix(&piece.fill(found)?, *base).ok()?.to_string(),
        })
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
        ["index", ".Group", name] => group(name.strip_prefix(['"', '`'])?.strip_suffix(['"', '`'])?),
        ["parseInt", field, base, _bits] => {
            Piece::Number(Box::new(placeholder(field)?), base.parse().ok().filter(|base| (2..=36).contains(base))?)
        }
        [field] => group(field.strip_prefix(".Group.")?),
        _ => return None,
    })
}

/// A group by its name, or by its number.
fn group(name: &str) -> Piece {
    name.parse().map_or_else(|_| Piece::Group(name.to_owned()), Piece::Match)
}
