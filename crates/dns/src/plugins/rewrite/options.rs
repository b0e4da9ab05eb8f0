//! What one directive says.

use super::matcher::KINDS;
use super::{Edns, Matcher};
use crate::config::directive::{Directive, Line, Mistakes};
use crate::wire::{rcode_named, type_named};

/// One rule.
#[derive(Clone, Debug)]
pub struct Options {
    /// No rule behind this one is looked at once it fits.
    pub stop: bool,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Name {
        matcher: Matcher,
        to: String,
        /** The answer's names are turned back. */
        auto: bool,
        answers: Vec<AnswerRule>,
    },
    Type(u16, u16),
    Class(u16, u16),
    Edns(Edns),
    Ttl(Matcher, Bounds),
    Rcode(Matcher, u8, u8),
    Cname(Matcher, String),
}

/// `answer name|value PATTERN TO`.
#[derive(Clone, Debug)]
pub struct AnswerRule {
    /// The names in the records' data, and not their owners.
    pub value: bool,
    pub pattern: Matcher,
    pub to: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub least: u32,
    pub most: u32,
}

const FIELDS: &[&str] = &["name", "type", "class", "edns0", "ttl", "rcode", "cname"];

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let line = directive.line;
    let mut args: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    let mut stop = true;
    if let Some(mode @ (&"continue" | &"stop")) = args.first() {
        stop = *mode == "stop";
        args.remove(0);
    }
    // A block holds one rule, whose answer lines stand below it.
    for inner in &directive.body {
        args.push(&inner.name);
        args.extend(inner.args.iter().map(String::as_str));
    }
    let Some((field, args)) = args.split_first() else {
        mistakes.add(line, format!("`rewrite` takes one of: {}", FIELDS.join(", ")));
        return None;
    };
    let what = match *field {
        "name" => name(args),
        "type" => pair(args, type_named, "a record type").map(|(from, to)| What::Type(from, to)),
        "class" => pair(args, class, "a class").map(|(from, to)| What::Class(from, to)),
        "edns0" => Edns::parse(args).map(What::Edns),
        "ttl" => ttl(args),
        "rcode" => rcode(args),
        "cname" => matched(args).and_then(|(matcher, rest)| match rest {
            [to] => Ok(What::Cname(matcher, (*to).to_owned())),
            _ => Err("`rewrite cname` takes a name and another".to_owned()),
        }),
        other => Err(format!("`rewrite {other}`: not one of {}", FIELDS.join(", "))),
    };
    Some(Options { stop, what: told(what, line, mistakes)? })
}

fn told<T>(result: Result<T, String>, line: Line, mistakes: &mut Mistakes) -> Option<T> {
    result.map_err(|message| mistakes.add(line, message)).ok()
}

/// `[KIND] FROM`, and what stands behind it.
fn matched<'a, 'b>(args: &'a [&'b str]) -> Result<(Matcher, &'a [&'b str]), String> {
    let (kind, args) = match args.split_first() {
        Some((kind, rest)) if KINDS.contains(kind) && rest.len() > 1 => (*kind, rest),
        _ => ("exact", args),
    };
    let (from, rest) = args.split_first().ok_or_else(|| "a name is missing".to_owned())?;
    let matcher = Matcher::parse(kind, from).map_err(|error| format!("`{kind} {from}`: {error}"))?;
    Ok((matcher, rest))
}

fn name(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args)?;
    let Some((to, mut rest)) = rest.split_first() else { return Err("`rewrite name` takes a name and another".to_owned()) };
    // Whoever asks for one name and is answered about another takes it for a forgery: an exact rule is turned back in any case.
    let mut auto = matches!(matcher, Matcher::Exact(_));
    let mut answers = Vec::new();
    while !rest.is_empty() {
        rest = match rest {
            ["answer", "auto", rest @ ..] => {
                auto = true;
                rest
            }
            ["answer", kind @ ("name" | "value"), from, to, rest @ ..] => {
                answers.push(answer(*kind == "value", from, to)?);
                rest
            }
            ["answer", from, to, rest @ ..] => {
                answers.push(answer(false, from, to)?);
                rest
            }
            [other, ..] => return Err(format!("`{other}`: expected `answer auto`, `answer name FROM TO` or `answer value FROM TO`")),
            [] => rest,
        };
    }
    Ok(What::Name { matcher, to: to.to_ascii_lowercase(), auto, answers })
}

fn answer(value: bool, from: &str, to: &str) -> Result<AnswerRule, String> {
    let pattern = Matcher::parse("regex", from).map_err(|error| format!("`answer {from}`: {error}"))?;
    Ok(AnswerRule { value, pattern, to: to.to_owned() })
}

fn pair<T>(args: &[&str], read: fn(&str) -> Option<T>, what: &str) -> Result<(T, T), String> {
    let [from, to] = args else { return Err(format!("takes {what} and another")) };
    let one = |text: &str| read(text).ok_or_else(|| format!("`{text}` is not {what}"));
    Ok((one(from)?, one(to)?))
}

fn class(text: &str) -> Option<u16> {
    [("IN", 1), ("CH", 3), ("HS", 4), ("ANY", 255)].iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, class)| *class)
}

/// `[KIND] NAME SECONDS|MIN-MAX`, either end of which may be left out.
fn ttl(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args)?;
    let [text] = rest else { return Err("`rewrite ttl` takes a name and seconds, or a range of them".to_owned()) };
    let end = |text: &str, open| if text.is_empty() { Some(open) } else { text.parse().ok() };
    let bounds = match text.split_once('-') {
        None => text.parse().ok().map(|secs| Bounds { least: secs, most: secs }),
        Some(("", "")) => None,
        Some((least, most)) => end(least, 0).zip(end(most, u32::MAX)).map(|(least, most)| Bounds { least, most }),
    };
    let bounds = bounds.filter(|bounds| bounds.least <= bounds.most);
    Ok(What::Ttl(matcher, bounds.ok_or_else(|| format!("`{text}`: neither seconds nor a range such as 30-300"))?))
}

fn rcode(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args)?;
    let (from, to) = pair(rest, |text| rcode_named(text).or_else(|| text.parse().ok().filter(|code| *code < 24)), "a return code")?;
    Ok(What::Rcode(matcher, from, to))
}
