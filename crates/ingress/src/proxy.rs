//! One request: understood, matched, filtered, sent on and answered.
//!
//! Owns the order of these steps and the answer to everything that goes wrong in one of them. Must not know which protocol the
//! client or the upstream speaks: it takes a request and gives a response.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::http::header::{HeaderName, HeaderValue, SET_COOKIE};
use hyper::http::{Request, Response, StatusCode};

use self::guard::Passed;
use self::question::Question;
use self::record::Record;
use self::target::Target;
use crate::body::ResponseBody;
use crate::core::Core;
use crate::filter::cors::{Allowed, Cors};
use crate::filter::forwarded::{Client, Peer};
use crate::filter::variables;
use crate::filter::{redirect, sources};
use crate::listen::Scheme;
use crate::page;
use crate::table::route::Act;
use crate::table::{Asked, Route, VirtualHost};

mod affinity;
mod forward;
mod guard;
mod question;
mod record;
mod target;
mod tunnel;

/// ingress-nginx 1.15's default for hosts with a certificate.
static HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
static STRICT_TRANSPORT_SECURITY: HeaderName = HeaderName::from_static("strict-transport-security");

/// What the request's host makes of it.
struct Matched {
    found: Found,
    hsts: bool,
}

enum Found {
    Route(Arc<Route>),
    Nothing,
    /// The host says where to go: `app-root`, `from-to-www-redirect`.
    Elsewhere(StatusCode, String),
}

pub(crate) async fn answer(core: Rc<Core>, peer: Rc<Peer>, request: Request<Incoming>) -> Response<ResponseBody> {
    let client = peer.client(request.headers(), &core.shared.config.forwarded);
    let record = Record::new(core.clone(), client.address, &request);
    let target = match Target::of(&request) {
        Ok(target) => target,
        Err(status) => return record.page(page::refusal(status)),
    };
    let Matched { found, hsts } = find(&core, &peer, Question { target: &target, client: &client, request: &request });
    let mut response = match found {
        Found::Nothing => record.page(page::default_backend()),
        Found::Elsewhere(status, to) => record.page(page::redirect(status, &to)),
        Found::Route(route) => by_route(record, &peer, client, &route, target, request).await,
    };
    if hsts {
        response.headers_mut().insert(&STRICT_TRANSPORT_SECURITY, HSTS.clone());
    }
    response
}

fn find(core: &Core, peer: &Peer, question: Question<'_>) -> Matched {
    let Question { target, client, request } = question;
    let table = core.shared.table.load();
    if let Some(to) = table.redirect(&target.name) {
        let to = redirect::to_name(to, client.proto, client.port, target.path_and_query(request));
        return Matched { found: Found::Elsewhere(StatusCode::PERMANENT_REDIRECT, to), hsts: false };
    }
    let Some(host) = table.host(&target.name) else { return Matched { found: Found::Nothing, hsts: false } };
    let hsts = host.tls && peer.scheme == Scheme::Https;
    if let VirtualHost { app_root: Some(root), .. } = &**host
        && target.path == b"/"
    {
        let to = redirect::absolute(root.to_string(), client.proto, target.http_host());
        return Matched { found: Found::Elsewhere(StatusCode::FOUND, to), hsts };
    }
    let asked = Asked {
        path: &target.path,
        method: request.method().as_str(),
        headers: request.headers(),
        query: request.uri().query().unwrap_or(""),
    };
    Matched { found: host.route(&asked).cloned().map_or(Found::Nothing, Found::Route), hsts }
}

/// The answer of a route, its own or its upstream's.
async fn by_route(
    mut record: Record,
    peer: &Peer,
    client: Client,
    route: &Route,
    target: Target,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    record.labels = Some(route.labels.clone());
    let allowed = route.policy.cors.as_ref().and_then(|cors| cors.allows(request.headers()));
    let question = Question { target: &target, client: &client, request: &request };
    let mut response = match answer_by_self(route, question, allowed.as_ref(), &mut record) {
        Some(response) => record.page(response),
        None => guarded(record, peer, &client, route, target, request).await,
    };
    if let (Some(cors), Some(allowed)) = (&route.policy.cors, allowed) {
        cors.tell(response.headers_mut(), allowed);
    }
    response
}

/// Forwards what the route's guard lets pass.
async fn guarded(
    record: Record,
    peer: &Peer,
    client: &Client,
    route: &Route,
    target: Target,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let auth = route.policy.options.auth.as_ref().filter(|_| !redirect::is_exempt(&target.path));
    let Some(auth) = auth else { return forward::forward(record, peer, client, route, target, request, &Passed::default()).await };
    let asked = guard::ask(record.core(), auth, Question { target: &target, client, request: &request }).await;
    let passed = match asked {
        Ok(passed) => passed,
        Err(refusal) => return record.page(refusal),
    };
    let mut response = forward::forward(record, peer, client, route, target, request, &passed).await;
    for cookie in passed.cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// The answer that needs no upstream, if the route has one for this request. In the order of nginx's phases: rewrite, pre-access,
/// access.
fn answer_by_self(
    route: &Route,
    question: Question<'_>,
    allowed_origin: Option<&Allowed>,
    record: &mut Record,
) -> Option<Response<ResponseBody>> {
    let Question { target, client, request } = question;
    let (policy, options) = (&route.policy, &route.policy.options);
    if Cors::is_preflight(request.method(), allowed_origin) {
        return Some(page::empty(StatusCode::NO_CONTENT));
    }
    if let Some(to) = &options.redirect {
        let status = StatusCode::from_u16(to.code).unwrap_or(StatusCode::FOUND);
        let place = variables::fill(&to.to, &question.values());
        let place = if options.relative_redirects { place } else { redirect::absolute(place, client.proto, target.http_host()) };
        return Some(page::redirect(status, &place));
    }
    if policy.ssl_redirect && client.proto == "http" && !redirect::is_exempt(&target.path) {
        let to = redirect::to_https(&target.name, target.path_and_query(request), options.preserve_trailing_slash);
        return Some(page::redirect(StatusCode::PERMANENT_REDIRECT, &to));
    }
    if let Some(limits) = &policy.limits {
        match limits.admit(client.address, Instant::now()) {
            Ok(in_flight) => record.in_flight = in_flight,
            Err(_) => return Some(page::error(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }
    if options.denied.is_some() {
        return Some(page::error(StatusCode::SERVICE_UNAVAILABLE));
    }
    if !sources::lets_in(&options.sources, client.address) {
        return Some(page::error(StatusCode::FORBIDDEN));
    }
    if let Some(rewrite) = policy.rewrite.as_ref().filter(|rewrite| rewrite.redirects) {
        return Some(page::redirect(StatusCode::FOUND, &rewrite.apply(&target.path, request.uri().query())?));
    }
    match route.action {
        Act::NotFound => Some(page::default_backend()),
        Act::Forward(_) => None,
    }
}
