//! Single requests: how they are made, and how an answer becomes a kind or an error.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use api::{Encoding, Kind, List, Object, Status};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::http::{Method, Request, Response, StatusCode, header};
use kube_client::client::Body;
use kube_client::config::{AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use serde_json::Value;
use tokio::time::timeout;

use crate::outage::Outage;
use crate::scope::{Scope, escape};
use crate::{Error, Metrics, Occurrence, transport};

/// Longer than the server's own limit of 60 s for requests that are no watch.
const ANSWER_WITHIN: Duration = Duration::from_secs(70);
/// A page holds at most 500 objects and few are above a megabyte.
const MAX_BODY_BYTES: usize = 512 << 20;
const MAX_ERROR_BYTES: usize = 64 << 10;
/// How often refused credentials are read anew at most: where they come from may be a program that has to be run.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// A connection to one API server, cheap to clone.
#[derive(Clone)]
pub struct Client {
    access: Arc<RwLock<Access>>,
    pub(crate) outage: Arc<Outage>,
    origin: Origin,
    namespace: String,
    metrics: Option<Metrics>,
}

struct Access {
    inner: kube_client::Client,
    /// The server's name and port.
    host: Arc<str>,
    /// When the credentials were last read because they had been refused.
    renewed: Option<Instant>,
}

/// Where the server and our credentials are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Kubeconfig(PathBuf),
    /// One of the file's contexts in place of its current one.
    Context(PathBuf, String),
    Endpoint(Endpoint),
    /// The environment and the service account of a Pod.
    InCluster,
}

/// The server's address itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub url: String,
    pub tls: Option<Tls>,
}

/// Files by which the server is known, and we to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

// === impl Client ===

impl Client {
    /// Reads the credentials; sends nothing yet. Call inside a tokio runtime, after TLS has been installed (`runtime::tls::install_provider`).
    ///
    /// # Errors
    /// [`Error::Credentials`] when they are missing or cannot be understood.
    pub async fn connect(origin: &Origin) -> Result<Client, Error> {
        let (inner, host, namespace) = open(origin).await?;
        Ok(Client::over(inner, host, namespace, origin.clone()))
    }

    /// Counts from now on what is asked.
    #[must_use]
    pub fn counted(self, metrics: Metrics) -> Client {
        Client { metrics: Some(metrics), ..self }
    }

    pub(crate) fn over(inner: kube_client::Client, host: Arc<str>, namespace: String, origin: Origin) -> Client {
        let access = Arc::new(RwLock::new(Access { inner, host, renewed: None }));
        Client { access, outage: Arc::new(Outage::new()), origin, namespace, metrics: None }
    }

    fn access(&self) -> (kube_client::Client, Arc<str>) {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        (access.inner.clone(), access.host.clone())
    }

    /// Reads the credentials again after the server refused them; whether it is worth asking once more. A token that is replaced
    /// while it is valid needs none of this: its file is read again within a minute.
    async fn renew(&self) -> bool {
        {
            let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
            if access.renewed.is_some_and(|renewed| renewed.elapsed() < RENEW_EVERY) {
                return false;
            }
            access.renewed = Some(Instant::now());
        }
        let Ok((inner, host, _)) = open(&self.origin).await else { return false };
        let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
        (access.inner, access.host) = (inner, host);
        true
    }

    /// The namespace that the credentials name as their own.
    pub fn default_namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads one object.
    ///
    /// # Errors
    /// [`Error::Refused`] with code 404 when there is none.
    pub async fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<K, Error> {
        let path = format!("{}/{}", K::KIND.path(Some(namespace)), escape(name));
        self.object(Method::GET, &path, &K::KIND, None).await
    }

    /// Creates one object and returns it as the server completed it.
    ///
    /// # Errors
    /// [`Error::Refused`] says why not; 409 when it exists.
    pub async fn create<K: Object>(&self, namespace: &str, object: &Value) -> Result<K, Error> {
        let body = ("application/json", object.to_string());
        self.object(Method::POST, &K::KIND.path(Some(namespace)), &K::KIND, Some(body)).await
    }

    /// Applies a JSON merge patch (RFC 7386) to an object, or to its `status` or another `subresource`. With a
    /// `metadata.resourceVersion` in the patch the server takes it only if nobody else wrote in between.
    ///
    /// # Errors
    /// [`Error::Refused`], see [`Error::is_conflict`].
    pub async fn patch<K: Object>(&self, namespace: &str, name: &str, subresource: Option<&str>, patch: &Value) -> Result<K, Error> {
        let mut path = format!("{}/{}", K::KIND.path(Some(namespace)), escape(name));
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        let body = ("application/merge-patch+json", patch.to_string());
        self.object(Method::PATCH, &path, &K::KIND, Some(body)).await
    }

