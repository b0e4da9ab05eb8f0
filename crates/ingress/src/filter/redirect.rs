//! Redirects that the proxy answers by itself.

/// Where plain HTTP is sent to: the same on HTTPS, without a trailing slash, as ingress-nginx does unless told to preserve it.
///
/// Source: ingress-nginx's `lua_ingress.lua` (`rewrite`).
pub(crate) fn to_https(host: &str, target: &str) -> String {
    format!("https://{host}{}", target.strip_suffix('/').unwrap_or(target))
}

/// The challenges of ACME are answered on plain HTTP (`no-tls-redirect-locations`, RFC 8555 8.3).
pub(crate) fn is_exempt(path: &[u8]) -> bool {
    path.starts_with(b"/.well-known/acme-challenge")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirect_keeps_path_and_query() {
        assert_eq!(to_https("a.example", "/foo?x=/"), "https://a.example/foo?x=");
        assert_eq!(to_https("a.example", "/foo/bar"), "https://a.example/foo/bar");
        assert_eq!(to_https("a.example", "/"), "https://a.example");
    }
}
