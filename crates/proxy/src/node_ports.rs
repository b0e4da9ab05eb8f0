//! Where node ports are: which of this machine's addresses (`nodePortAddresses`).
//!
//! One rule for all who need it: the rules in the kernel, the health-check node ports, and `rutter trace`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::Family;
use model::facts::Node;

use crate::Config;

/// The ranges that node ports of one family are in; `None`: every address.
///
/// `node` is the own Node, which `primary` asks for its addresses; `bindAddress` is one of them.
pub(crate) fn ranges(config: &Config, family: Family, node: Option<&Node>) -> Option<Vec<IpNet>> {
    let chosen = config.node_ports.of_family(family);
    if chosen.all {
        return None; // the other words add nothing
    }
    let mut ranges = chosen.cidrs;
    if chosen.primary {
        let of_node = node.into_iter().flat_map(|node| node.internal_ips.iter().copied());
        ranges.extend(config.bind_address.into_iter().chain(of_node).filter(|ip| Family::of(*ip) == family).map(IpNet::from));
    }
    Some(ranges)
}

/// The addresses out of a node's `own` that node ports are on, both families. Never loopback: what is served there has its own
/// listener ([`Config::localhost_node_ports`]).
pub fn node_port_addresses(config: &Config, node: Option<&Node>, own: &[IpAddr]) -> Vec<IpAddr> {
    let on = |family| {
        let ranges = ranges(config, family, node);
        let covered = move |ip: &IpAddr| ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(ip)));
        own.iter().copied().filter(move |ip| Family::of(*ip) == family && !ip.is_loopback() && covered(ip))
    };
    Family::BOTH.into_iter().flat_map(on).collect()
}

/// Where, of a node's `own` addresses, a server of one family listens to be found at node ports; every address is one. Loopback too,
/// where it is named.
pub(crate) fn to_listen_on(config: &Config, family: Family, node: Option<&Node>, own: &[IpAddr]) -> Vec<IpAddr> {
    let Some(ranges) = ranges(config, family, node) else {
        return vec![match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }];
    };
    let named = |ip: &IpAddr| config.node_ports.localhost && ip.is_loopback() || ranges.iter().any(|range| range.contains(ip));
    own.iter().copied().filter(|ip| Family::of(*ip) == family && named(ip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 5] = ["127.0.0.1", "192.168.0.2", "10.0.1.254", "::1", "2001:db8::1"];

    /// `node_ports` as in the file; the addresses that node ports are then on.
    fn check(node_ports: &str, expected: &str) {
        let config = Config::parse(&format!("{{mode: nftables, nodePortAddresses: {node_ports}}}")).expect("valid");
        let own = OWN.map(|ip| ip.parse().expect("an address"));
        let node = Node { internal_ips: vec![own[1], own[4]], ..Node::default() };
        let said: Vec<String> = node_port_addresses(&config, Some(&node), &own).iter().map(ToString::to_string).collect();
        assert_eq!(said.join(" "), expected, "{node_ports}");
    }

    #[test]
    fn node_ports_are_on_the_addresses_that_the_words_and_ranges_name() {
        check("[]", "192.168.0.2 2001:db8::1"); // nftables: primary
        check("[primary]", "192.168.0.2 2001:db8::1");
        check("[all]", "192.168.0.2 10.0.1.254 2001:db8::1");
        check("[localhost]", "");
        check("[10.0.0.0/8]", "10.0.1.254 2001:db8::1"); // ranges of one family leave the other at all of its addresses
        check("[10.0.0.0/8, primary]", "192.168.0.2 10.0.1.254 2001:db8::1");
        check("['0.0.0.0/0', '2001:db8:ffff::/48']", "192.168.0.2 10.0.1.254");
    }
}
