//! Answers kept as they were sent, within a bound of bytes that all zones share.
//!
//! Entries go out by second chance: the oldest goes unless it was asked for since it last had its turn.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// 16 MiB: about 40,000 answers of 200 octets.
pub(crate) const MAX_BYTES: usize = 16 << 20;
const SHARDS: usize = 16;
/// What an entry costs beside its bytes: table, queue, allocations.
const OVERHEAD: usize = 200;

/// One answer.
pub(crate) struct Stored {
    /// The message without an OPT record.
    pub(crate) wire: Box<[u8]>,
    /// Where its TTLs stand.
    pub(crate) ttls: Box<[u16]>,
    pub(crate) code: u8,
    pub(crate) denial: bool,
    pub(crate) at: Instant,
    pub(crate) until: Instant,
    pub(crate) stale_until: Instant,
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
                shard.entries.remove(&oldest);
                gone += 1;
            }
        }
        gone
    }

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
