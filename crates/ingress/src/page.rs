//! Pages of our own: what the proxy answers where no upstream does, in nginx's words.

use hyper::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::http::{Response, StatusCode};

use crate::body::ResponseBody;

/// No host or no path fits and nobody set a default backend.
pub(crate) fn default_backend() -> Response<ResponseBody> {
    page(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "default backend - 404".to_owned())
}

pub(crate) fn error(status: StatusCode) -> Response<ResponseBody> {
    page(status, "text/html", html(status))
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Page(None));
    *response.status_mut() = status;
    response
}

/// The client speaks in a way that cannot be trusted to mean the same to everybody: its connection ends with this.
pub(crate) fn refusal(status: StatusCode) -> Response<ResponseBody> {
    let mut response = error(status);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A redirect; a place that can stand in no header (a client's bytes may be part of it) is a bad request.
pub(crate) fn redirect(status: StatusCode, to: &str) -> Response<ResponseBody> {
    let Ok(location) = HeaderValue::from_str(to) else { return error(StatusCode::BAD_REQUEST) };
    let mut response = error(status);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::page(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn html(status: StatusCode) -> String {
    let code = status.as_u16();
    let reason = reason(status);
    format!(
        "<html>\r\n<head><title>{code} {reason}</title></head>\r\n<body>\r\n<center><h1>{code} {reason}</h1></center>\r\n<hr><center>rutter</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// nginx's own wording where it differs from the registry's.
fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        302 => "Found",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}
