//! Which Services may have an address: hints, not facts. Whoever reads one looks whether the Service really has the address.
//!
//! A cluster has ten times as many endpoints as Services, so an entry is eight octets: the address's hash, and the tag that leads to
//! the Service in the [`super::book::Book`]. In many small shards, each copied only when it is written to. Must not know Services.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use super::shards::{SHARDS, Seed};

#[derive(Clone)]
pub(crate) struct Owners {
    shards: Box<[Arc<Table>]>,
    seed: Seed,
}

/// Open addressing with linear probing, equal hints included: each is put and removed by itself, so that of two addresses which hash
/// alike one can go. A power of two of slots, or none; at least a quarter of them empty, so that probing ends.
#[derive(Clone, Default)]
struct Table {
    slots: Box<[Slot]>,
    n_hints: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    /// Never 0 but in an empty slot.
    address: u32,
    service: u32,
}

// === impl Owners ===

impl Owners {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Arc::default(); SHARDS].into(), seed: Seed::new() }
    }

    /// The tags of the Services that may have `ip`.
    pub(crate) fn of(&self, ip: IpAddr) -> impl Iterator<Item = u32> {
        let (shard, address) = self.place(ip);
        self.shards[shard].find(address).map(|slot| slot.service)
    }

    pub(crate) fn insert(&mut self, ip: IpAddr, service: u32) {
        let (shard, address) = self.place(ip);
        Arc::make_mut(&mut self.shards[shard]).insert(Slot { address, service });
    }

    pub(crate) fn remove(&mut self, ip: IpAddr, service: u32) {
        let (shard, address) = self.place(ip);
        Arc::make_mut(&mut self.shards[shard]).remove(Slot { address, service });
    }

    fn place(&self, ip: IpAddr) -> (usize, u32) {
        let hash = self.seed.hash_one(ip);
        ((hash >> 48) as usize % SHARDS, (hash as u32).max(1))
    }
}

// === impl Table ===

impl Table {
    fn find(&self, address: u32) -> impl Iterator<Item = &Slot> {
        let mask = self.slots.len().wrapping_sub(1);
        let start = address as usize & mask;
        let (front, back) = self.slots.split_at(start.min(self.slots.len()));
        back.iter().chain(front).take_while(|slot| slot.address != 0).filter(move |slot| slot.address == address)
    }

    fn insert(&mut self, new: Slot) {
        if (self.n_hints + 1) * 4 > self.slots.len() * 3 {
            let grown = vec![Slot::default(); (self.slots.len() * 2).max(4)].into();
            let old = std::mem::replace(&mut self.slots, grown);
            old.into_iter().filter(|slot| slot.address != 0).for_each(|slot| self.put(slot));
        }
        self.put(new);
        self.n_hints += 1;
    }

    /// Into the first empty slot from where it wants to be.
    fn put(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = new.address as usize & mask;
        while self.slots[at].address != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = new;
    }

    /// Empties one slot of this hint, then puts what stood behind it anew: a gap would end the search for it too early.
    fn remove(&mut self, gone: Slot) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let mut at = gone.address as usize & mask;
        while self.slots[at] != gone {
            if self.slots[at].address == 0 {
                return;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = Slot::default();
        self.n_hints -= 1;
        let mut next = (at + 1) & mask;
        while self.slots[next].address != 0 {
            let slot = std::mem::take(&mut self.slots[next]);
            self.put(slot);
            next = (next + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn of(owners: &Owners, n: u32) -> Vec<u32> {
        let mut tags: Vec<u32> = owners.of(Ipv4Addr::from(n).into()).collect();
        tags.sort_unstable();
        tags
    }

    #[test]
    fn hints_come_go_and_are_found_and_older_ones_keep_their_own() {
        let mut owners = Owners::new();
        assert!(of(&owners, 7).is_empty());
        for n in 0..20_000 {
            owners.insert(Ipv4Addr::from(n).into(), n / 10);
            owners.insert(Ipv4Addr::from(n).into(), 70_000);
        }
        let before = owners.clone();
        for n in (0..20_000).filter(|n| n % 3 != 0) {
            owners.remove(Ipv4Addr::from(n).into(), n / 10);
            owners.remove(Ipv4Addr::from(n).into(), n / 10);
        }
        for n in 0..20_000 {
            assert!(of(&before, n).ends_with(&[70_000]) && of(&before, n).contains(&(n / 10)), "{n} before");
            assert!(of(&owners, n).ends_with(&[70_000]) && of(&owners, n).contains(&(n / 10)) == (n % 3 == 0), "{n}");
        }
    }

    #[test]
    fn a_hint_that_is_there_twice_goes_one_by_one() {
        let (mut owners, ip) = (Owners::new(), Ipv4Addr::LOCALHOST.into());
        owners.insert(ip, 3);
        owners.insert(ip, 3);
        owners.remove(ip, 3);
        assert_eq!(owners.of(ip).collect::<Vec<_>>(), [3]);
        owners.remove(ip, 3);
        assert_eq!(owners.of(ip).count(), 0);
    }
}
