//! Patterns: the regular expressions of rules, bounded, and what header and query values are compared with.

use hyper::http::HeaderMap;
use hyper::http::header::HeaderName;
use model::Text;
use model::route::ValuePattern;
use regex::bytes::{Regex, RegexBuilder};

pub(super) enum Pattern {
    Exact(Text),
    Regex(Regex),
}

/// Regular expressions that grow beyond this are refused: a rule of a tenant is compiled in the memory of all.
const REGEX_BYTES: usize = 1 << 20;

// === impl Pattern ===

impl Pattern {
    pub(super) fn compile(pattern: &ValuePattern) -> Result<Self, regex::Error> {
        match pattern {
            ValuePattern::Exact(text) => Ok(Pattern::Exact(text.clone())),
            // The whole value, as the Gateway API leaves it open and everyone does.
            ValuePattern::Regex(text) => Ok(Pattern::Regex(bounded(&format!("^(?:{text})$"), false)?)),
        }
    }

    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Pattern::Exact(text) => text.as_bytes() == value,
            Pattern::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A path of a host whose paths are regular expressions: from the start, without regard to case, open at the end (ingress-nginx).
pub(crate) fn path_regex(path: &str) -> Result<Regex, regex::Error> {
    bounded(&format!("^{path}"), true)
}

pub(super) fn bounded(pattern: &str, ignore_case: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).case_insensitive(ignore_case).unicode(false).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES).build()
}

pub(super) fn header_fits(headers: &HeaderMap, name: &HeaderName, pattern: &Pattern) -> bool {
    headers.get_all(name).iter().any(|value| pattern.fits(value.as_bytes()))
}

/// The first parameter of that name decides (Gateway API, HTTPQueryParamMatch).
pub(super) fn query_fits(query: &str, name: &str, pattern: &Pattern) -> bool {
    let mut parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    parameters.find(|(found, _)| *found == name).is_some_and(|(_, value)| pattern.fits(value.as_bytes()))
}
