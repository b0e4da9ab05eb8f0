//! Which addresses of this machine its Node tells, followed.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::sync::watch;
use tracing::info;

/// Out of `all`, one address of each family that is none of the pods' (`cluster`), or `otherwise` as long as there are none. Followed for as
/// long as `all` is.
pub fn follow(mut all: watch::Receiver<Vec<IpAddr>>, cluster: Vec<IpNet>, otherwise: Vec<IpAddr>) -> watch::Receiver<Vec<IpAddr>> {
    let (told, addresses) = watch::channel(choose(&all.borrow_and_update(), &cluster, &otherwise, &[]));
    tokio::spawn(async move {
        while all.changed().await.is_ok() {
            let found = all.borrow_and_update().clone();
            told.send_if_modified(|known| {
                let now = choose(&found, &cluster, &otherwise, known);
                let moved = now != *known;
                if moved {
                    info!(before = ?known, ?now, "this machine has other addresses");
                    *known = now;
                }
                moved
            });
        }
    });
    addresses
}

/// Of each family the one that is `known`, so that a second address changes nothing, else the first, as a kubelet chooses.
fn choose(all: &[IpAddr], cluster: &[IpNet], otherwise: &[IpAddr], known: &[IpAddr]) -> Vec<IpAddr> {
    let usable = |ip: &&IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let own: Vec<_> = all.iter().filter(usable).filter(|ip| !cluster.iter().any(|net| net.contains(*ip))).copied().collect();
    let one = |v4: bool| {
        let mut family = own.iter().filter(|ip| ip.is_ipv4() == v4);
        family.clone().find(|ip| known.contains(ip)).or_else(|| family.next()).copied()
    };
    let chosen: Vec<_> = [one(true), one(false)].into_iter().flatten().collect();
    if chosen.is_empty() { otherwise.to_vec() } else { chosen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(all: &str, known: &str, expected: &str) {
        let parse = |text: &str| -> Vec<IpAddr> { text.split_whitespace().map(|ip| ip.parse().expect("an address")).collect() };
        let cluster = ["10.244.0.0/16".parse().expect("a network")];
        assert_eq!(choose(&parse(all), &cluster, &parse("10.244.0.1"), &parse(known)), parse(expected), "{all} after {known}");
    }

    #[test]
    fn a_node_has_one_address_of_each_family_and_keeps_it() {
        check("127.0.0.1 10.244.0.1 192.0.2.1 192.0.2.2 ::1 fe80::1 2001:db8::1", "", "192.0.2.1 2001:db8::1");
        check("127.0.0.1 192.0.2.1 192.0.2.2", "192.0.2.2", "192.0.2.2");
        check("127.0.0.1 192.0.2.3", "192.0.2.2", "192.0.2.3");
        check("127.0.0.1 10.244.0.1", "192.0.2.2", "10.244.0.1");
    }
}
