//! RouteView: where an HTTP request goes: listeners, hosts, ordered routes, and upstreams apart from them.
//!
//! Shaped for the Gateway API (listeners x host names x ordered matches -> filters + weighted backends); Ingress lowers to it.
//! Endpoints stand apart from routes, so that one endpoint's change touches one upstream. Owns the shape and the typed options;
//! `resolve` fills it, `ingress` reads it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::facts::{BackendPort, PathMatch, Secret};
use crate::names::{ObjectRef, Revision, SecretName, ServiceName, Text};
use crate::options::{Canary, RouteOptions};
use crate::view::View;

#[derive(Clone, Debug, Default)]
pub struct RouteView {
    pub revision: Revision,
    pub hosts: View<HostKey, Arc<Host>>,
    pub upstreams: View<UpstreamKey, Arc<Upstream>>,
    /// The Secrets that hosts refer to, as they are: whether a certificate is one is `ingress`'s to say.
    pub secrets: View<SecretName, Arc<Secret>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostKey {
    pub listener: Listener,
    pub host: HostPattern,
}

/// Where requests come in. Ingress has one pair of listeners (HTTP and HTTPS share their routes); a Gateway names its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    Ingress,
    Gateway { gateway: Text, listener: Text, port: u16 },
}

/// Which host names; lower case. An exact one wins over a wildcard, a wildcard over `Any`; there is no falling through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Exact(Text),
    /// `*.` and this suffix: for Ingress exactly one label more.
    Wildcard(Text),
    Any,
}

/// One virtual host: its routes, the first match wins, and its certificates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// In the order in which they are to be tried.
    pub routes: Vec<Route>,
    /// Candidates for this host's certificate, the preferred first. One that does not cover the host is passed over.
    pub certificates: Vec<SecretName>,
    /// A `tls` section names this host, whether or not its Secret exists.
    pub tls: bool,
    /// What answers when no route matches; `None`: 404.
    pub default_backend: Option<Arc<Route>>,
    /// Other names of this host, lower case; a host of its own of that name comes first.
    pub aliases: Vec<Text>,
    /// The name with or without `www.` redirects here, unless it is a host of its own.
    pub from_to_www: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub path: PathMatch,
    pub method: Option<Text>,
    pub headers: Vec<ValueMatch>,
    pub query: Vec<ValueMatch>,
    pub options: Arc<RouteOptions>,
    pub action: Action,
    /// Who else may get this route's requests, and which of them.
    pub canary: Option<Arc<CanaryBackend>>,
    /// Who decided this: for logs, metrics and trace.
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub object: ObjectRef,
    /// `spec.rules[0].http.paths[1]`.
    pub field: Text,
}

/// A header or query parameter and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMatch {
    pub name: Text,
    pub value: ValuePattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePattern {
    Exact(Text),
    Regex(Text),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To one of these by weight.
    Forward(Vec<WeightedBackend>),
    /// A backend that we do not serve (a resource).
    NotFound,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    pub upstream: UpstreamKey,
    pub weight: u32,
}

/// The backend of a canary Ingress, with its terms. The options of the route that it shares hold for it as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryBackend {
    pub upstream: UpstreamKey,
    pub terms: Canary,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    pub service: ServiceName,
    pub port: BackendPort,
}

/// Where a backend's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Ready endpoints of both families, sorted, each once; none: 503.
    Endpoints(Arc<[SocketAddr]>),
    /// An ExternalName Service: a host to be looked up.
    External { host: Text, port: u16 },
    /// No such Service, or no such port of it: 503, and an issue of the route's object says which.
    Absent,
}
