//! External authentication: another server is asked whether the request may pass (`auth-url`).
//!
//! Whatever goes wrong on the way to its answer, the request does not pass.
//!
//! Source: ingress-nginx's `nginx.tmpl` (the `/_external-auth` locations) and nginx's ngx_http_auth_request_module.

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use model::Text;
use model::options::{ExternalAuth, UpstreamProtocol};

use super::question::Question;
use crate::body::{RequestBody, ResponseBody};
use crate::core::Core;
use crate::filter::{hop, variables};
use crate::page;
use crate::upstream::connection::{Connection, Peer};
use crate::upstream::{By, Upstream};

static X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
static X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static X_SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_AUTH_REQUEST_REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");

/// The bytes of an answer's body that are read so that its connection can be kept; of a longer one the connection is closed.
const MAX_BODY: u64 = 64 * 1024;

/// A request that may pass.
#[derive(Default)]
pub(super) struct Passed {
    /// For the upstream, in place of what the client sent.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// For the client.
    pub cookies: Vec<HeaderValue>,
}

/// Why nobody said whether the request may pass.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("auth-url leads to no URL")]
    Url,
    #[error("the server of auth-url cannot be reached")]
    Connect,
    #[error("the server of auth-url gave no answer")]
    Answer,
}

/// Asks whether the request may pass; if not, gives the answer to it.
pub(super) async fn ask(core: &Rc<Core>, auth: &ExternalAuth, question: Question<'_>) -> Result<Passed, Response<ResponseBody>> {
    let answer = match subrequest(core, auth, question).await {
        Ok(answer) => answer,
        // What nginx answers when the sub-request's server is not there.
        Err(error) => {
            tracing::debug!(host = question.target.name, %error, "a request was not let in");
            return Err(page::error(StatusCode::INTERNAL_SERVER_ERROR));
        }
    };
    match answer.status() {
        status if status.is_success() => Ok(Passed::of(auth, answer.headers())),
        StatusCode::UNAUTHORIZED => Err(refused(auth, question, &answer)),
        StatusCode::FORBIDDEN => Err(page::error(StatusCode::FORBIDDEN)),
        _ => Err(page::error(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// The answer to a client without credentials: on to where it gets some, else 401 with what the server asks for.
fn refused(auth: &ExternalAuth, question: Question<'_>, answer: &Response<()>) -> Response<ResponseBody> {
    if let Some(signin) = &auth.signin {
        return page::redirect(
            StatusCode::FOUND,
            &signin_url(&variables::fill(signin, &question.values()), &auth.redirect_param, question),
        );
    }
    let mut response = page::error(StatusCode::UNAUTHORIZED);
    for name in [WWW_AUTHENTICATE, SET_COOKIE] {
        for value in answer.headers().get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

/// The sign-in page with the place to come back to, unless it says one by itself.
///
/// Source: ingress-nginx's `buildAuthSignURL`.
fn signin_url(signin: &str, param: &str, question: Question<'_>) -> String {
    let has = signin.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair.split('=').next() == Some(param)));
    if has {
        return signin.to_owned();
    }
    let joint = if signin.contains('?') { '&' } else { '?' };
    let mut url = format!("{signin}{joint}{param}={}://{}", question.client.proto, question.target.http_host());
    variables::escape(question.target.path_and_query(question.request).as_bytes(), &mut url);
    url
}

async fn subrequest(core: &Rc<Core>, auth: &ExternalAuth, question: Question<'_>) -> Result<Response<()>, Failed> {
    let url: Uri = variables::fill(&auth.url, &question.values()).parse().map_err(|_| Failed::Url)?;
    let (protocol, port) = match url.scheme_str() {
        Some("http") => (UpstreamProtocol::Http, 80),
        Some("https") => (UpstreamProtocol::Https, 443),
        _ => return Err(Failed::Url),
    };
    let host = url.host().filter(|host| !host.is_empty()).ok_or(Failed::Url)?;
    let server = core.auth_server(host, url.port_u16().unwrap_or(port));
    let endpoint = server.pick(&[], &By::Turn, core.shared.config.names).await.map_err(|_| Failed::Connect)?;
    let peer = Peer { endpoint, protocol, name: (protocol == UpstreamProtocol::Https).then(|| Text::from(host)) };
    let request = || head(auth, &url, question).ok_or(Failed::Url);
    // A connection that was closed while it waited costs one more try; the request is ours to repeat.
    if let Some(pooled) = core.pool.take(&peer).await
        && let Ok(answer) = exchange(core, &peer, pooled, request()?).await
    {
        return Ok(answer);
    }
    let fresh = Connection::open(&peer, &core.upstream_tls, core.shared.config.timeouts.connect).await.map_err(|_| Failed::Connect)?;
    exchange(core, &peer, fresh, request()?).await
}

/// The head of the sub-request: the client's own fields, and what the request is about.
fn head(auth: &ExternalAuth, url: &Uri, question: Question<'_>) -> Option<Request<RequestBody>> {
    let Question { target, client, request } = question;
    let mut headers = request.headers().clone();
    hop::strip(&mut headers);
    for name in [CONTENT_LENGTH, CONTENT_TYPE, EXPECT] {
        headers.remove(name);
    }
    let path_and_query = target.path_and_query(request);
    let text = |text: &str| HeaderValue::from_str(text).ok();
    headers.insert(HOST, text(url.authority()?.as_str())?);
    headers.insert(&X_ORIGINAL_URL, text(&format!("{}://{}{path_and_query}", client.proto, target.http_host()))?);
    headers.insert(&X_ORIGINAL_METHOD, text(request.method().as_str())?);
    headers.insert(&X_SENT_FROM, HeaderValue::from_static("nginx-ingress-controller"));
    headers.insert(&X_REAL_IP, text(&client.address.to_string())?);
    headers.insert(&X_FORWARDED_FOR, text(&client.address.to_string())?);
    let redirect = auth.request_redirect.as_ref().map(|redirect| variables::fill(redirect, &question.values()));
    headers.insert(&X_AUTH_REQUEST_REDIRECT, text(redirect.as_deref().unwrap_or(path_and_query))?);
    let mut asking = Request::new(RequestBody::Empty);
    *asking.method_mut() = auth.method.as_ref().map_or(Some(Method::GET), |method| Method::from_bytes(method.as_bytes()).ok())?;
    *asking.uri_mut() = Uri::from(url.path_and_query().cloned()?);
    *asking.headers_mut() = headers;
    Some(asking)
}

async fn exchange(core: &Rc<Core>, peer: &Peer, mut connection: Connection, request: Request<RequestBody>) -> Result<Response<()>, Failed> {
    let read = core.shared.config.timeouts.read;
    let answering = async {
        let answer = connection.send(request).await.map_err(|_| Failed::Answer)?;
        let (head, body) = answer.into_parts();
        if drain(body).await && !core.connections.are_draining() {
            core.pool.put(peer.clone(), connection);
        }
        Ok(Response::from_parts(head, ()))
    };
    tokio::time::timeout(read, answering).await.map_err(|_| Failed::Answer)?
}

/// Reads a short body to its end; tells whether that was reached.
async fn drain(mut body: Incoming) -> bool {
    let mut left = MAX_BODY;
    while !body.is_end_stream() {
        match std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)) {
                Some(rest) => left = rest,
                None => return false,
            },
        }
    }
    true
}

// === impl Passed ===

impl Passed {
    fn of(auth: &ExternalAuth, answer: &HeaderMap) -> Self {
        let names = auth.response_headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        Self {
            // One that the answer lacks is taken from the client all the same: it could claim anything by it.
            headers: names.map(|name| (name.clone(), answer.get(&name).cloned())).collect(),
            cookies: answer.get_all(SET_COOKIE).iter().cloned().collect(),
        }
    }

    pub(super) fn tell_upstream(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                // What the client itself logged in with is its own to send.
                None if *name == AUTHORIZATION => {}
                None => drop(headers.remove(name)),
            }
        }
    }
}

// === impl Core ===

impl Core {
    /// The server of an auth-url; those in use are remembered with what they were looked up to.
    fn auth_server(&self, host: &str, port: u16) -> Rc<Upstream> {
        /// Beyond this they are forgotten and looked up again: variables of a URL may make any number of hosts.
        const MAX: usize = 256;
        let mut servers = self.auth_servers.borrow_mut();
        if servers.len() >= MAX {
            servers.clear();
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let external = || Upstream::new(Arc::new(model::route::Upstream::External { host: host.into(), port }));
        servers.entry((host.into(), port)).or_insert_with(|| Rc::new(external())).clone()
    }
}
