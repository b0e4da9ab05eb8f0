//! Canaries: which of a route's requests go to the other backend.

use std::sync::Arc;

use hyper::http::HeaderMap;
use hyper::http::header::HeaderName;
use model::Text;
use model::options::{self, CanaryHeader, CanaryValue};
use regex::bytes::Regex;

use super::pattern::bounded;
use crate::filter::variables::cookie;
use crate::upstream::Upstream;

pub(crate) struct Canary {
    pub upstream: Arc<Upstream>,
    header: Option<(HeaderName, Value)>,
    cookie: Option<Text>,
    weight: u32,
    weight_total: u32,
    pub legacy_affinity: bool,
}

enum Value {
    AlwaysOrNever,
    Exact(Text),
    Regex(Regex),
    /// A regular expression that does not compile: whoever sends the header stays on the mainline.
    Never,
}

// === impl Canary ===

impl Canary {
    pub(super) fn new(terms: &options::Canary, upstream: Arc<Upstream>) -> Self {
        let header = |CanaryHeader { name, value }: &CanaryHeader| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, Value::new(value)));
        Self {
            upstream,
            header: terms.header.as_ref().and_then(header),
            cookie: terms.cookie.clone(),
            weight: terms.weight,
            weight_total: terms.weight_total.max(100),
            legacy_affinity: terms.legacy_affinity,
        }
    }

    /// Whether the request goes to the canary: by its header, else by its cookie, else by lot.
    ///
    /// Source: ingress-nginx's `balancer.lua` (`route_to_alternative_balancer`).
    pub(crate) fn takes(&self, headers: &HeaderMap, random: impl FnOnce() -> u64) -> bool {
        let by_header = self.header.as_ref().and_then(|(name, value)| value.says(headers.get(name)?.as_bytes()));
        let by_cookie = || always_or_never(cookie(headers, self.cookie.as_deref()?)?.as_bytes());
        by_header.or_else(by_cookie).unwrap_or_else(|| self.weight > 0 && random() % u64::from(self.weight_total) < u64::from(self.weight))
    }
}

// === impl Value ===

impl Value {
    fn new(value: &CanaryValue) -> Self {
        match value {
            CanaryValue::AlwaysOrNever => Value::AlwaysOrNever,
            CanaryValue::Exact(text) => Value::Exact(text.clone()),
            CanaryValue::Regex(pattern) => bounded(pattern, false).map_or(Value::Never, Value::Regex),
        }
    }

    /// `None`: no answer, the cookie is asked next.
    fn says(&self, value: &[u8]) -> Option<bool> {
        match self {
            Value::AlwaysOrNever => always_or_never(value),
            Value::Exact(text) => (text.as_bytes() == value).then_some(true),
            Value::Regex(regex) => regex.is_match(value).then_some(true),
            Value::Never => Some(false),
        }
    }
}

fn always_or_never(value: &[u8]) -> Option<bool> {
    match value {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::http::HeaderValue;
    use hyper::http::header::COOKIE;

    use super::*;

    fn check(value: Option<CanaryValue>, weight: u32, header: Option<&'static str>, cookie: Option<&'static str>, expected: bool) {
        let terms = options::Canary {
            header: value.clone().map(|value| CanaryHeader { name: "X-Canary".into(), value }),
            cookie: Some("canary".into()),
            weight,
            weight_total: 100,
            legacy_affinity: false,
        };
        let canary = Canary::new(&terms, Arc::new(Upstream::new(Arc::new(model::route::Upstream::Absent))));
        let mut headers = HeaderMap::new();
        header.map(|value| headers.insert("x-canary", HeaderValue::from_static(value)));
        cookie.map(|value| headers.insert(COOKIE, HeaderValue::from_static(value)));
        assert_eq!(canary.takes(&headers, || 49), expected, "{value:?} {weight} {header:?} {cookie:?}");
    }

    #[test]
    fn header_comes_before_cookie_and_cookie_before_weight() {
        use CanaryValue::{AlwaysOrNever, Exact, Regex};
        let exact = || Some(Exact("yes".into()));
        let regex = |pattern: &str| Some(Regex(pattern.into()));
        check(None, 0, None, None, false);
        check(None, 49, None, None, false);
        check(None, 50, None, None, true);
        check(None, 0, None, Some("canary=always"), true);
        check(None, 100, None, Some("canary=never"), false);
        check(None, 100, None, Some("canary=else"), true);
        check(Some(AlwaysOrNever), 0, Some("always"), Some("canary=never"), true);
        check(Some(AlwaysOrNever), 100, Some("never"), Some("canary=always"), false);
        check(Some(AlwaysOrNever), 0, Some("else"), Some("canary=always"), true);
        check(exact(), 0, Some("yes"), None, true);
        check(exact(), 0, Some("always"), None, false);
        check(exact(), 0, Some("no"), Some("canary=always"), true);
        check(regex("^y.s$"), 0, Some("yes"), None, true);
        check(regex("^y.s$"), 0, Some("yess"), None, false);
        check(regex("[][**da?$&*"), 100, Some("yes"), Some("canary=always"), false);
    }
}
