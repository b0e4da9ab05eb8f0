//! nginx's variables in the texts of annotations, filled in for one request.

use std::fmt::Write as _;
use std::net::IpAddr;

use hyper::http::header::COOKIE;
use hyper::http::{HeaderMap, Uri};
use model::options::{Template, TemplatePart, Variable};

/// What a request can be asked for.
pub(crate) struct Values<'a> {
    /// Lower case, without port.
    pub host: &'a str,
    /// As the client wrote it.
    pub http_host: &'a str,
    /// Normalised.
    pub path: &'a [u8],
    pub uri: &'a Uri,
    pub method: &'a str,
    pub scheme: &'a str,
    pub client: IpAddr,
    pub id: &'a str,
    pub headers: &'a HeaderMap,
}

/// The text with every variable filled in; one that the request lacks is empty.
pub(crate) fn fill(template: &Template, values: &Values<'_>) -> String {
    let mut out = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Text(text) => out.push_str(text),
            TemplatePart::Variable(variable) => values.push(variable, &mut out),
        }
    }
    out
}

// === impl Values ===

impl Values<'_> {
    fn push(&self, variable: &Variable, out: &mut String) {
        let target = || self.uri.path_and_query().map_or("/", |target| target.as_str());
        let query = self.uri.query().unwrap_or("");
        match variable {
            Variable::Host => out.push_str(self.host),
            Variable::HttpHost => out.push_str(self.http_host),
            Variable::RequestUri => out.push_str(target()),
            Variable::EscapedRequestUri => escape(target().as_bytes(), out),
            Variable::Uri => out.push_str(&String::from_utf8_lossy(self.path)),
            Variable::Args => out.push_str(query),
            Variable::IsArgs => out.push_str(if query.is_empty() { "" } else { "?" }),
            Variable::Scheme => out.push_str(self.scheme),
            // Writing to a String cannot fail.
            Variable::RemoteAddress => drop(write!(out, "{}", self.client)),
            Variable::Method => out.push_str(self.method),
            Variable::RequestId => out.push_str(self.id),
            Variable::Header(name) => out.push_str(self.headers.get(&**name).and_then(|value| value.to_str().ok()).unwrap_or("")),
            Variable::Cookie(name) => out.push_str(cookie(self.headers, name).unwrap_or("")),
            Variable::Argument(name) => {
                let mut arguments = query.split('&').map(|argument| argument.split_once('=').unwrap_or((argument, "")));
                out.push_str(arguments.find(|(found, _)| *found == &**name).map_or("", |(_, value)| value));
            }
        }
    }
}

/// The value of a cookie of the request; of several of one name the first (RFC 6265 5.4: the most specific comes first).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Percent-encodes everything but what RFC 3986 calls unreserved, as `ngx.escape_uri` does.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::http::HeaderValue;

    use super::*;

    #[test]
    fn variables_are_filled_in_from_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=1; b=2; a=3"));
        headers.insert("x-user", HeaderValue::from_static("me"));
        let uri: Uri = "/x%20y?k=v&l".parse().expect("a target");
        let values = Values {
            host: "a.example",
            http_host: "A.example:80",
            path: b"/x y",
            uri: &uri,
            method: "GET",
            scheme: "https",
            client: "192.0.2.1".parse().expect("an address"),
            id: "0f",
            headers: &headers,
        };
        let rows = [
            ("$scheme://$http_host$request_uri", "https://A.example:80/x%20y?k=v&l"),
            ("$host$uri$is_args$args", "a.example/x y?k=v&l"),
            ("$escaped_request_uri", "%2Fx%2520y%3Fk%3Dv%26l"),
            ("$cookie_a-$cookie_b-$cookie_c", "1-2-"),
            ("$http_x_user $arg_k $arg_l $arg_m", "me v  "),
            ("$remote_addr $request_method $req_id", "192.0.2.1 GET 0f"),
        ];
        for (text, expected) in rows {
            let template = Template::parse(text).expect("known variables");
            assert_eq!(fill(&template, &values), expected, "{text}");
        }
    }
}
