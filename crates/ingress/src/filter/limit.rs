//! Limits per client address: requests per time, and requests at once (`limit-rps`, `limit-rpm`, `limit-connections`).
//!
//! Each replica counts for itself, all its cores together. The tables are bounded: an address that finds no room is refused, as
//! nginx does when its zone is full.

use std::collections::HashMap;
use std::hash::Hash as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::options::RateLimits;

/// Addresses per route and limit: what nginx's zones of 5 MB hold.
const MAX_ADDRESSES: usize = 80_000;

/// Parts that are locked apart, so that cores seldom meet.
const SHARDS: usize = 16;

pub(crate) struct Limits {
    rates: Vec<Rate>,
    connections: Option<(u32, Arc<Sharded<u32>>)>,
    exempt: Vec<ipnet::IpNet>,
}

/// One leaky bucket per address: it takes `burst` at once and leaks one request each `interval`.
struct Rate {
    interval: Duration,
    burst: u32,
    /// When the bucket will be empty.
    empty_at: Sharded<Instant>,
}

/// A request that counts while it lives.
pub(crate) struct InFlight {
    address: IpAddr,
    counts: Arc<Sharded<u32>>,
}

struct Sharded<V>([Mutex<HashMap<IpAddr, V>>; SHARDS]);

// === impl Limits ===

impl Limits {
    /// `None` if nothing is limited.
    pub(crate) fn new(limits: &RateLimits) -> Option<Self> {
        let rate = |n: Option<u32>, time: Duration| {
            let n = n.filter(|n| *n > 0)?;
            Some(Rate { interval: time / n, burst: n.saturating_mul(limits.burst_multiplier.max(1)), empty_at: Sharded::new() })
        };
        let rates: Vec<Rate> =
            rate(limits.per_second, Duration::from_secs(1)).into_iter().chain(rate(limits.per_minute, Duration::from_secs(60))).collect();
        let connections = limits.connections.filter(|max| *max > 0).map(|max| (max, Arc::new(Sharded::new())));
        (!rates.is_empty() || connections.is_some()).then(|| Self { rates, connections, exempt: limits.exempt.clone() })
    }

    /// Lets a request in, or not; one that counts among those at once has a token to hold for as long as it lives.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> Result<Option<InFlight>, Exceeded> {
        if self.exempt.iter().any(|net| net.contains(&address)) {
            return Ok(None);
        }
        let in_flight = match &self.connections {
            None => None,
            Some((max, counts)) => {
                let mut shard = counts.lock(address);
                if shard.len() >= MAX_ADDRESSES / SHARDS && !shard.contains_key(&address) {
                    return Err(Exceeded);
                }
                let count = shard.entry(address).or_default();
                if *count >= *max {
                    return Err(Exceeded);
                }
                *count += 1;
                Some(InFlight { address, counts: counts.clone() })
            }
        };
        if self.rates.iter().all(|rate| rate.admit(address, now)) { Ok(in_flight) } else { Err(Exceeded) }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exceeded;

// === impl Rate ===

impl Rate {
    /// One request and `burst` more at once (nginx `limit_req burst=N nodelay`).
    fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut shard = self.empty_at.lock(address);
        if shard.len() >= MAX_ADDRESSES / SHARDS && !shard.contains_key(&address) {
            shard.retain(|_, empty_at| *empty_at > now);
            if shard.len() >= MAX_ADDRESSES / SHARDS {
                return false;
            }
        }
        let empty_at = shard.entry(address).or_insert(now);
        let level = empty_at.saturating_duration_since(now);
        if level > self.interval * self.burst {
            return false;
        }
        *empty_at = now + level + self.interval;
        true
    }
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut shard = self.counts.lock(self.address);
        if let Some(count) = shard.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.address);
            }
        }
    }
}

// === impl Sharded ===

impl<V> Sharded<V> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    fn lock(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, V>> {
        let mut hasher = std::hash::DefaultHasher::new();
        address.hash(&mut hasher);
        let at = std::hash::Hasher::finish(&hasher) as usize % SHARDS;
        // A count cannot be left half written.
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_its_burst_in_and_then_one_at_a_time() {
        let limits = RateLimits { per_second: Some(2), burst_multiplier: 2, ..RateLimits::default() };
        let limits = Limits::new(&limits).expect("limits");
        let start = Instant::now();
        let client = "192.0.2.1".parse().expect("an address");
        let admitted = |at_ms| limits.admit(client, start + Duration::from_millis(at_ms)).is_ok();
        assert_eq!((0..7).filter(|_| admitted(0)).count(), 5, "one and a burst of four");
        assert!(!admitted(400));
        assert!(admitted(500));
        assert!(!admitted(500));
        assert!(limits.admit("192.0.2.2".parse().expect("an address"), start).is_ok(), "another client");
    }

    #[test]
    fn requests_at_once_are_counted_while_they_live() {
        let exempt = vec!["192.0.2.9/32".parse().expect("a range")];
        let limits = Limits::new(&RateLimits { connections: Some(2), exempt, ..RateLimits::default() }).expect("limits");
        let client = "192.0.2.1".parse().expect("an address");
        let now = Instant::now();
        let first = limits.admit(client, now).expect("the first");
        let _second = limits.admit(client, now).expect("the second");
        assert!(limits.admit(client, now).is_err());
        drop(first);
        let _third = limits.admit(client, now).expect("in place of the first");
        assert!((0..9).all(|_| limits.admit("192.0.2.9".parse().expect("an address"), now).is_ok()), "exempt");
        assert!(Limits::new(&RateLimits::default()).is_none());
    }
}
