//! `errors`: failed queries are logged. They always are, once, where they fail; the directive and its options are taken so that
//! Corefiles work unchanged.

use crate::config::directive::{Directive, Mistakes, duration};
use crate::plugins::template::first_line;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options;

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    match directive.args.as_slice() {
        [] => {}
        [only] if only == "stdout" => {}
        _ => mistakes.add(directive.line, "`errors` takes nothing but `stdout`"),
    }
    for property in &directive.body {
        match property.name.as_str() {
            "stacktrace" => {}
            "consolidate" => consolidate(property, mistakes),
            _ => mistakes.unknown(property, "errors", &["consolidate", "stacktrace"]),
        }
    }
    Some(Options)
}

/// `DURATION REGEX [LEVEL] [show_first]`. How often what is said is the log's business.
fn consolidate(property: &Directive, mistakes: &mut Mistakes) {
    let [every, pattern, rest @ ..] = property.args.as_slice() else {
        mistakes.add(property.line, "`consolidate` takes a duration and a regular expression");
        return;
    };
    if duration(every).is_none() {
        mistakes.add(property.line, format!("`consolidate {every}`: not a duration such as 5m"));
    }
    if let Err(error) = regex::bytes::Regex::new(pattern) {
        mistakes.add(property.line, format!("`consolidate`: {}", first_line(&error)));
    }
    let rest: Vec<_> = rest.iter().map(String::as_str).collect();
    if !matches!(
        rest.as_slice(),
        [] | ["show_first"] | ["warning" | "error" | "info" | "debug"] | ["warning" | "error" | "info" | "debug", "show_first"]
    ) {
        mistakes.add(property.line, format!("`consolidate ... {}`: a level and `show_first` may stand there", rest.join(" ")));
    }
}