    /// Sends any request and reads the JSON that comes back: for kinds known at run time, whole objects, and verbs of their own.
    ///
    /// # Errors
    /// As for every write.
    pub async fn call(&self, method: Method, path: &str, body: Option<(&'static str, &Value)>) -> Result<Value, Error> {
        let body = body.map(|(content_type, value)| (content_type, value.to_string()));
        let (_, body) = self.collect(self.send(method, path, "application/json", body).await?).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Unreadable(error.to_string()))
    }

    /// Writes an Event about an object.
    ///
    /// # Errors
    /// As for every write. Nobody should wait for an Event or retry it for long.
    pub async fn record(&self, occurrence: &Occurrence<'_>) -> Result<(), Error> {
        let (path, body) = (occurrence.path(), occurrence.body().to_string());
        self.collect(self.send(Method::POST, &path, "application/json", Some(("application/json", body))).await?).await?;
        Ok(())
    }

    /// One page of a list; `continue_token` is empty for the first. A `limit` of 0 asks for everything at once.
    pub(crate) async fn page<K: Object>(&self, scope: &Scope, limit: u32, continue_token: &str) -> Result<List<K>, Error> {
        let mut path = K::KIND.path(scope.namespace.as_deref());
        path.push_str(&format!("?limit={limit}{}", scope.query()));
        if !continue_token.is_empty() {
            path.push_str("&continue=");
            path.push_str(&escape(continue_token));
        }
        let (encoding, body) = self.collect(self.send(Method::GET, &path, accept(&K::KIND), None).await?).await?;
        Ok(List::decode(encoding, &body)?)
    }

    /// Opens a watch from `version` on. The server ends it after `seconds`.
    pub(crate) async fn watch<K: Object>(&self, scope: &Scope, version: &str, seconds: u64) -> Result<(Encoding, Body), Error> {
        let mut path = K::KIND.path(scope.namespace.as_deref());
        path.push_str(&format!("?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}", escape(version)));
        path.push_str(&scope.query());
        let response = self.send(Method::GET, &path, accept(&K::KIND), None).await?;
        Ok((encoding_of(&response)?, response.into_body()))
    }

    async fn object<K: Object>(&self, method: Method, path: &str, kind: &Kind, body: Option<(&'static str, String)>) -> Result<K, Error> {
        let (encoding, body) = self.collect(self.send(method, path, accept(kind), body).await?).await?;
        Ok(K::decode(encoding, &body)?)
    }

    /// Sends a request and turns every answer that is no success into an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, String)>,
    ) -> Result<Response<Body>, Error> {
        match self.try_send(&method, path, accept, body.clone()).await {
            Err(error) if error.code() == Some(401) && self.renew().await => self.try_send(&method, path, accept, body).await,
            answer => answer,
        }
    }

    async fn try_send(
        &self,
        method: &Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, String)>,
    ) -> Result<Response<Body>, Error> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        let body = match body {
            None => Body::empty(),
            Some((content_type, text)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Body::from(text.into_bytes())
            }
        };
        let request = request.body(body).map_err(|error| Error::Unreadable(error.to_string()))?;
        let ((inner, host), started) = (self.access(), Instant::now());
        let answer = match timeout(ANSWER_WITHIN, inner.send(request)).await {
            Err(_) => Err(Error::Timeout(ANSWER_WITHIN)),
            Ok(Err(error)) => Err(Error::Transport(chain(&error))),
            Ok(Ok(response)) if response.status().is_success() => Ok(response),
            Ok(Ok(response)) => Err(refusal(response).await),
        };
        if let Some(metrics) = &self.metrics {
            metrics.note(method, &host, started.elapsed(), answer.as_ref().map(|response| response.status().as_u16()));
        }
        answer
    }

    async fn collect(&self, response: Response<Body>) -> Result<(Encoding, Bytes), Error> {
        let encoding = encoding_of(&response)?;
        let body = timeout(ANSWER_WITHIN, Limited::new(response.into_body(), MAX_BODY_BYTES).collect()).await;
        let body = body
            .map_err(|_| Error::Timeout(ANSWER_WITHIN))?
            .map_err(|error| Error::Unreadable(format!("it broke off: {}", chain(&*error))))?;
        Ok((encoding, body.to_bytes()))
    }
}

