//! Forwarding: the request to an endpoint, and to another one where that is safe.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::{Body as _, Incoming};
use hyper::http::header::{CONNECTION, HOST, HeaderName, HeaderValue, SERVER, SET_COOKIE, UPGRADE};
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use model::options::{SessionCookie, UpstreamProtocol};

use super::guard::Passed;
use super::question::Question;
use super::record::{Lease, Record};
use super::target::{Target, origin_form};
use super::{affinity, tunnel};
use crate::body::{Progress, RequestBody, ResponseBody, State};
use crate::filter::forwarded::{Client, Peer};
use crate::filter::{hop, variables};
use crate::page;
use crate::table::Route;
use crate::table::route::Act;
use crate::upstream::connection::{ConnectError, Connection, SendError};
use crate::upstream::{self, By, Upstream, fnv};

static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Endpoints that one request is tried at (`proxy-next-upstream-tries`).
const MAX_TRIES: usize = 3;

/// Sends the request to an endpoint of the route and gives what comes back.
///
/// An endpoint that cannot be connected to is passed over whatever the request is: nothing was sent. After that a request is sent
/// again only if it was never written, or if it is idempotent, has no body and not a byte of an answer came.
///
/// Source: nginx, `proxy_next_upstream error timeout`.
pub(super) async fn forward(
    mut record: Record,
    peer: &Peer,
    client: &Client,
    route: &Route,
    target: Target,
    mut request: Request<Incoming>,
    passed: &Passed,
) -> Response<ResponseBody> {
    let core = record.core().clone();
    let config = &core.shared.config;
    let (policy, options) = (&route.policy, &route.policy.options);
    let limit = options.body_bytes.unwrap_or(config.limits.body_bytes);
    if limit != 0 && request.body().size_hint().lower() > limit {
        return record.page(page::error(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let token = options.affinity.as_ref().and_then(|cookie| affinity::brought(cookie, request.headers()));
    let Some((upstream, affinity)) = choose(route, request.headers(), token, || core.random()) else {
        return record.page(page::error(StatusCode::SERVICE_UNAVAILABLE));
    };
    let Some(uri) = upstream_uri(route, &target, request.uri()) else {
        return record.page(page::error(StatusCode::INTERNAL_SERVER_ERROR));
    };

    let values = Question { target: &target, client, request: &request };
    let host = match &options.upstream_host {
        Some(host) => match HeaderValue::from_str(&variables::fill(host, &values.values())) {
            Ok(host) => host,
            Err(_) => return record.page(page::error(StatusCode::BAD_REQUEST)),
        },
        None => target.host.clone(),
    };
    let by = match (token, &options.hash_by) {
        (Some(token), _) => By::Token(token),
        (None, Some(hash_by)) => By::Hash {
            hash: fnv(variables::fill(&hash_by.key, &values.values()).as_bytes()),
            subset: hash_by.subset.unwrap_or(1),
            random: core.random(),
        },
        (None, None) => By::Turn,
    };

    let on_client_upgrade = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let protocol = hop::strip(&mut head.headers);
    // HTTP/2 in disguise would go past every rule of ours.
    let protocol = protocol.filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
    let id = peer.tell(&mut head.headers, client, &target.host, &config.forwarded, || new_id(core.random(), core.random()));
    record.id = Some(id);
    if let Some(protocol) = &protocol {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol.clone());
    }
    passed.tell_upstream(&mut head.headers);
    head.headers.insert(HOST, host);
    if let Some(prefix) = &policy.forwarded_prefix {
        head.headers.insert(&X_FORWARDED_PREFIX, prefix.clone());
    }
    if let (Some(connection), None) = (&policy.connection, &protocol) {
        head.headers.insert(CONNECTION, connection.clone());
    }
    let (body, progress) = RequestBody::new(body, limit, config.timeouts.client);
    head.uri = uri;
    head.version = Version::HTTP_11;
    let request = Request::from_parts(head, body);

    let way = Way {
        upstream: &upstream,
        by,
        protocol: options.protocol,
        connect: options.connect_timeout.unwrap_or(config.timeouts.connect),
        read: options.read_timeout.unwrap_or(config.timeouts.read),
    };
    let response = match send(&mut record, &way, request, &progress).await {
        Ok(response) => response,
        Err(status) => return record.page(page::error(status)),
    };
    let came_from = record.lease.as_ref().map(|lease| upstream::token(lease.peer.endpoint));
    let mut response = finish(record, response, protocol.map(|_| on_client_upgrade), way.read);
    if let (Some(cookie), Some(came_from)) = (affinity, came_from)
        && (token.is_none() || (token != Some(came_from) && cookie.change_on_failure) || token.is_some_and(|token| !upstream.has(token)))
        && let Some(set) = affinity::set_cookie(cookie, came_from, &route.labels.of.path, client.proto == "https", SystemTime::now())
    {
        response.headers_mut().append(SET_COOKIE, set);
    }
    response
}

/// How a request is to reach its upstream.
struct Way<'a> {
    upstream: &'a Upstream,
    by: By,
    protocol: UpstreamProtocol,
    connect: Duration,
    read: Duration,
}

/// Sends until somebody answers; the answer's connection is the record's lease.
async fn send(
    record: &mut Record,
    way: &Way<'_>,
    mut request: Request<RequestBody>,
    progress: &Progress,
) -> Result<Response<Incoming>, StatusCode> {
    let core = record.core().clone();
    let repeatable = request.body().is_empty() && is_idempotent(request.method());
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut fresh_only = false;
    let mut status = StatusCode::BAD_GATEWAY;
    for _ in 0..MAX_TRIES {
        let endpoint = match way.upstream.pick(&tried, &way.by, core.shared.config.names).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::debug!(%error, "no endpoint");
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
        };
        let started = Instant::now();
        let peer = upstream::connection::Peer { endpoint, protocol: way.protocol, name: None };
        let pooled = if fresh_only { None } else { core.pool.take(&peer).await };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => match Connection::open(&peer, &core.upstream_tls, way.connect).await {
                Ok(connection) => connection,
                Err(error) => {
                    status = if matches!(error, ConnectError::TimedOut) { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
                    tracing::debug!(%endpoint, %error, "cannot connect");
                    record.failed(endpoint, started, status.as_u16());
                    tried.push(endpoint);
                    continue;
                }
            },
        };
        let reused = connection.n_requests > 0;
        let again = repeatable.then(|| copy(&request));
        let unsent = match exchange(&mut connection, request, progress, way.read).await {
            Ok(response) => {
                record.lease = Some(Lease { peer, connection, progress: progress.clone(), started });
                return Ok(response);
            }
            Err(Failed::TimedOut) => {
                status = StatusCode::GATEWAY_TIMEOUT;
                None
            }
            Err(Failed::Broken(SendError { error, unsent })) => {
                if let Some(status) = fault_of_client(progress.get()) {
                    return Err(status);
                }
                tracing::debug!(%endpoint, reused, %error, "no answer");
                status = StatusCode::BAD_GATEWAY;
                unsent.map(|request| *request)
            }
        };
        record.failed(endpoint, started, status.as_u16());
        // A pooled connection that broke says little about its endpoint, but its neighbours in the pool are as old.
        if reused {
            fresh_only = true;
        } else {
            tried.push(endpoint);
        }
        request = match unsent.or(again) {
            Some(request) => request,
            None => return Err(status),
        };
    }
    Err(status)
}

