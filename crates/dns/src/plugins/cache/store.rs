//! Answers kept as they were sent, within a bound of bytes that all zones share.
//!
//! Entries go out by second chance: the oldest goes unless it was asked for since it last had its turn.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use runtime::metrics::{IntCounter, IntGauge};

use super::Prefetch;
use crate::server::metrics::Metrics;
use crate::wire::rcode;

/// 16 MiB: about 25,000 answers of 100 octets.
pub(crate) const MAX_BYTES: usize = 16 << 20;
const SHARDS: usize = 16;
/// What an entry costs beside its bytes: its place in a table and a queue that are half empty at the worst, and three allocations.
const OVERHEAD: usize = 2 * size_of::<(Arc<[u8]>, Slot)>() + 2 * size_of::<Arc<[u8]>>() + 3 * 16;

/// One answer.
pub(crate) struct Stored {
    /// The message without an OPT record.
    pub(crate) wire: Box<[u8]>,
    /// Where its TTLs stand.
    pub(crate) ttls: Box<[u16]>,
    /// Where addresses stand that may change places, and how many they are.
    pub(crate) addresses: Option<Range<usize>>,
    pub(crate) n_addresses: u16,
    pub(crate) code: u8,
    pub(crate) denial: bool,
    pub(crate) at: Instant,
    pub(crate) until: Instant,
    pub(crate) stale_until: Instant,
    /// Somebody asks for a new one already.
    pub(crate) refreshing: AtomicBool,
    /// When to ask again after that was in vain (milliseconds after `at`).
    retry_after: AtomicU64,
    /// Questions in a row without a long pause, and when the last one came (milliseconds after `at`).
    n_asked: AtomicU32,
    last_asked: AtomicU64,
    counts: Arc<Counts>,
}

/// What is counted of one kind of entries of one cache.
pub(crate) struct Counts {
    denial: bool,
    pub(crate) hits: IntCounter,
    entries: IntGauge,
    evictions: IntCounter,
}

pub(crate) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Arc<[u8]>, Slot>,
    queue: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

struct Slot {
    stored: Stored,
    used: AtomicBool,
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics, server: &str, kind: &str, zones: &str) -> Self {
        let labels = [server, kind, zones, ""];
        Self {
            denial: kind == "denial",
            hits: metrics.cache_hits.with_label_values(&labels),
            entries: metrics.cache_entries.with_label_values(&labels),
            evictions: metrics.cache_evictions.with_label_values(&labels),
        }
    }
}

#[cfg(test)]
impl Counts {
    pub(crate) fn entries(&self) -> i64 {
        self.entries.get()
    }
}

impl Stored {
    pub(crate) fn new(
        wire: Box<[u8]>,
        ttls: Box<[u16]>,
        code: u8,
        counts: Arc<Counts>,
        at: Instant,
        until: Instant,
        stale_until: Instant,
    ) -> Self {
        counts.entries.inc();
        let (refreshing, retry_after) = (AtomicBool::new(false), AtomicU64::new(0));
        let (n_asked, last_asked) = (AtomicU32::new(0), AtomicU64::new(0));
        let (addresses, n_addresses) = super::addresses(&wire).map_or((None, 1), |(range, n)| (Some(range), n));
        Self {
            wire,
            ttls,
            addresses,
            n_addresses,
            code,
            denial: counts.denial,
            at,
            until,
            stale_until,
            refreshing,
            retry_after,
            n_asked,
            last_asked,
            counts,
        }
    }

    /// Whether it may stand in for an answer that cannot be had. A failure is not worth more for being old.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.stale_until > now && self.code != rcode::SERVFAIL
    }

    /// Whether the pause after a refresh that failed is over.
    pub(crate) fn may_refresh(&self, now: Instant) -> bool {
        now.duration_since(self.at).as_millis() as u64 >= self.retry_after.load(Ordering::Relaxed)
    }

    /// A refresh failed: the next one is not before `again`.
    pub(crate) fn not_refreshed(&self, again: Instant) {
        self.retry_after.store(again.duration_since(self.at).as_millis() as u64, Ordering::Relaxed);
        self.refreshing.store(false, Ordering::Relaxed);
    }

    /// Counts a question; tells whether it is time to ask for the answer again.
    pub(crate) fn asked(&self, prefetch: &Prefetch, now: Instant) -> bool {
        let since = now.duration_since(self.at).as_millis() as u64;
        let last = self.last_asked.swap(since, Ordering::Relaxed);
        // Under the lock of the shard: nobody counts at the same time.
        let n_asked =
            if since.saturating_sub(last) > prefetch.within.as_millis() as u64 { 1 } else { self.n_asked.load(Ordering::Relaxed) + 1 };
        self.n_asked.store(n_asked, Ordering::Relaxed);
        let (left, all) = (self.until.duration_since(now), self.until.duration_since(self.at));
        n_asked >= prefetch.amount && left <= all.mul_f64(f64::from(prefetch.percentage) / 100.0)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.counts.entries.dec();
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// Hands the entry of `key` to `read`, under the lock of its shard.
    pub(crate) fn read<T>(&self, key: &[u8], read: impl FnOnce(&Stored) -> T) -> Option<T> {
        let shard = self.shard(key);
        let slot = shard.entries.get(key)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(read(&slot.stored))
    }

    /// Keeps an answer; tells how many others had to go for it.
    pub(crate) fn insert(&self, key: &[u8], stored: Stored) -> usize {
        let budget = MAX_BYTES / SHARDS;
        let cost = cost(key, &stored);
        if cost > budget / 4 {
            return 0;
        }
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        match shard.entries.get_mut(key) {
            Some(slot) => {
                shard.bytes = shard.bytes + cost - self::cost(key, &slot.stored);
                // A name stays much asked for when its answer is replaced.
                stored.n_asked.store(slot.stored.n_asked.load(Ordering::Relaxed), Ordering::Relaxed);
                slot.stored = stored;
            }
            None => {
                let key: Arc<[u8]> = key.into();
                shard.queue.push_back(key.clone());
                shard.entries.insert(key, Slot { stored, used: AtomicBool::new(false) });
                shard.bytes += cost;
            }
        }
        let mut gone = 0;
        while shard.bytes > budget {
            let Some(oldest) = shard.queue.pop_front() else { break };
            let Some(slot) = shard.entries.get(&oldest) else { continue };
            if slot.used.swap(false, Ordering::Relaxed) {
                shard.queue.push_back(oldest);
            } else {
                shard.bytes -= self::cost(&oldest, &slot.stored);
                slot.stored.counts.evictions.inc();
                shard.entries.remove(&oldest);
                gone += 1;
            }
        }
        gone
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if let Some((key, slot)) = shard.entries.remove_entry(key) {
            shard.bytes -= cost(&key, &slot.stored);
            shard.queue.retain(|queued| !Arc::ptr_eq(queued, &key));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

fn cost(key: &[u8], stored: &Stored) -> usize {
    key.len() + stored.wire.len() + 2 * stored.ttls.len() + OVERHEAD
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // An entry is written whole or not at all.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
