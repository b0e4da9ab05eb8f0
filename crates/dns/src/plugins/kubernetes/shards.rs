//! A map in many small shards, each copied only when it is written to: a snapshot's tables.
//!
//! Readers hold a whole map without a lock; a writer clones the list of shards (a few reference counts) and the one shard that a
//! change touches, so a change costs a part in [`SHARDS`] of the map. Looking up is one step to the shard and one in it, which a
//! persistent tree does not match. Must not know what it holds.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

/// 128: at 50,000 Services a change copies 400 entries (some 10 us), and the headers of all shards stay in the cache of a core.
pub(super) const SHARDS: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    shards: Box<[Arc<HashMap<K, V, Seed>>]>,
    seed: Seed,
}

/// Hashes short keys fast; seeded by the system, so that nobody can choose names that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

pub(crate) struct Mix(u64);

// === impl Shards ===

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn new() -> Self {
        let seed = Seed::new();
        let empty = Arc::new(HashMap::with_hasher(seed));
        Self { shards: vec![empty; SHARDS].into(), seed }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards[self.shard(key)].get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let shard = self.shard(&key);
        Arc::make_mut(&mut self.shards[shard]).insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let shard = self.shard(key);
        if self.shards[shard].contains_key(key) {
            Arc::make_mut(&mut self.shards[shard]).remove(key);
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The upper bits: the maps inside use the lower ones.
        (self.seed.hash_one(key) >> 48) as usize % SHARDS
    }
}

// === impl Seed, Mix ===

impl Seed {
    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seed {
    type Hasher = Mix;

    fn build_hasher(&self) -> Mix {
        Mix(self.0)
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().expect("BUG: chunks of 8")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // A folded 128-bit product, as wyhash mixes.
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = ((product >> 64) as u64 ^ product as u64).wrapping_add(0xf39c_c060_5ced_c835);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_map_keeps_its_entries() {
        let mut before = Shards::new();
        for key in 0..10_000_u64 {
            before.insert(key, key);
        }
        let mut after = before.clone();
        after.insert(7, 700);
        after.remove(&8);
        assert_eq!((before.get(&7), before.get(&8)), (Some(&7), Some(&8)));
        assert_eq!((after.get(&7), after.get(&8)), (Some(&700), None));
    }

    #[test]
    fn short_keys_spread_over_all_shards() {
        let seed = Seed(1);
        let mut hit = [0; SHARDS];
        for key in 0..100 * SHARDS {
            hit[(seed.hash_one(format!("svc{key}").as_bytes()) >> 48) as usize % SHARDS] += 1;
        }
        assert!(hit.iter().all(|n| (50..180).contains(n)), "{hit:?}");
    }
}
