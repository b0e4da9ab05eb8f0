//! What one directive says.

use super::matcher::{KINDS, absolute};
use super::{Edns, Matcher};
use crate::config::directive::{Directive, Line, Mistakes};
use crate::plugins::metadata::is_label;
use crate::wire::{class_named, rcode_named, type_named};

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
        to: To,
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

/// What a name becomes.
#[derive(Clone, Debug)]
pub enum To {
    /// Absolute; of a pattern's with its groups as `{1}`.
    Text(String),
    /// Behind `metadata`: groups of the pattern, and what is known of the question.
    Known(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Group(usize),
    Label(String),
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
    if let Some(mode @ ("continue" | "stop")) = args.first().map(|mode| mode.to_ascii_lowercase()).as_deref() {
        stop = mode == "stop";
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
    let what = match field.to_ascii_lowercase().as_str() {
        "name" => name(args),
        "type" => pair(args, type_named, "a record type").map(|(from, to)| What::Type(from, to)),
        "class" => pair(args, class_named, "a class").map(|(from, to)| What::Class(from, to)),
        "edns0" => Edns::parse(args).map(What::Edns),
        "ttl" => ttl(args),
        "rcode" => rcode(args),
        "cname" => cname(args),
        other => Err(format!("`rewrite {other}`: not one of {}", FIELDS.join(", "))),
    };
    Some(Options { stop, what: told(what, line, mistakes)? })
}

fn told<T>(result: Result<T, String>, line: Line, mistakes: &mut Mistakes) -> Option<T> {
    result.map_err(|message| mistakes.add(line, message)).ok()
}

/// `[KIND] FROM` in front of `n_behind` more words; the kind has to be said where still more stand behind those.
fn matched<'a, 'b>(args: &'a [&'b str], n_behind: usize) -> Result<(Matcher, &'a [&'b str]), String> {
    let (kind, args) = match args {
        [kind, rest @ ..] if rest.len() > n_behind => (kind.to_ascii_lowercase(), rest),
        _ => ("exact".to_owned(), args),
    };
    if !KINDS.contains(&kind.as_str()) {
        return Err(format!("`{kind}`: not one of {}", KINDS.join(", ")));
    }
    let (from, rest) = args.split_first().ok_or_else(|| "a name is missing".to_owned())?;
    let matcher = Matcher::parse(&kind, from).map_err(|error| format!("`{kind} {from}`: {error}"))?;
    Ok((matcher, rest))
}

fn name(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args, 1)?;
    let Some((to, rest)) = rest.split_first() else { return Err("`rewrite name` takes a name and another".to_owned()) };
    let (to, rest) = match (rest, &matcher) {
        ([word, rest @ ..], Matcher::Regex(pattern)) if *word == "metadata" => (To::Known(parts(to, pattern.captures_len())?), rest),
        ([word, ..], _) if *word == "metadata" => return Err("`metadata` stands behind a regex and what replaces it alone".to_owned()),
        _ => (To::Text(replacement(&matcher, to)?), rest),
    };
    // Whoever asks for one name and is answered about another takes it for a forgery: an exact rule is turned back in any case.
    let exact = matches!(matcher, Matcher::Exact(_));
    let (auto, answers) = answer_rules(rest)?;
    if auto && answers.iter().any(|rule| !rule.value) {
        return Err("`answer auto` and `answer name` exclude each other".to_owned());
    }
    Ok(What::Name { matcher, to, auto: auto || exact, answers })
}

/// Reads a replacement with `{1}` and `{plugin/label}` in it; the pattern has so many groups, the whole match included.
fn parts(to: &str, n_groups: usize) -> Result<Vec<Part>, String> {
    let to = if to.ends_with('.') { to.to_owned() } else { format!("{to}.") };
    let wrong = |why: &str| Err(format!("`{to}`: {why}"));
    let (mut parts, mut rest) = (Vec::new(), to.as_str());
    while !rest.is_empty() {
        let (text, behind) = rest.split_once('{').map_or((rest, None), |(text, behind)| (text, Some(behind)));
        if text.contains('}') {
            return wrong("a `}` closes nothing");
        }
        parts.push(Part::Text(text.to_ascii_lowercase()));
        let Some(behind) = behind else { break };
        let Some((inside, behind)) = behind.split_once('}') else { return wrong("a `{` is never closed") };
        parts.push(match inside.parse() {
            Ok(group) if group < n_groups => Part::Group(group),
            Ok(_) => return wrong("there are more groups than in the pattern"),
            Err(_) if is_label(inside) && !inside.contains('{') => Part::Label(inside.to_owned()),
            Err(_) => return Err(format!("`{{{inside}}}`: neither a group nor a label of `metadata` such as kubernetes/client-namespace")),
        });
        rest = behind;
    }
    Ok(parts)
}

