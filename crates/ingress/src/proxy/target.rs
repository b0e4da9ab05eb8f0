//! What a request asks for: the host by which it is routed and the path. Refuses what could be read in two ways.

use std::borrow::Cow;

use hyper::body::Incoming;
use hyper::http::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::http::{Method, Request, StatusCode, Uri, Version};

use crate::table::path;

pub(super) struct Target {
    /// The host as the client wrote it, for the upstream.
    pub host: HeaderValue,
    /// Lower case, without port and final dot: what rules are compared with.
    pub name: String,
    /// Normalised: what rules are compared with.
    pub path: Vec<u8>,
}

// === impl Target ===

impl Target {
    /// # Errors
    /// 400: no host, two hosts, a host that is none, or a path that is none. 405: CONNECT and TRACE, which no proxy for servers
    /// should do (as nginx).
    pub(super) fn of(request: &Request<Incoming>) -> Result<Self, StatusCode> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let host = host(request).ok_or(StatusCode::BAD_REQUEST)?;
        let name = host.to_str().ok().and_then(name).ok_or(StatusCode::BAD_REQUEST)?;
        let path = path::normalise(request.uri().path()).map(Cow::into_owned).ok_or(StatusCode::BAD_REQUEST)?;
        Ok(Self { host, name, path })
    }

    pub(super) fn http_host(&self) -> &str {
        // A name was read from it: it is text.
        self.host.to_str().unwrap_or(&self.name)
    }

    /// Path and query as they came.
    pub(super) fn path_and_query<'a>(&self, request: &'a Request<Incoming>) -> &'a str {
        request.uri().path_and_query().map_or("/", PathAndQuery::as_str)
    }
}

/// An absolute target's authority stands above `Host` (RFC 9112 3.2.2); HTTP/1.0 may have neither.
fn host(request: &Request<Incoming>) -> Option<HeaderValue> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return None;
    }
    match (request.uri().authority(), first) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).ok(),
        (None, Some(host)) => Some(host.clone()),
        // What nginx's server without a name is called.
        (None, None) if request.version() == Version::HTTP_10 => Some(HeaderValue::from_static("_")),
        (None, None) => None,
    }
}

/// The name of `NAME`, `NAME:PORT`, `[IPV6]:PORT`.
fn name(host: &str) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fine = match inner {
        Some(v6) => v6.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%')),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
    };
    if name.is_empty() || !fine || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// The target in origin form, as an upstream gets it.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri.clone();
    }
    uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_without_its_port_in_lower_case() {
        let rows = [
            ("a.example", Some("a.example")),
            ("A.Example:8080", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a.example.:80", Some("a.example")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a_b", Some("a_b")),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a/b", None),
            ("user@a", None),
            ("a:80x", None),
            ("a:80:90", None),
            ("::1", None),
        ];
        for (host, expected) in rows {
            assert_eq!(name(host).as_deref(), expected, "{host}");
        }
    }
}
