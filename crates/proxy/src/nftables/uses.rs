//! How many Services use an address, as an endpoint's or as their own: an address is in its set while anybody uses it.
//!
//! A big cluster has a quarter of a million endpoints, hence a table for each family and no second one of what the kernel holds. Must
//! not know which set it is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Default)]
pub(super) struct Uses {
    v4: HashMap<Ipv4Addr, u32>,
    v6: HashMap<Ipv6Addr, u32>,
}

/// A member that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    New(IpAddr),
    Gone(IpAddr),
}

// === impl Uses ===

impl Uses {
    /// Counts one more use of each.
    pub(super) fn count(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        for ip in ips {
            self.add(ip, 1);
        }
    }

    /// What turns `held` into the addresses that are used.
    pub(super) fn align(&self, held: &HashSet<IpAddr>) -> Vec<Member> {
        let gone = held.iter().filter(|ip| !self.contains(ip)).map(|ip| Member::Gone(*ip));
        let used = self.v4.keys().map(|ip| IpAddr::V4(*ip)).chain(self.v6.keys().map(|ip| IpAddr::V6(*ip)));
        let new: BTreeSet<IpAddr> = used.filter(|ip| !held.contains(ip)).collect();
        gone.chain(new.into_iter().map(Member::New)).collect()
    }

    /// Takes up differences of use counts.
    pub(super) fn recount(&mut self, differences: HashMap<IpAddr, i64>) -> Vec<Member> {
        let differences = differences.into_iter().filter(|(_, difference)| *difference != 0);
        differences.filter_map(|(ip, difference)| self.add(ip, difference)).collect()
    }

    fn add(&mut self, ip: IpAddr, difference: i64) -> Option<Member> {
        let (before, now) = match ip {
            IpAddr::V4(ip) => add(&mut self.v4, ip, difference),
            IpAddr::V6(ip) => add(&mut self.v6, ip, difference),
        };
        match (before, now) {
            (0, 0) => None,
            (0, _) => Some(Member::New(ip)),
            (_, 0) => Some(Member::Gone(ip)),
            _ => None,
        }
    }

    fn contains(&self, ip: &IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains_key(ip),
            IpAddr::V6(ip) => self.v6.contains_key(ip),
        }
    }
}

/// The count before and after.
fn add<K: Eq + Hash + Copy>(uses: &mut HashMap<K, u32>, ip: K, difference: i64) -> (u32, u32) {
    let before = uses.get(&ip).copied().unwrap_or(0);
    let now = u32::try_from(i64::from(before) + difference).expect("BUG: an address was released more often than taken");
    if now == 0 {
        uses.remove(&ip);
    } else {
        uses.insert(ip, now);
    }
    (before, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_member_from_its_first_use_to_its_last() {
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().expect("an address"));
        let mut uses = Uses::default();
        uses.count([a, a, b]);
        assert_eq!(uses.align(&HashSet::from([b])), [Member::New(a)]);
        assert_eq!(uses.recount(HashMap::from([(a, -1)])), []);
        assert_eq!(uses.recount(HashMap::from([(a, -1), (b, 0)])), [Member::Gone(a)]);
        assert_eq!(uses.recount(HashMap::from([(a, 1)])), [Member::New(a)]);
        assert_eq!(uses.align(&HashSet::from([a, b])), []);
    }
}