/// `answer auto`, `answer name FROM TO`, `answer value FROM TO`, the word `answer` once at least.
fn answer_rules(args: &[&str]) -> Result<(bool, Vec<AnswerRule>), String> {
    let (mut auto, mut rules) = (false, Vec::new());
    let mut rest = args;
    while let Some((first, behind)) = rest.split_first() {
        // Behind the first rule `answer` may be left out.
        let kinds = if *first == "answer" { behind } else { rest };
        rest = match kinds {
            [other, ..] if kinds.len() == rest.len() && rest.len() == args.len() => return Err(expected(other)),
            ["auto", rest @ ..] => {
                auto = true;
                rest
            }
            [kind @ ("name" | "value"), from, to, rest @ ..] => {
                let pattern = Matcher::parse("regex", from).map_err(|error| format!("`answer {from}`: {error}"))?;
                rules.push(AnswerRule { value: *kind == "value", to: replacement(&pattern, to)?, pattern });
                rest
            }
            [other, ..] => return Err(expected(other)),
            [] => return Err(expected("answer")),
        };
    }
    Ok((auto, rules))
}

fn expected(other: &str) -> String {
    format!("`{other}`: expected `answer auto`, `answer name FROM TO` or `answer value FROM TO`")
}

/// What replaces a match, absolute.
fn replacement(matcher: &Matcher, to: &str) -> Result<String, String> {
    if matcher.has_groups_of(to) { Ok(absolute(to)) } else { Err(format!("`{to}` has more groups than the pattern")) }
}

fn cname(args: &[&str]) -> Result<What, String> {
    let (kind, from, to) = match args {
        [from, to] => ("exact", from, to),
        [kind, from, to] => (*kind, from, to),
        _ => return Err("`rewrite cname` takes a name and another".to_owned()),
    };
    // Only whole names are made absolute here (CoreDNS's rule): the rest of a name has no dot to end with.
    let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
    let matcher = match kind.to_ascii_lowercase().as_str() {
        "prefix" => Matcher::Prefix(from),
        "suffix" => Matcher::Suffix(from),
        "substring" => Matcher::Substring(from),
        kind @ ("exact" | "regex") => Matcher::parse(kind, &from).map_err(|error| format!("`{kind} {from}`: {error}"))?,
        other => return Err(format!("`{other}`: not one of {}", KINDS.join(", "))),
    };
    let to = if matches!(matcher, Matcher::Exact(_)) { absolute(&to) } else { to };
    Ok(What::Cname(matcher, to))
}

fn pair<T>(args: &[&str], read: fn(&str) -> Option<T>, what: &str) -> Result<(T, T), String> {
    let [from, to] = args else { return Err(format!("takes {what} and another")) };
    let one = |text: &str| read(text).ok_or_else(|| format!("`{text}` is not {what}"));
    Ok((one(from)?, one(to)?))
}

/// RFC 2181 section 8.
const MAX_TTL: u32 = i32::MAX as u32;

/// `[KIND] NAME SECONDS|MIN-MAX`, either end of which may be left out.
fn ttl(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args, 1)?;
    let [text] = rest else { return Err("`rewrite ttl` takes a name and seconds, or a range of them".to_owned()) };
    let end = |text: &str, open| if text.is_empty() { Some(open) } else { text.parse().ok() };
    let bounds = match text.split_once('-') {
        None => text.parse().ok().map(|secs| Bounds { least: secs, most: secs }),
        Some(("", "")) => None,
        Some((least, most)) => end(least, 0).zip(end(most, MAX_TTL)).map(|(least, most)| Bounds { least, most }),
    };
    let bounds = bounds.filter(|bounds| bounds.least <= bounds.most);
    Ok(What::Ttl(matcher, bounds.ok_or_else(|| format!("`{text}`: neither seconds nor a range such as 30-300"))?))
}

fn rcode(args: &[&str]) -> Result<What, String> {
    let (matcher, rest) = matched(args, 2)?;
    let (from, to) = pair(rest, |text| rcode_named(text).or_else(|| text.parse().ok().filter(|code| *code < 24)), "a return code")?;
    Ok(What::Rcode(matcher, from, to))
}
