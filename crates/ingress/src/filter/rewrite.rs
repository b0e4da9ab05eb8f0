//! `rewrite-target`: a new path made from what the rule's regular expression matched.

use std::borrow::Cow;
use std::fmt::Write as _;

use regex::bytes::Regex;

pub(crate) struct Rewrite {
    regex: Regex,
    target: Vec<Part>,
    /// The target begins with a scheme: the client is sent there (302) and nothing goes upstream.
    pub redirects: bool,
}

enum Part {
    Text(String),
    Group(usize),
}

// === impl Rewrite ===

impl Rewrite {
    pub(crate) fn new(regex: Regex, target: &str) -> Self {
        let redirects = ["http://", "https://", "$scheme"].iter().any(|scheme| target.starts_with(scheme));
        Self { regex, target: parts(target), redirects }
    }

    /// The new path and query. The whole path is replaced, not only what matched; the query is added to one that the target has.
    /// `None` if the path does not match, which the match before has ruled out.
    ///
    /// Source: nginx, `rewrite` with the flag `break` (ngx_http_script_regex_end_code).
    pub(crate) fn apply(&self, path: &[u8], query: Option<&str>) -> Option<String> {
        let groups = self.regex.captures(path)?;
        let mut out = String::with_capacity(path.len() + 16);
        for part in &self.target {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(n) => out.push_str(&escape(groups.get(*n).map_or(b"", |group| group.as_bytes()))),
            }
        }
        if let Some(query) = query {
            match out.find('?') {
                None => out.push('?'),
                Some(at) if at + 1 == out.len() => {}
                Some(_) => out.push('&'),
            }
            out.push_str(query);
        }
        if !self.redirects && !out.starts_with('/') {
            out.insert(0, '/');
        }
        Some(out)
    }
}

/// `$1`..`$9` and `${1}`; any other `$` is text.
fn parts(target: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = target;
    while let Some(at) = rest.find('$') {
        let (before, found) = rest.split_at(at);
        text.push_str(before);
        let (group, length) = match found.as_bytes() {
            [b'$', digit @ b'1'..=b'9', ..] => (Some(digit - b'0'), 2),
            [b'$', b'{', digit @ b'1'..=b'9', b'}', ..] => (Some(digit - b'0'), 4),
            _ => (None, 1),
        };
        match group {
            Some(group) => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group.into()));
            }
            None => text.push('$'),
        }
        rest = &found[length..];
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    parts
}

/// Makes decoded bytes fit for a request line again.
fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let fine = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'"' | b'<' | b'>' | b'`');
    if bytes.iter().all(fine) {
        // ASCII by the test above.
        return String::from_utf8_lossy(bytes);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for byte in bytes {
        if fine(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &str, target: &str, request: &str, expected: &str) {
        let (path, query) = request.split_once('?').map_or((request, None), |(path, query)| (path, Some(query)));
        let regex = crate::table::pattern::path_regex(rule).expect("a regular expression");
        let rewritten = Rewrite::new(regex, target).apply(path.as_bytes(), query);
        assert_eq!(rewritten.as_deref(), Some(expected), "{rule} -> {target}: {request}");
    }

    #[test]
    fn the_whole_path_becomes_the_target() {
        check("/something(/|$)(.*)", "/$2", "/something/new", "/new");
        check("/something(/|$)(.*)", "/$2", "/something", "/");
        check("/something(/|$)(.*)", "/$2", "/SOMETHING/new", "/new");
        check("/foo", "/bar", "/foo/baz", "/bar");
        check("/foo(.*)", "/bar${1}x", "/foo/baz", "/bar/bazx");
    }

    #[test]
    fn the_query_stays() {
        check("/foo", "/bar", "/foo?a=1", "/bar?a=1");
        check("/foo", "/bar?b=2", "/foo?a=1", "/bar?b=2&a=1");
        check("/foo", "/bar?", "/foo?a=1", "/bar?a=1");
    }

    #[test]
    fn what_a_group_caught_is_escaped_again() {
        check("/foo/(.*)", "/$1", "/foo/a b%\r\"ä", "/a%20b%25%0D%22%C3%A4");
    }

    #[test]
    fn a_target_with_a_scheme_redirects() {
        let regex = crate::table::pattern::path_regex("/foo").expect("a regular expression");
        assert!(Rewrite::new(regex, "https://elsewhere.example/").redirects);
        check("/foo/(.*)", "https://elsewhere.example/$1", "/foo/x", "https://elsewhere.example/x");
    }
}
