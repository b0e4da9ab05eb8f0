//! One request: understood, matched, filtered, sent on and answered.
//!
//! Owns the order of these steps and the answer to everything that goes wrong in one of them. Must not know which protocol the
//! client or the upstream speaks: it takes a request and gives a response.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::header::{HeaderName, HeaderValue, SERVER};
use hyper::http::{Method, Request, Response, StatusCode};

use self::record::Record;
use self::target::Target;
use crate::body::{RequestBody, ResponseBody};
use crate::filter::forwarded::Peer;
use crate::filter::{hop, redirect};
use crate::listen::Scheme;
use crate::page;
use crate::table::route::Act;
use crate::table::{Asked, Route};
use crate::worker::Core;

mod forward;
mod record;
mod target;
mod tunnel;

/// ingress-nginx 1.15's default for hosts with a certificate.
static HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
static STRICT_TRANSPORT_SECURITY: HeaderName = HeaderName::from_static("strict-transport-security");

/// What was matched: the route, if there is one, and whether the answer carries HSTS.
struct Matched {
    route: Option<Arc<Route>>,
    hsts: bool,
}

pub(crate) async fn answer(core: Rc<Core>, peer: Rc<Peer>, request: Request<Incoming>) -> Response<ResponseBody> {
    let client = peer.client(request.headers(), &core.shared.config.forwarded);
    let mut record = Record::new(core.clone(), client.address, &request);
    let target = match Target::of(&request) {
        Ok(target) => target,
        Err(status) => return record.page(page::refusal(status)),
    };
    let matched = find(&core, &peer, &target, &request);
    let mut response = match matched.route {
        None => record.page(page::default_backend()),
        Some(route) => {
            record.labels = Some(route.labels.clone());
            match answer_by_self(&route, &target, &client, &request) {
                Some(response) => record.page(response),
                None => forward::forward(record, &peer, &client, &route, target, request).await,
            }
        }
    };
    if matched.hsts {
        response.headers_mut().insert(&STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    response
}

fn find(core: &Core, peer: &Peer, target: &Target, request: &Request<Incoming>) -> Matched {
    let table = core.shared.table.load();
    let Some(host) = table.host(&target.name) else { return Matched { route: None, hsts: false } };
    let asked = Asked {
        path: &target.path,
        method: request.method().as_str(),
        headers: request.headers(),
        query: request.uri().query().unwrap_or(""),
    };
    Matched { route: host.route(&asked).cloned(), hsts: host.tls && peer.scheme == Scheme::Https }
}

/// The answer that needs no upstream, if the route has one for this request.
fn answer_by_self(
    route: &Route,
    target: &Target,
    client: &crate::filter::forwarded::Client,
    request: &Request<Incoming>,
) -> Option<Response<ResponseBody>> {
    if route.policy.ssl_redirect && client.proto == "http" && !redirect::is_exempt(&target.path) {
        let to = redirect::to_https(&target.name, target.path_and_query(request));
        return Some(page::redirect(StatusCode::PERMANENT_REDIRECT, &to).unwrap_or_else(|| page::error(StatusCode::BAD_REQUEST)));
    }
    if let Some(rewrite) = route.policy.rewrite.as_ref().filter(|rewrite| rewrite.redirects) {
        let to = rewrite.apply(&target.path, request.uri().query())?;
        return Some(page::redirect(StatusCode::FOUND, &to).unwrap_or_else(|| page::error(StatusCode::INTERNAL_SERVER_ERROR)));
    }
    match route.action {
        Act::NotFound => Some(page::default_backend()),
        Act::Forward(_) => None,
    }
}

/// The answer's head as the client gets it. nginx hides the same fields.
fn clean(response: &mut Response<Incoming>) {
    let headers = response.headers_mut();
    hop::strip(headers);
    headers.remove(SERVER);
}

/// Whether sending a request twice does no more than sending it once (RFC 9110 9.2.2; nginx leaves out what WebDAV adds as well).
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS].contains(method)
}

/// A copy of a request without a body, to be sent again.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut again = Request::new(RequestBody::Empty);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}
