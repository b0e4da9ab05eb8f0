//! Consistent hashing: a table of slots in which each endpoint has its fair share, and which changes little when endpoints come or go.
//!
//! Every node makes the same table of the same endpoints, so that a client is sent to the same one whichever node it comes by.
//! Source: Eisenbud et al., Maglev (NSDI 2016), section 3.4.

use std::net::{IpAddr, SocketAddr};

/// A prime. Shares differ by less than 1 % up to a hundred endpoints at the price of 1,021 map elements of about 100 bytes for each
/// address of a Service that asks for it; more endpoints than slots are not used.
pub(super) const SIZE: usize = 1_021;

/// The slots for `endpoints`, in whatever order they come; none for none.
pub(super) fn table(endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut sorted = endpoints.to_vec();
    sorted.sort_unstable();
    sorted.truncate(SIZE);
    if sorted.is_empty() {
        return Vec::new();
    }
    // Each endpoint walks all slots in an order of its own, offset + k * skip: SIZE is prime, so that it meets each once.
    let mut walks: Vec<(usize, usize)> = sorted
        .iter()
        .map(|endpoint| {
            let hash = hash(endpoint);
            ((hash % SIZE as u64) as usize, ((hash >> 32) % (SIZE as u64 - 1)) as usize + 1)
        })
        .collect();
    let mut slots: Vec<Option<SocketAddr>> = vec![None; SIZE];
    let mut n_filled = 0;
    'full: loop {
        for (endpoint, (next, skip)) in sorted.iter().zip(&mut walks) {
            while slots[*next].is_some() {
                *next = (*next + *skip) % SIZE;
            }
            slots[*next] = Some(*endpoint);
            n_filled += 1;
            if n_filled == SIZE {
                break 'full;
            }
        }
    }
    slots.into_iter().flatten().collect()
}

/// FNV-1a over address and port, and a finish that spreads its bits (splitmix64): the same on every machine and in every version.
fn hash(endpoint: &SocketAddr) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    match endpoint.ip() {
        IpAddr::V4(ip) => take(&ip.octets()),
        IpAddr::V6(ip) => take(&ip.octets()),
    }
    take(&endpoint.port().to_be_bytes());
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn endpoints(n: u16) -> Vec<SocketAddr> {
        (0..n).map(|i| SocketAddr::from(([10, 0, (i >> 8) as u8, i as u8], 8080))).collect()
    }

    #[test]
    fn shares_are_equal_and_the_order_means_nothing() {
        for n in [1, 2, 3, 10, 100, 1_021] {
            let mut wanted = endpoints(n);
            let slots = table(&wanted);
            wanted.reverse();
            assert_eq!(slots, table(&wanted));
            let mut shares: HashMap<SocketAddr, usize> = HashMap::new();
            slots.iter().for_each(|slot| *shares.entry(*slot).or_default() += 1);
            let (least, most) = (shares.values().min(), shares.values().max());
            assert_eq!((slots.len(), shares.len()), (SIZE, usize::from(n)));
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{n}: {least:?} to {most:?}");
        }
        assert!(table(&[]).is_empty());
    }

    #[test]
    fn one_endpoint_that_goes_moves_few_clients_of_the_others() {
        let before = endpoints(10);
        let mut after = before.clone();
        let gone = after.remove(4);
        let (before, after) = (table(&before), table(&after));
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != gone && old != new).count();
        assert!(moved < SIZE / 10, "{moved} of {SIZE}");
    }
}
