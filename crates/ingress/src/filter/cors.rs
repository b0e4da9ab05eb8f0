//! CORS: answers of the proxy to browsers that ask from another origin (`enable-cors`).

use hyper::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN,
};
use hyper::http::{HeaderMap, Method};
use model::Text;
use model::options::{self, CorsOrigins};

/// The options made into header values; one that cannot be a value is left out.
pub(crate) struct Cors {
    origins: CorsOrigins,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

/// The origin that an answer allows.
pub(crate) struct Allowed(HeaderValue);

// === impl Cors ===

impl Cors {
    pub(crate) fn new(cors: &options::Cors) -> Self {
        let value = |text: &Text| HeaderValue::from_str(text).ok();
        Self {
            origins: cors.origins.clone(),
            methods: value(&cors.methods),
            headers: value(&cors.headers),
            expose_headers: cors.expose_headers.as_ref().and_then(value),
            credentials: cors.credentials,
            max_age: HeaderValue::from(cors.max_age_secs),
        }
    }

    /// What to tell the client, if its origin is among those that are allowed.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> Option<Allowed> {
        match &self.origins {
            CorsOrigins::Any => Some(Allowed(HeaderValue::from_static("*"))),
            CorsOrigins::Of(origins) => {
                let origin = headers.get(ORIGIN)?;
                let text = origin.to_str().ok()?;
                origins.iter().any(|allowed| fits(allowed, text)).then(|| Allowed(origin.clone()))
            }
        }
    }

    /// Whether the proxy answers by itself (204): a preflight from an origin that is allowed. Others' go to the upstream.
    pub(crate) fn is_preflight(method: &Method, allowed: Option<&Allowed>) -> bool {
        method == Method::OPTIONS && allowed.is_some()
    }

    /// Adds the fields to an answer, in place of the upstream's own.
    pub(crate) fn tell(&self, answer: &mut HeaderMap, allowed: Allowed) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.0);
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose_headers),
        ] {
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
    }
}

/// Letter for letter without regard to case; `*.` stands for exactly one label.
///
/// Source: ingress-nginx's `buildCorsOriginRegex`.
fn fits(allowed: &str, origin: &str) -> bool {
    let Some((before, behind)) = allowed.split_once("*.") else { return allowed.eq_ignore_ascii_case(origin) };
    let (Some(head), Some(rest)) = (origin.get(..before.len()), origin.get(before.len()..)) else { return false };
    let Some((label, suffix)) = rest.split_once('.') else { return false };
    let is_label = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    head.eq_ignore_ascii_case(before) && is_label && suffix.eq_ignore_ascii_case(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let rows = [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.example", true),
            ("https://a.example", "https://axexample", false),
            ("https://a.example", "https://a.example:8080", false),
            ("http://*.a.example:8080", "http://x.a.example:8080", true),
            ("http://*.a.example:8080", "http://x.a.example", false),
            ("http://*.a.example:8080", "http://a.example:8080", false),
            ("http://*.a.example:8080", "http://y.x.a.example:8080", false),
            ("http://*.a.example", "http://evil/.a.example", false),
            ("http://*.a.example", "https://x.a.example", false),
            ("http://*.a.example", "ä", false),
        ];
        for (allowed, origin, expected) in rows {
            assert_eq!(fits(allowed, origin), expected, "{allowed}: {origin}");
        }
    }
}
