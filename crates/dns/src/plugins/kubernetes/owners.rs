//! Which Services may have an address: hints, not facts. Whoever reads one looks whether the Service really has the address.
//!
//! A cluster has ten times as many endpoints as Services, so an entry is eight octets: the address's hash, and the tag that leads to
//! the Service in the [`super::book::Book`]. In many small shards, each copied only when it is written to. Must not know Services.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::probing::{Table, Tagged};
use super::shards::{SHARDS, Seed};

#[derive(Clone)]
pub(crate) struct Owners {
    shards: Box<[Arc<Table<Slot>>]>,
    seed: Seed,
}

/// Each is put and removed by itself, so that of two addresses which hash alike one can go.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Never 0, which makes an empty slot of the same size.
    address: NonZeroU32,
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
        self.shards[shard].of(address.get()).map(|slot| slot.service)
    }

    pub(crate) fn insert(&mut self, ip: IpAddr, service: u32) {
        let (shard, address) = self.place(ip);
        Arc::make_mut(&mut self.shards[shard]).insert(Slot { address, service });
    }

    pub(crate) fn remove(&mut self, ip: IpAddr, service: u32) {
        let (shard, address) = self.place(ip);
        Arc::make_mut(&mut self.shards[shard]).remove(address.get(), |slot| slot.service == service);
    }

    fn place(&self, ip: IpAddr) -> (usize, NonZeroU32) {
        let hash = self.seed.hash_one(ip);
        ((hash >> 48) as usize % SHARDS, NonZeroU32::new(hash as u32).unwrap_or(NonZeroU32::MIN))
    }
}

impl Tagged for Slot {
    fn tag(&self) -> u32 {
        self.address.get()
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
        assert_eq!(size_of::<Option<Slot>>(), 8, "eight slots in a cache line");
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
