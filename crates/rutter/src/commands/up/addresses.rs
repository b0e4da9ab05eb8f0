//! The addresses of this machine, as its Node tells them, followed.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use runtime::Drain;
use tokio::sync::watch;
use tracing::info;

/// Far more often than a machine moves; a look is one netlink dump.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One address of each family that is none of the pods' (`cluster`), or `otherwise` as long as there are none.
pub fn follow(cluster: Vec<IpNet>, otherwise: Vec<IpAddr>, drain: Drain) -> watch::Receiver<Vec<IpAddr>> {
    let (told, addresses) = watch::channel(choose(&all(), &cluster, &otherwise, &[]));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = drain.started() => return,
            }
            let found = tokio::task::spawn_blocking(all).await.unwrap_or_default();
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

fn all() -> Vec<IpAddr> {
    kernel::rtnl::addresses().unwrap_or_default().into_iter().map(|it| it.address).collect()
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
