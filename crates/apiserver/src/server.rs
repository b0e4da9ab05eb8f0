//! The HTTP server: TLS connections, who is at their other end, and which part answers a path.
//!
//! Owns connections, headers and bodies. Hands a resource's calls to the verbs, everything else to the documents. Must not know kinds.

mod body;
mod respond;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, IF_NONE_MATCH, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::Drain;
use runtime::metrics::{IntCounterVec, Registry};
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, Body};
use crate::api_state::Api;
use crate::auth::{self, User};
use crate::discovery::Discovery;
use crate::media::Media;
use crate::openapi;
use crate::refusal::Refusal;
use crate::request::{Call, Query, Target};
use crate::verbs;
use body::Sent;

/// Larger bodies are refused, as by Kubernetes.
const MAX_BODY: usize = 3 << 20;

/// Watches keep a connection each; more connections wait in the backlog.
const MAX_CONNECTIONS: usize = 4_096;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// After the server was told to stop, requests in hand have this long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Everything that answers.
pub(crate) struct Server {
    pub(crate) api: Arc<Api>,
    pub(crate) discovery: Discovery,
    pub(crate) registry: Registry,
    requests: IntCounterVec,
}

impl Server {
    pub(crate) fn new(api: Arc<Api>, discovery: Discovery, registry: Registry) -> Server {
        let help = "Requests by verb, resource and code of the answer.";
        let requests = registry.counter_vec("apiserver_request_total", help, &["verb", "resource", "code"]);
        Server { api, discovery, registry, requests }
    }

    /// Takes connections until it is told to stop.
    pub(crate) async fn listen(self: Arc<Self>, listener: TcpListener, tls: Arc<ServerConfig>, drain: Drain) {
        let acceptor = TlsAcceptor::from(tls);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = drain.started() => return,
            };
            let (server, acceptor, drain) = (self.clone(), acceptor.clone(), drain.clone());
            tokio::spawn(async move {
                server.connection(stream, peer, acceptor, drain).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, drain: Drain) {
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS failed"),
            Err(_) => return tracing::debug!(%peer, "TLS took too long"),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let user = certificate.and_then(|certificate| auth::user_of_certificate(certificate));
        let service = service_fn(|request| {
            let (server, user) = (self.clone(), user.clone());
            async move { Ok::<_, std::convert::Infallible>(server.respond(request, user).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.started() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(DRAIN_TIME, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "the connection broke");
        }
    }

    async fn respond(&self, request: Request<Incoming>, user: Option<User>) -> Response<Sent> {
        let header = |name: HeaderName| {
            let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.collect::<Vec<_>>().join(",")
        };
        let (verb, accept) = (request.method().clone(), header(ACCEPT));
        let gzip = header(hyper::header::ACCEPT_ENCODING).contains("gzip");
        let media = Media::negotiate(&accept);
        let shown = media.as_ref().copied().unwrap_or_default();
        let mut resource = String::new();
        let answer = match self.answer(request, user, media, &accept, &mut resource).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::refuse(&self.api.schema, shown, &refusal),
        };
        self.requests.with_label_values(&[verb.as_str(), &resource, &answer.status.to_string()]).inc();
        respond::response(answer, gzip)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        user: Option<User>,
        media: Result<Media, Refusal>,
        accept: &str,
        resource: &mut String,
    ) -> Result<Answer, Refusal> {
        let path = request.uri().path().to_owned();
        if let Some(answer) = public(&path) {
            return Ok(answer);
        }
        let user = match (bearer(&request), user) {
            (Some(token), _) => self.api.user_of_token(token),
            (None, user) => user,
        };
        let user = user.ok_or_else(Refusal::unauthorized)?;
        let Some(target) = Target::parse(&self.api.kinds, &path) else { return self.document(&request, &path, accept) };
        resource.clone_from(&target.kind.qualified);
        let media = media?;
        let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let agent = text(USER_AGENT).split('/').next().unwrap_or_default();
        let agent: String = agent.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(128).collect();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let method = request.method().clone();
        let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::body_too_large(MAX_BODY)),
            Err(error) => return Err(Refusal::bad_request(format!("the body could not be read: {error}"))),
        };
        verbs::serve(&self.api, &method, Call { target, query, media, content_type, body, user, agent }).await
    }

    /// What is there besides resources.
    fn document(&self, request: &Request<Incoming>, path: &str, accept: &str) -> Result<Answer, Refusal> {
        let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some(answer) = self.discovery.get(path, accept, known) {
            return Ok(answer);
        }
        if self.discovery.serves_below(path) {
            return Err(Refusal::no_resource());
        }
        let issuer = self.api.tokens.issuer();
        match path {
            "/" => Ok(Answer::json(
                200,
                &json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
            )),
            "/metrics" => Ok(Answer::text(200, self.registry.render())),
            "/openid/v1/jwks" => Ok(Answer::json(200, &self.api.tokens.key_set())),
            "/.well-known/openid-configuration" => Ok(Answer::json(
                200,
                &json!({"issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"), "response_types_supported": ["id_token"],
                        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]}),
            )),
            "/openapi/v2" => {
                let (content_type, document) = openapi::v2(accept).ok_or_else(Refusal::not_acceptable)?;
                Ok(Answer { content_type, ..openapi_document(document, "", known) })
            }
            "/openapi/v3" => Ok(openapi_document(openapi::index(), "", known)),
            _ => {
                let document = path.strip_prefix("/openapi/v3/").and_then(openapi::document);
                let document = document.ok_or_else(Refusal::no_path)?;
                let asked = Query::parse(request.uri().query().unwrap_or_default());
                Ok(openapi_document(document, asked.text("hash"), known))
            }
        }
    }
}

fn openapi_document(document: &'static openapi::Document, asked: &str, known: &str) -> Answer {
    let tag = format!("\"{}\"", document.hash);
    let mut answer = Answer::bytes(200, "application/json", bytes::Bytes::new());
    if known == tag {
        answer.status = 304;
    } else {
        answer.body = Body::Packed { plain: bytes::Bytes::from_static(&document.plain), gzip: bytes::Bytes::from_static(&document.gzip) };
    }
    answer.headers = vec![("etag", tag), ("vary", "Accept".to_owned())];
    if asked == document.hash {
        answer.headers.push(("cache-control", "public, immutable".to_owned()));
    }
    answer
}

/// What anybody may know.
fn public(path: &str) -> Option<Answer> {
    match path {
        "/healthz" | "/livez" | "/readyz" => Some(Answer::bytes(200, "text/plain; charset=utf-8", bytes::Bytes::from_static(b"ok"))),
        "/version" => Some(Answer::json(
            200,
            &json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0+rutter", "gitCommit": "", "gitTreeState": "clean",
                    "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
                    "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1", "minCompatibilityMinor": "36"}),
        )),
        _ => None,
    }
}

fn bearer(request: &Request<Incoming>) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
