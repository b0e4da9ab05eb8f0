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

/// By what an endpoint is chosen.
pub(crate) enum By {
    Turn,
    /// The endpoint of this token, if it is still there (session affinity).
    Token(u64),
    /// Requests of one hash go to one endpoint, or by `random` to one of the `subset` that are first for it.
    Hash {
        hash: u64,
        subset: u32,
        random: u64,
    },
}

/// Where the names that users write may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Not to this machine alone: no loopback, link-local or unspecified address. Whoever may write a Service or an annotation must not
    /// reach what listens there, metadata services among them.
    #[default]
    Outside,
    Anywhere,
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

    /// An endpoint that is not among `tried`; if all are, any of them.
    pub(crate) async fn pick(&self, tried: &[SocketAddr], by: &By, names: Names) -> Result<SocketAddr, NoEndpoint> {
        let external = match &**self.target.load() {
            route::Upstream::Endpoints(endpoints) => return self.choose(endpoints, tried, by).ok_or(NoEndpoint::NoneReady),
            route::Upstream::Absent => return Err(NoEndpoint::Absent),
            route::Upstream::External { host, port } => (host.clone(), *port),
        };
        let addresses = self.look_up(&external.0, external.1, names).await;
        self.choose(&addresses, tried, by).ok_or(NoEndpoint::NotFound)
    }

    /// Whether the token is that of an endpoint that is ready now.
    pub(crate) fn has(&self, wanted: u64) -> bool {
        match &**self.target.load() {
            route::Upstream::Endpoints(endpoints) => endpoints.iter().any(|endpoint| token(*endpoint) == wanted),
            route::Upstream::External { .. } | route::Upstream::Absent => false,
        }
    }

    fn choose(&self, endpoints: &[SocketAddr], tried: &[SocketAddr], by: &By) -> Option<SocketAddr> {
        let untried = |endpoint: &SocketAddr| !tried.contains(endpoint);
        let wanted = match by {
            By::Turn => None,
            By::Token(wanted) => endpoints.iter().copied().find(|endpoint| token(*endpoint) == *wanted),
            By::Hash { hash, subset, random } => first_for(endpoints, *hash, *subset, *random),
        };
        wanted.filter(untried).or_else(|| self.next(endpoints, tried))
    }

    fn next(&self, endpoints: &[SocketAddr], tried: &[SocketAddr]) -> Option<SocketAddr> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..endpoints.len()).map(|at| endpoints[start.wrapping_add(at) % endpoints.len()]);
        in_turn.clone().find(|endpoint| !tried.contains(endpoint)).or(in_turn.into_iter().next())
    }

    /// The addresses of a host that may be gone to.
    async fn look_up(&self, host: &str, port: u16, names: Names) -> Arc<[SocketAddr]> {
        let known = || self.looked_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, addresses)) = known()
            && at.elapsed() < LOOKED_UP_FOR
        {
            return addresses;
        }
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let addresses: Arc<[SocketAddr]> = match found {
            Ok(Ok(addresses)) => addresses.filter(|address| names == Names::Anywhere || may_be_used(*address)).collect(),
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

/// The number that stands for an endpoint in a session cookie: the same in every replica and after every restart.
///
/// Source: FNV-1a, 64 bits.
pub(crate) fn token(endpoint: SocketAddr) -> u64 {
    fnv(endpoint.to_string().as_bytes())
}

pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Rendezvous hashing: when an endpoint goes, only its own requests move.
fn first_for(endpoints: &[SocketAddr], hash: u64, subset: u32, random: u64) -> Option<SocketAddr> {
    let weight = |endpoint: SocketAddr| fnv(&[hash.to_le_bytes(), token(endpoint).to_le_bytes()].concat());
    if subset <= 1 {
        return endpoints.iter().copied().max_by_key(|endpoint| weight(*endpoint));
    }
    let mut ranked = endpoints.to_vec();
    ranked.sort_by_cached_key(|endpoint| std::cmp::Reverse(weight(*endpoint)));
    ranked.truncate(subset as usize);
    ranked.get(random.checked_rem(ranked.len() as u64)? as usize).copied()
}

fn may_be_used(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast()),
        std::net::IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(n: u16) -> Vec<SocketAddr> {
        (0..n).map(|n| SocketAddr::from(([10, 0, 0, 1], 8_000 + n))).collect()
    }

    fn upstream(endpoints: &[SocketAddr]) -> Upstream {
        Upstream::new(Arc::new(route::Upstream::Endpoints(endpoints.into())))
    }

    #[test]
    fn endpoints_take_turns_and_tried_ones_are_passed_over() {
        let all = endpoints(3);
        let upstream = upstream(&all);
        let picked: Vec<_> = (0..4).filter_map(|_| upstream.choose(&all, &[], &By::Turn)).collect();
        assert_eq!(picked, [all[0], all[1], all[2], all[0]]);
        assert_eq!(upstream.choose(&all, &[all[1]], &By::Turn), Some(all[2]));
        assert!(upstream.choose(&all, &all, &By::Turn).is_some(), "better one that failed than none");
        assert_eq!(upstream.choose(&[], &[], &By::Turn), None);
    }

    #[test]
    fn a_token_leads_back_to_its_endpoint_while_that_is_there() {
        let all = endpoints(5);
        let upstream = upstream(&all);
        let by = By::Token(token(all[3]));
        assert!((0..9).all(|_| upstream.choose(&all, &[], &by) == Some(all[3])));
        assert_ne!(upstream.choose(&all, &[all[3]], &by), Some(all[3]));
        assert!(upstream.choose(&all[..3], &[], &by).is_some());
    }

    #[test]
    fn one_hash_leads_to_one_endpoint_or_to_a_few() {
        let all = endpoints(6);
        let pick = |hash: u64, subset, random| first_for(&all, hash, subset, random).expect("an endpoint");
        assert!((0..9).all(|random| pick(7, 1, random) == pick(7, 1, 0)));
        let mut few: Vec<_> = (0..100).map(|random| pick(7, 3, random)).collect();
        few.sort_unstable();
        few.dedup();
        assert_eq!(few.len(), 3);
        let spread: std::collections::HashSet<_> = (0..100_u64).map(|n| pick(fnv(&n.to_le_bytes()), 1, 0)).collect();
        assert_eq!(spread.len(), 6);
        let without: Vec<_> = all.iter().copied().filter(|endpoint| *endpoint != pick(7, 1, 0)).collect();
        assert!(
            (0..100)
                .filter(|hash| pick(*hash, 1, 0) != pick(7, 1, 0))
                .all(|hash| first_for(&without, hash, 1, 0) == Some(pick(hash, 1, 0)))
        );
    }

    #[test]
    fn external_names_lead_nowhere_inside() {
        let rows = [
            ("10.0.0.1:80", true),
            ("8.8.8.8:80", true),
            ("[2001:db8::1]:80", true),
            ("127.0.0.1:80", false),
            ("169.254.169.254:80", false),
            ("0.0.0.0:80", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("[fe80::1]:80", false),
        ];
        for (address, expected) in rows {
            assert_eq!(may_be_used(address.parse().expect("an address")), expected, "{address}");
        }
    }
}
