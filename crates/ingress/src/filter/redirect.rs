//! Redirects that the proxy answers by itself.

/// Where plain HTTP is sent to: the same on HTTPS, without a trailing slash unless told to preserve it (ingress-nginx).
///
/// Source: ingress-nginx's `lua_ingress.lua` (`rewrite`).
pub(crate) fn to_https(host: &str, target: &str, preserve_slash: bool) -> String {
    let target = if preserve_slash { target } else { target.strip_suffix('/').unwrap_or(target) };
    format!("https://{host}{target}")
}

/// The same on another name, the port spelt out and a lone slash left out, as ingress-nginx writes it (`from-to-www-redirect`).
pub(crate) fn to_name(name: &str, scheme: &str, port: u16, target: &str) -> String {
    format!("{scheme}://{name}:{port}{}", if target == "/" { "" } else { target })
}

/// A place on this host, completed with scheme and host as nginx does (`absolute_redirect on`); any other stays as it is.
pub(crate) fn absolute(to: String, scheme: &str, http_host: &str) -> String {
    if to.starts_with('/') && !to.starts_with("//") { format!("{scheme}://{http_host}{to}") } else { to }
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
        assert_eq!(to_https("a.example", "/foo?x=/", false), "https://a.example/foo?x=");
        assert_eq!(to_https("a.example", "/foo/bar", false), "https://a.example/foo/bar");
        assert_eq!(to_https("a.example", "/", false), "https://a.example");
        assert_eq!(to_https("a.example", "/", true), "https://a.example/");
    }

    #[test]
    fn a_path_is_completed() {
        assert_eq!(absolute("/foo".to_owned(), "http", "a.example:8080"), "http://a.example:8080/foo");
        assert_eq!(absolute("https://b/".to_owned(), "http", "a"), "https://b/");
    }
}
