//! Ingress: from a request to an upstream and back (L7).
//!
//! Owns what happens on the connections of clients and of upstreams: listeners, TLS by SNI, matching, filters, pools, retries, the
//! access log. Everything it serves comes from one [`RouteView`]; it must not know Ingress objects, annotations (they arrive as typed
//! options), the Kubernetes API, or who reads its reports.
//!
//! ```text
//! listener -> downstream (TLS, HTTP/1.1) -> table (host, path) -> filter (redirect, rewrite, headers) -> upstream (pick, pool, send)
//! ```
//!
//! One thread per core with a runtime of its own; a connection lives on one core from accept to close. What all cores read is the
//! [`Table`](table::Table), swapped atomically and patched per host and per upstream as the view changes.

mod access_log;
mod body;
mod config;
mod core;
mod downstream;
mod filter;
mod follow;
mod listen;
mod metrics;
mod page;
mod proxy;
mod table;
mod tls;
pub mod trace;
mod upstream;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{Issue, ObjectRef, Revision, RouteView};
use runtime::listen::BindError;
use runtime::{Drain, Registry};
use tokio::sync::{mpsc, watch};

pub use config::{AccessLog, Config, ForwardedHeaders, Limits, Timeouts};
pub use upstream::Names;

/// What serves, once it was started.
pub struct Running {
    /// The addresses that were really bound, in the order of the configuration.
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    /// The revision of the RouteView that requests are answered by; `None` until the first view came. No connection is accepted
    /// before that, so that a restart never answers 404 for a route it has yet to hear of.
    pub applied: watch::Receiver<Option<Revision>>,
    /// What only this part can find wrong: certificates. Level-triggered: the last report about an object replaces the ones before.
    pub reports: mpsc::Receiver<Report>,
}

/// All issues of one object as they are now; none: it is well again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub object: ObjectRef,
    pub issues: Vec<Issue>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{source} ({flag})")]
    Bind {
        flag: &'static str,
        #[source]
        source: BindError,
    },
    #[error("cannot start an ingress thread: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot make the default certificate: {0}")]
    OwnCertificate(#[source] rcgen::Error),
}

/// Binds every address of `config`, starts a thread per core and one that follows `routes`, and returns at once.
///
/// The first view is what `routes` holds if that has a revision, else the next that is sent, empty or not. When `drain` starts, the
/// listeners close once their backlog is taken, idle connections close, requests in flight are finished and answered with
/// `Connection: close`; what then still lives after `config.timeouts.drain` (a WebSocket, say) is cut.
///
/// # Errors
/// An address that cannot be bound, named with its flag; nothing is left running then.
pub fn start(config: Config, routes: watch::Receiver<Arc<RouteView>>, drain: Drain, registry: &Registry) -> Result<Running, Error> {
    runtime::tls::install_provider();
    let bound = listen::bind(&config)?;
    let (reports, reports_out) = mpsc::channel(config::REPORT_QUEUE);
    let (applied, applied_out) = watch::channel(None);
    let own_certificate = tls::certificate::make_own().map_err(Error::OwnCertificate)?;
    let (http, https) = (bound.http.clone(), bound.https.clone());
    let shared = Arc::new(core::Shared::new(config, own_certificate, registry, drain.clone()).map_err(Error::Thread)?);
    follow::spawn(shared.clone(), routes, applied, reports, drain.clone()).map_err(Error::Thread)?;
    for (core, listeners) in bound.per_core.into_iter().enumerate() {
        worker::spawn(core, listeners, shared.clone(), applied_out.clone(), drain.clone()).map_err(Error::Thread)?;
    }
    Ok(Running { http, https, applied: applied_out, reports: reports_out })
}
