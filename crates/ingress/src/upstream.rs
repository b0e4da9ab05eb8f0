//! Upstreams: which endpoint a request goes to, and the connections to it.
//!
//! An [`Upstream`] is one backend's endpoints, shared by all cores and patched in place when they change; connections are each core's
//! own ([`pool`]). Must not know routes, nor what a request says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use model::route;

pub(crate) mod connection;
pub(crate) mod pool;

pub(crate) struct Upstream {
    target: ArcSwap<route::Upstream>,
    /// Whose turn it is, among all cores.
    turn: AtomicUsize,
    /// What the host of an ExternalName was last looked up to.
    looked_up: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
}

/// Why there is nobody to send a request to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEndpoint {
    #[error("no endpoint is ready")]
    NoneReady,
    #[error("there is no such Service or port")]
    Absent,
    #[error("the external name leads to no address that may be used")]
    NotFound,
}

/// How long the addresses of an external name are believed. ingress-nginx asks each second; the resolver behind us keeps to the TTL.
const LOOKED_UP_FOR: Duration = Duration::from_secs(1);

/// How long a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(target: Arc<route::Upstream>) -> Self {
        Self { target: ArcSwap::new(target), turn: AtomicUsize::new(0), looked_up: Mutex::new(None) }
    }

    /// Requests from now on go there; those in flight stay where they are.
    pub(crate) fn set(&self, target: Arc<route::Upstream>) {
        self.target.store(target);
        *self.looked_up.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The next endpoint in turn that is not among `tried`; if all are, any of them.
    pub(crate) async fn pick(&self, tried: &[SocketAddr]) -> Result<SocketAddr, NoEndpoint> {
        let external = match &**self.target.load() {
            route::Upstream::Endpoints(endpoints) => return self.next(endpoints, tried).ok_or(NoEndpoint::NoneReady),
            route::Upstream::Absent => return Err(NoEndpoint::Absent),
            route::Upstream::External { host, port } => (host.clone(), *port),
        };
        let addresses = self.look_up(&external.0, external.1).await;
        self.next(&addresses, tried).ok_or(NoEndpoint::NotFound)
    }

    fn next(&self, endpoints: &[SocketAddr], tried: &[SocketAddr]) -> Option<SocketAddr> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..endpoints.len()).map(|at| endpoints[start.wrapping_add(at) % endpoints.len()]);
        in_turn.clone().find(|endpoint| !tried.contains(endpoint)).or(in_turn.into_iter().next())
    }

    /// The addresses of a host, but no loopback, link-local or unspecified ones: whoever may write a Service must not reach what
    /// listens for this machine alone, metadata services among them.
    async fn look_up(&self, host: &str, port: u16) -> Arc<[SocketAddr]> {
        let known = || self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, addresses)) = known()
            && at.elapsed() < LOOKED_UP_FOR
        {
            return addresses;
        }
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let addresses: Arc<[SocketAddr]> = match found {
            Ok(Ok(addresses)) => addresses.filter(|address| may_be_used(*address)).collect(),
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "could not look an external name up");
                Arc::default()
            }
            Err(_) => Arc::default(),
        };
        *self.looked_up.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), addresses.clone()));
        addresses
    }
}

fn may_be_used(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast()),
        std::net::IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()),
    }
}
