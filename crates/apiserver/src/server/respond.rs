//! From an [`Answer`] to an HTTP response.

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, WARNING};
use hyper::{Response, StatusCode};

use super::body::Sent;
use crate::answer::{Answer, Body};
use crate::names;

/// A header longer than this would break clients: Go's limit for all headers together is 1 MiB.
const MAX_WARNING: usize = 4 << 10;

pub(super) fn response(answer: Answer, gzip: bool) -> Response<Sent> {
    let (body, packed) = match answer.body {
        Body::Full(bytes) => (whole(bytes), false),
        Body::Packed { gzip: bytes, .. } if gzip => (whole(bytes), true),
        Body::Packed { plain, .. } => (whole(plain), false),
        Body::Stream(pieces) => (Sent::Pieces(pieces), false),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, private"));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let mut told: Vec<String> = Vec::new();
    for warning in answer.warnings {
        if told.contains(&warning) {
            continue;
        }
        if let Ok(value) = HeaderValue::from_bytes(quoted(&warning).as_bytes()) {
            headers.append(WARNING, value);
        }
        told.push(warning);
    }
    response
}

fn whole(bytes: Bytes) -> Sent {
    Sent::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// `299 - "text"` (RFC 9111, section 5.5), with control characters taken out.
fn quoted(text: &str) -> String {
    let text = names::head(text, MAX_WARNING);
    let mut quoted = "299 - \"".to_owned();
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_told_once() {
        let answer = Answer::text(200, "x").warn(vec![
            "unknown field \"a\"".to_owned(),
            "unknown field \"a\"".to_owned(),
            "b\r\nSet-Cookie: c".to_owned(),
        ]);
        let response = response(answer, false);
        let told: Vec<_> = response.headers().get_all(WARNING).iter().map(|value| value.to_str().expect("text")).collect();
        assert_eq!(told, [r#"299 - "unknown field \"a\"""#, r#"299 - "bSet-Cookie: c""#]);
    }
}