enum Failed {
    TimedOut,
    Broken(SendError),
}

/// One request and the head of its answer. The time counts from the last byte of the request that went out.
async fn exchange(
    connection: &mut Connection,
    request: Request<RequestBody>,
    progress: &Progress,
    read: Duration,
) -> Result<Response<Incoming>, Failed> {
    let mut sending = pin!(connection.send(request));
    loop {
        let before = progress.bytes();
        match tokio::time::timeout(read, &mut sending).await {
            Ok(answer) => return answer.map_err(Failed::Broken),
            Err(_) if progress.bytes() > before => {}
            Err(_) => return Err(Failed::TimedOut),
        }
    }
}

fn finish(
    mut record: Record,
    mut response: Response<Incoming>,
    on_client_upgrade: Option<OnUpgrade>,
    read: Duration,
) -> Response<ResponseBody> {
    record.answered(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match on_client_upgrade {
            Some(on_client_upgrade) => tunnel::open(record, response, on_client_upgrade, read),
            // Nobody asked for that.
            None => record.page(page::error(StatusCode::BAD_GATEWAY)),
        };
    }
    clean(&mut response);
    let (head, body) = response.into_parts();
    Response::from_parts(head, ResponseBody::relay(body, read, Box::new(record)))
}

/// Where the request goes, and the session cookie that holds there. `None` if all weights are zero.
///
/// A session that began on the mainline or on its canary stays there, unless the canary wants nothing of sessions.
fn choose<'a>(
    route: &'a Route,
    headers: &HeaderMap,
    token: Option<u64>,
    random: impl Fn() -> u64,
) -> Option<(Arc<Upstream>, Option<&'a SessionCookie>)> {
    let cookie = route.policy.options.affinity.as_ref();
    let mainline = by_weight(route, &random)?;
    let Some(canary) = &route.canary else { return Some((mainline, cookie)) };
    let session = token.filter(|_| !canary.legacy_affinity);
    let takes = match session {
        Some(token) if canary.upstream.has(token) => true,
        Some(token) if mainline.has(token) => false,
        _ => canary.takes(headers, &random),
    };
    if takes { Some((canary.upstream.clone(), cookie.filter(|_| !canary.legacy_affinity))) } else { Some((mainline, cookie)) }
}

/// One of the route's upstreams by weight; none if all weights are zero.
fn by_weight(route: &Route, random: impl FnOnce() -> u64) -> Option<Arc<Upstream>> {
    let Act::Forward(backends) = &route.action else { return None };
    if let [(weight, upstream)] = &**backends {
        return (*weight > 0).then(|| upstream.clone());
    }
    let total: u64 = backends.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut point = random().checked_rem(total)?;
    backends.iter().find_map(|(weight, upstream)| match point.checked_sub(u64::from(*weight)) {
        None => Some(upstream.clone()),
        Some(rest) => {
            point = rest;
            None
        }
    })
}

/// The target as it came, or what a rewrite makes of it; `None` if that is no target.
fn upstream_uri(route: &Route, target: &Target, uri: &Uri) -> Option<Uri> {
    match route.policy.rewrite.as_ref().and_then(|rewrite| rewrite.apply(&target.path, uri.query())) {
        Some(rewritten) => PathAndQuery::from_maybe_shared(bytes::Bytes::from(rewritten)).ok().map(Uri::from),
        None => Some(origin_form(uri)),
    }
}

/// Where the client itself is why there is no answer.
fn fault_of_client(state: State) -> Option<StatusCode> {
    match state {
        State::TooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
        State::TooSlow => Some(StatusCode::REQUEST_TIMEOUT),
        State::Broken => Some(StatusCode::BAD_REQUEST),
        State::Flowing | State::Done => None,
    }
}

/// 32 hexadecimal digits, as nginx's `$request_id`.
fn new_id(high: u64, low: u64) -> HeaderValue {
    let id = bytes::Bytes::from(format!("{high:016x}{low:016x}"));
    HeaderValue::from_maybe_shared(id).unwrap_or_else(|_| HeaderValue::from_static("0"))
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
