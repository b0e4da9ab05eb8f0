//! Session affinity: a cookie of ours that leads a client back to its endpoint.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::http::HeaderMap;
use hyper::http::header::HeaderValue;
use model::options::SessionCookie;

use crate::filter::variables::cookie;

/// The endpoint's token that the client brings, if it brings one of ours.
pub(super) fn brought(options: &SessionCookie, headers: &HeaderMap) -> Option<u64> {
    let value = cookie(headers, &options.name)?;
    (value.len() == 16).then(|| u64::from_str_radix(value, 16).ok())?
}

/// The cookie for this endpoint's token. `path` is the rule's.
///
/// Source: ingress-nginx's `sticky.lua` and `lua-resty-cookie`, whose order of attributes this keeps.
pub(super) fn set_cookie(options: &SessionCookie, token: u64, path: &str, is_https: bool, now: SystemTime) -> Option<HeaderValue> {
    let mut text = format!("{}={token:016x}", options.name);
    // Writing to a String cannot fail.
    if let Some(expires) = options.expires {
        let _ = write!(text, "; Expires={}", HttpDate(now + expires));
    }
    if let Some(max_age) = options.max_age {
        let _ = write!(text, "; Max-Age={}", max_age.as_secs());
    }
    if let Some(domain) = &options.domain {
        let _ = write!(text, "; Domain={domain}");
    }
    let _ = write!(text, "; Path={}", options.path.as_deref().unwrap_or(path));
    if options.secure.unwrap_or(is_https) {
        text.push_str("; Secure");
    }
    text.push_str("; HttpOnly");
    if let Some(same_site) = &options.same_site {
        let _ = write!(text, "; SameSite={same_site}");
    }
    HeaderValue::from_str(&text).ok()
}

/// `Thu, 01-Jan-26 ..` is what nginx writes; browsers want RFC 9110's form, which differs only in the dashes.
struct HttpDate(SystemTime);

impl std::fmt::Display for HttpDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 86_400;
        // The first day of 1970 was a Thursday.
        let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
        let common = runtime::time::CommonLog(self.0).to_string();
        // 24/Nov/2026:18:14:20 +0000
        let (date, time) = common.split_once(':').unwrap_or((&common, ""));
        let time = time.split(' ').next().unwrap_or("");
        write!(f, "{weekday}, {} {time} GMT", date.replace('/', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &SessionCookie, is_https: bool, expected: &str) {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_544_060);
        let cookie = set_cookie(options, 0xAB, "/foo", is_https, now).expect("a value");
        assert_eq!(cookie.to_str().expect("text"), expected);
    }

    #[test]
    fn a_cookie_says_what_the_options_ask_for() {
        check(&SessionCookie::default(), false, "INGRESSCOOKIE=00000000000000ab; Path=/foo; HttpOnly");
        check(&SessionCookie::default(), true, "INGRESSCOOKIE=00000000000000ab; Path=/foo; Secure; HttpOnly");
        let all = SessionCookie {
            path: Some("/".into()),
            expires: Some(Duration::from_secs(86_400)),
            max_age: Some(Duration::from_secs(86_400)),
            domain: Some("a.example".into()),
            same_site: Some("Lax".into()),
            secure: Some(true),
            ..SessionCookie::default()
        };
        check(
            &all,
            false,
            "INGRESSCOOKIE=00000000000000ab; Expires=Wed, 25 Nov 2026 18:14:20 GMT; Max-Age=86400; Domain=a.example; Path=/; Secure; HttpOnly; SameSite=Lax",
        );
    }

    #[test]
    fn only_a_value_of_ours_is_taken() {
        for (value, expected) in
            [("I=00000000000000ab", Some(0xAB)), ("I=ab", None), ("I=zz000000000000ab", None), ("J=00000000000000ab", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_static(value));
            assert_eq!(brought(&SessionCookie { name: "I".into(), ..SessionCookie::default() }, &headers), expected, "{value}");
        }
    }
}
