//! A route made ready: its options compiled, its upstreams found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::http::HeaderMap;
use hyper::http::header::{HeaderName, HeaderValue};
use model::Text;
use model::facts::BackendPort;
use model::facts::PathMatch;
use model::options::RouteOptions;
use model::route::{self, Action, UpstreamKey, ValueMatch};

use super::canary::Canary;
use super::pattern::{Pattern, header_fits, path_regex, query_fits};
use crate::filter::cors::Cors;
use crate::filter::limit::Limits;
use crate::filter::rewrite::Rewrite;
use crate::upstream::Upstream;

/// What a request asks for, as rules see it.
pub(crate) struct Asked<'a> {
    /// [Normalised](super::path::normalise).
    pub path: &'a [u8],
    pub method: &'a str,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
}

pub(crate) struct Route {
    method: Option<Text>,
    headers: Vec<(HeaderName, Pattern)>,
    query: Vec<(Text, Pattern)>,
    pub policy: Policy,
    pub action: Act,
    pub canary: Option<Canary>,
    pub labels: Arc<Labels>,
}

/// What the options of a route come to on its host.
pub(crate) struct Policy {
    pub rewrite: Option<Rewrite>,
    /// Plain HTTP is sent to HTTPS.
    pub ssl_redirect: bool,
    pub cors: Option<Cors>,
    pub limits: Option<Limits>,
    pub forwarded_prefix: Option<HeaderValue>,
    pub connection: Option<HeaderValue>,
    /// The rest, which needs no making ready.
    pub options: Arc<RouteOptions>,
}

pub(crate) enum Act {
    /// To one of these by weight.
    Forward(Vec<(u32, Arc<Upstream>)>),
    NotFound,
}

/// Who answered, for the log and the metrics.
pub(crate) struct Labels {
    /// Never given twice, so that a core may keep what it found for it.
    pub id: u64,
    /// `namespace-service-port`, as ingress-nginx names an upstream.
    pub upstream: Text,
    pub of: Origins,
}

/// What the metrics of a route are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origins {
    pub namespace: Text,
    pub ingress: Text,
    pub service: Text,
    /// The rule's path, not the request's: as many series as rules.
    pub path: Text,
    /// The rule's host; `_` for every host.
    pub host: Text,
}

// === impl Route ===

impl Route {
    /// # Errors
    /// A regular expression that does not compile.
    pub(super) fn compile(
        route: &route::Route,
        host: &str,
        tls: bool,
        upstream: &mut dyn FnMut(&UpstreamKey) -> Arc<Upstream>,
    ) -> Result<Self, regex::Error> {
        let header = |ValueMatch { name, value }: &ValueMatch| -> Result<_, regex::Error> {
            // A name that no request can carry matches none.
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| regex::Error::Syntax(format!("no header name: {name:?}")))?;
            Ok((name, Pattern::compile(value)?))
        };
        let query = |ValueMatch { name, value }: &ValueMatch| -> Result<_, regex::Error> { Ok((name.clone(), Pattern::compile(value)?)) };
        Ok(Self {
            method: route.method.clone(),
            headers: route.headers.iter().map(header).collect::<Result<_, _>>()?,
            query: route.query.iter().map(query).collect::<Result<_, _>>()?,
            policy: Policy::compile(route, tls)?,
            action: match &route.action {
                Action::Forward(backends) => Act::Forward(backends.iter().map(|to| (to.weight, upstream(&to.upstream))).collect()),
                Action::NotFound => Act::NotFound,
            },
            canary: route.canary.as_ref().map(|canary| Canary::new(&canary.terms, upstream(&canary.upstream))),
            labels: Arc::new(Labels::of(route, host)),
        })
    }

    /// Whether everything but the path fits.
    pub(super) fn accepts(&self, asked: &Asked<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| **method == *asked.method)
            && self.headers.iter().all(|(name, pattern)| header_fits(asked.headers, name, pattern))
            && self.query.iter().all(|(name, pattern)| query_fits(asked.query, name, pattern))
    }
}

// === impl Policy ===

impl Policy {
    fn compile(route: &route::Route, tls: bool) -> Result<Self, regex::Error> {
        let options = &route.options;
        let rewrite = match (&options.rewrite_target, &route.path) {
            (Some(target), PathMatch::Regex(path)) if !target.is_empty() && target != path => Some(Rewrite::new(path_regex(path)?, target)),
            _ => None,
        };
        let ssl_redirect = options.force_ssl_redirect || (tls && options.ssl_redirect.unwrap_or(true));
        let value = |text: &Option<Text>| text.as_ref().filter(|text| !text.is_empty()).and_then(|text| HeaderValue::from_str(text).ok());
        Ok(Self {
            forwarded_prefix: rewrite.as_ref().and_then(|_| value(&options.forwarded_prefix)),
            rewrite,
            ssl_redirect,
            cors: options.cors.as_ref().map(Cors::new),
            limits: Limits::new(&options.limits),
            connection: value(&options.connection),
            options: options.clone(),
        })
    }
}

// === impl Labels ===

impl Labels {
    fn of(route: &route::Route, host: &str) -> Self {
        let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) = &route.path;
        let first = match &route.action {
            Action::Forward(backends) => backends.first().map(|backend| &backend.upstream),
            Action::NotFound => None,
        };
        let upstream = first.map_or_else(
            || Text::from(""),
            |UpstreamKey { service, port }| match port {
                BackendPort::Number(port) => format!("{}-{}-{port}", service.namespace, service.name).into(),
                BackendPort::Name(port) => format!("{}-{}-{port}", service.namespace, service.name).into(),
            },
        );
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            upstream,
            of: Origins {
                namespace: route.origin.object.namespace.clone(),
                ingress: route.origin.object.name.clone(),
                service: first.map_or_else(|| Text::from(""), |key| key.service.name.clone()),
                path: path.clone(),
                host: host.into(),
            },
        }
    }

    /// Whether `route` is what these labels were made of.
    pub(crate) fn is_of(&self, route: &route::Route) -> bool {
        let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) = &route.path;
        let object = &route.origin.object;
        *path == self.of.path && object.namespace == self.of.namespace && object.name == self.of.ingress
    }
}
