//! What kube-proxy left behind in the kernel, whichever mode it ran in: removed after our first sync, so that no Service is without
//! rules in between.
//!
//! Goes by the names that kube-proxy gives: other programs have KUBE-* chains too (kubelet, kube-router). Connections go on: their
//! redirection is connection tracking's by then, and both mark and masquerade alike.
//!
//! Source: `CleanupLeftovers` of kube-proxy's iptables and ipvs proxiers.

use kernel::nft::{Batch, Family, Nft, Op, Table};
use kernel::{ipset, iptables_legacy, ipvs, link};
use tracing::{info, warn};

use crate::ApplyError;

/// kube-proxy's nftables mode has one table of this name in each family.
const KUBE_PROXY: &str = "kube-proxy";
/// The link that holds every service address in its ipvs mode.
const IPVS_LINK: &str = "kube-ipvs0";
const TABLES: [&str; 3] = ["nat", "filter", "mangle"];

/// Chains with a name of their own. KUBE-MARK-MASQ, KUBE-MARK-DROP, KUBE-FIREWALL and the kubelet's canary are not among them.
const CHAINS: &[&str] = &[
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    // ipvs
    "KUBE-NODE-PORT",
    "KUBE-LOAD-BALANCER",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];
/// Chains of one Service or endpoint: what follows is a hash.
const CHAIN_PREFIXES: &[&str] = &["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"];
/// Its sets; those of IPv6 have `KUBE-6-` in front.
const SETS: &[&str] = &["LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "LOAD-BALANCER", "NODE-PORT", "HEALTH-CHECK-NODE-PORT", "IPVS-IPS"];

/// Removes all of it; what is not there is no error. What cannot be removed is told and does not keep the rest.
///
/// # Errors
/// If nf_tables cannot be spoken to.
pub(crate) fn remove() -> Result<(), ApplyError> {
    let mut nft = Nft::open()?;
    for family in [Family::Ip, Family::Ip6] {
        let tables = nft.tables(family)?;
        for name in TABLES.iter().filter(|name| tables.iter().any(|table| table == *name)) {
            let table = Table::new(family, *name);
            tell(&format!("table {} {name}", family.word()), nft.remove_chains(&table, is_chain));
        }
        for name in TABLES {
            tell(&format!("legacy table {} {name}", family.word()), iptables_legacy::remove_chains(family == Family::Ip6, name, is_chain));
        }
        if tables.iter().any(|table| table == KUBE_PROXY) {
            let mut batch = Batch::new(Table::new(family, KUBE_PROXY));
            batch.push(Op::DeleteTable);
            tell(&format!("table {} {KUBE_PROXY}", family.word()), nft.commit(&batch).map(|()| 1));
        }
    }
    remove_ipvs();
    Ok(())
}

/// The link, the sets, and where the link says that kube-proxy's ipvs mode was here, every virtual server, as kube-proxy itself has it:
/// those of node ports stand on the node's own addresses.
fn remove_ipvs() {
    if kernel::rtnl::links().is_ok_and(|links| links.iter().any(|link| link.name == IPVS_LINK)) {
        tell("IPVS", ipvs::flush().map(usize::from));
        tell(IPVS_LINK, link::Links::open().and_then(|mut links| links.delete(IPVS_LINK)).map(|()| 1));
    }
    match ipset::names() {
        Ok(names) => {
            names.iter().filter(|name| is_set(name)).for_each(|name| tell(&format!("set {name}"), ipset::destroy(name).map(|()| 1)))
        }
        Err(error) => warn!(%error, "kube-proxy's IP sets were not looked for"),
    }
}

fn tell<E: std::fmt::Display>(what: &str, removed: Result<usize, E>) {
    match removed {
        Ok(0) => {}
        Ok(n) => info!(from = what, n, "removed what kube-proxy left"),
        Err(error) => warn!(from = what, %error, "what kube-proxy left could not be removed"),
    }
}

fn is_chain(name: &str) -> bool {
    CHAINS.contains(&name) || CHAIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_set(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("KUBE-6-").or_else(|| name.strip_prefix("KUBE-")) else { return false };
    SETS.iter().any(|set| rest.starts_with(set))
}

#[cfg(test)]
mod tests {
    use kernel::netns::Netns;

    /// A ruleset as kube-proxy's iptables mode and others leave it.
    const RULES: &str = "\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
:KUBE-SEP-ABC - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-ROUTER-X - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -j KUBE-ROUTER-X
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC -m statistic --mode random --probability 0.5 -j KUBE-SEP-ABC
-A KUBE-SEP-ABC -s 10.0.0.1/32 -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
-A FORWARD -j KUBE-FORWARD
-A INPUT -j KUBE-FIREWALL
COMMIT
";

    fn check(restore: &str, save: &str) {
        let ns = Netns::new("proxy-leftovers");
        ns.output(&["sh", "-c", &format!("{restore} <<'END'\n{RULES}END")]);
        ns.run(|| super::remove().expect("removed"));
        ns.run(|| super::remove().expect("nothing left to remove"));
        let saved = ns.output(&["sh", "-c", save]);
        let left: Vec<&str> = saved.lines().filter(|line| line.starts_with("-A") || line.starts_with(":KUBE")).collect();
        let expected = [
            "-A INPUT -j KUBE-FIREWALL",
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
            "-A PREROUTING -j KUBE-ROUTER-X",
            ":KUBE-FIREWALL - [0:0]",
            ":KUBE-MARK-MASQ - [0:0]",
            ":KUBE-ROUTER-X - [0:0]",
        ];
        let mut left: Vec<&str> = left.into_iter().collect();
        left.sort_unstable();
        assert_eq!(left, expected, "{restore}");
    }

    #[test]
    fn kube_proxys_chains_go_and_those_of_others_stay() {
        check("iptables-nft-restore", "iptables-nft-save");
        check("iptables-legacy-restore", "iptables-legacy-save");
    }

    #[test]
    fn kube_proxys_tables_go_and_others_stay() {
        let ns = Netns::new("proxy-leftovers");
        for table in ["ip kube-proxy", "ip6 kube-proxy", "ip theirs"] {
            ns.output(&["nft", "add", "table", table]);
        }
        ns.run(|| super::remove().expect("removed"));
        assert_eq!(ns.output(&["nft", "list", "ruleset"]), "table ip theirs {\n}\n");
    }

    #[test]
    fn the_link_and_the_sets_of_the_ipvs_mode_go() {
        let ns = Netns::new("proxy-leftovers");
        ns.ip("link add kube-ipvs0 type bridge");
        for set in ["KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-SRC-theirs"] {
            ns.output(&["ipset", "create", set, "hash:ip"]);
        }
        ns.run(|| super::remove().expect("removed"));
        assert_eq!(ns.output(&["ipset", "list", "-n"]), "KUBE-SRC-theirs\n");
        ns.run(|| assert!(!kernel::rtnl::links().expect("links").iter().any(|link| link.name == "kube-ipvs0")));
    }
}
