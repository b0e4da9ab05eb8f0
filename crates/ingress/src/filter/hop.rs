//! Hop-by-hop fields: meant for one connection, never passed on (RFC 9110 7.6.1).

use hyper::http::HeaderMap;
use hyper::http::header::{CONNECTION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removes the hop-by-hop fields and those that `Connection` names; gives the protocol that an upgrade was asked for, if one was.
pub(crate) fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = false;
    // Nearly every request has at most one short `Connection`.
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            .collect();
        for name in listed {
            if name == UPGRADE {
                upgrade = true;
            } else if name != "close" && name != "keep-alive" && !is_ours(&name) {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    let protocol = headers.remove(UPGRADE);
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &TE, &PROXY_AUTHENTICATE, &HTTP2_SETTINGS] {
        headers.remove(name);
    }
    protocol.filter(|_| upgrade)
}

/// What framing and routing hang on cannot be named away by a client.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "host" | "content-length" | "authorization" | "cookie" | "upgrade") || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[(&'static str, &'static str)], after: &[&str], upgrade: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let protocol = strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, after);
        assert_eq!(protocol.as_ref().map(HeaderValue::as_bytes), upgrade.map(str::as_bytes));
    }

    #[test]
    fn what_is_for_one_connection_stays_on_it() {
        check(&[("connection", "close"), ("keep-alive", "5"), ("te", "trailers"), ("accept", "*/*")], &["accept"], None);
        check(&[("connection", "X-Mine , keep-alive"), ("x-mine", "1"), ("x-other", "1")], &["x-other"], None);
        check(&[("connection", "a"), ("connection", "b"), ("a", "1"), ("b", "1")], &[], None);
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        check(&[("connection", "Upgrade"), ("upgrade", "websocket")], &[], Some("websocket"));
        check(&[("upgrade", "websocket")], &[], None);
        check(&[("connection", "upgrade")], &[], None);
    }

    #[test]
    fn a_client_cannot_name_away_what_we_rely_on() {
        check(&[("connection", "host, x-forwarded-for"), ("host", "a"), ("x-forwarded-for", "b")], &["host", "x-forwarded-for"], None);
    }
}
