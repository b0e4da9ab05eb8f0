//! What filters look at: a request's head, as its client meant it.

use hyper::body::Incoming;
use hyper::http::Request;

use super::target::Target;
use crate::filter::forwarded::Client;
use crate::filter::variables::Values;

/// A request's head as its client meant it, with what was made of it.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub target: &'a Target,
    pub client: &'a Client,
    pub request: &'a Request<Incoming>,
}

// === impl Question ===

impl Question<'_> {
    pub(super) fn values(&self) -> Values<'_> {
        Values {
            host: &self.target.name,
            http_host: self.target.http_host(),
            path: &self.target.path,
            uri: self.request.uri(),
            method: self.request.method().as_str(),
            scheme: self.client.proto,
            client: self.client.address,
            id: "",
            headers: self.request.headers(),
        }
    }
}