impl Endpoint {
    /// What a file of this server and these credentials alone would say.
    fn kubeconfig(&self) -> Kubeconfig {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (mut cluster, mut user) = (Cluster { server: Some(self.url.clone()), ..Cluster::default() }, AuthInfo::default());
        if let Some(Tls { certificate, key, authority }) = &self.tls {
            cluster.certificate_authority = Some(text(authority));
            (user.client_certificate, user.client_key) = (Some(text(certificate)), Some(text(key)));
        }
        let name = || "endpoint".to_owned();
        let context = Context { cluster: name(), user: Some(name()), ..Context::default() };
        Kubeconfig {
            clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), other: BTreeMap::new() }],
            auth_infos: vec![NamedAuthInfo { name: name(), auth_info: Some(user), other: BTreeMap::new() }],
            contexts: vec![NamedContext { name: name(), context: Some(context), other: BTreeMap::new() }],
            current_context: Some(name()),
            ..Kubeconfig::default()
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Kubeconfig(path) => write!(f, "kubeconfig {}", path.display()),
            Origin::Context(path, context) => write!(f, "kubeconfig {}, context {context}", path.display()),
            Origin::Endpoint(endpoint) => f.write_str(&endpoint.url),
            Origin::InCluster => f.write_str("in-cluster credentials"),
        }
    }
}

/// Reads the credentials and makes a connection of them; also the server that they are for, and the namespace that they name.
async fn open(origin: &Origin) -> Result<(kube_client::Client, Arc<str>, String), Error> {
    let refuse = |reason: String| Error::Credentials { origin: origin.to_string(), reason };
    let file = match origin {
        Origin::Kubeconfig(path) | Origin::Context(path, _) => Some(Kubeconfig::read_from(path).map_err(|error| refuse(chain(&error)))?),
        Origin::Endpoint(endpoint) => Some(endpoint.kubeconfig()),
        Origin::InCluster => None,
    };
    let context = if let Origin::Context(_, context) = origin { Some(context.clone()) } else { None };
    let mut config = match file {
        Some(file) => {
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            let config = kube_client::Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|error| refuse(chain(&error)))?
        }
        None => kube_client::Config::incluster().map_err(|error| refuse(chain(&error)))?,
    };
    // Retries are ours: `follow` knows what it has and what it may skip.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let host = config.cluster_url.authority().map_or("", |authority| authority.as_str()).into();
    let inner = transport::client(config).map_err(|error| refuse(chain(&error)))?;
    Ok((inner, host, namespace))
}

/// Servers without protobuf for a kind answer in JSON; the answer's own Content-Type decides how it is read.
fn accept(kind: &Kind) -> &'static str {
    if kind.protobuf { "application/vnd.kubernetes.protobuf,application/json" } else { "application/json" }
}

fn encoding_of(response: &Response<Body>) -> Result<Encoding, Error> {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    Encoding::of_content_type(content_type)
        .ok_or_else(|| Error::Unreadable(format!("Content-Type {content_type:?} is neither JSON nor Kubernetes protobuf")))
}

/// The `Status` in the body; of a proxy or of flow control, whose bodies are text, as much as fits one line.
async fn refusal(response: Response<Body>) -> Error {
    let code = response.status();
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let encoding = encoding_of(&response);
    let body = timeout(ANSWER_WITHIN, Limited::new(response.into_body(), MAX_ERROR_BYTES).collect()).await;
    let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let mut status = encoding.ok().and_then(|encoding| Status::decode(encoding, &body).ok()).unwrap_or_default();
    status.code = i32::from(code.as_u16());
    if status.message.is_empty() && status.reason.is_empty() {
        let text = String::from_utf8_lossy(&body);
        let line: String = text.lines().next().unwrap_or("").chars().take(200).collect();
        status.message = if line.is_empty() { reason_of(code).into() } else { line.into() };
    }
    Error::Refused { status: Box::new(status), retry_after: seconds.map(Duration::from_secs) }
}

fn reason_of(code: StatusCode) -> &'static str {
    code.canonical_reason().unwrap_or("no reason given")
}

/// An error with its causes, since the outermost often says no more than "service error".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_as_good_as_a_file() {
        runtime::tls::install_provider();
        let endpoint = |url: &str, tls| Origin::Endpoint(Endpoint { url: url.to_owned(), tls });
        assert!(open(&endpoint("http://127.0.0.1:8001", None)).await.is_ok());
        let file = |name: &str| PathBuf::from("/nowhere").join(name);
        let tls = Tls { certificate: file("cert"), key: file("key"), authority: file("ca") };
        let error = open(&endpoint("https://127.0.0.1:6443", Some(tls))).await.err().expect("no such file").to_string();
        assert!(error.starts_with("cannot use https://127.0.0.1:6443: ") && error.contains("/nowhere/ca"), "{error}");
    }
}
