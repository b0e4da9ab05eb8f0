//! Firewalls that may drop what is not tracked, and that we cannot open: no table overrules another's drop.
//!
//! What iptables-nft made is opened by an accept at its head ([`super`]). Here is who is left, for the operator to open: firewalld and
//! other tables whose input chains drop by policy, and the rules of iptables-legacy, which netlink does not reach.

use kernel::nft::{BaseChain, CommitError, HookPoint, Nft};

use super::FILTER;

/// Its input chain accepts by policy and rejects by its last rule.
const FIREWALLD: &str = "inet firewalld";

/// Each as the operator finds it.
pub(super) fn closed() -> Result<Vec<String>, CommitError> {
    let iptables = |table: &str| ["ip", "ip6"].iter().any(|family| table == format!("{family} {FILTER}"));
    let is_closed = |chain: &BaseChain| !iptables(&chain.table) && (chain.drops || chain.table == FIREWALLD);
    let chains = Nft::open()?.base_chains(HookPoint::Input)?;
    let mut closed: Vec<_> =
        chains.iter().filter(|chain| is_closed(chain)).map(|chain| format!("nft table {}, chain {}", chain.table, chain.name)).collect();
    for (program, list) in [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")] {
        // Not there where the kernel has no such interface; a table is listed once anybody has looked into it.
        let tables = std::fs::read_to_string(format!("/proc/thread-self/net/{list}")).unwrap_or_default();
        if tables.lines().any(|table| table == FILTER) {
            closed.push(format!("{program}, chain INPUT"));
        }
    }
    closed.sort();
    closed.dedup();
    Ok(closed)
}

#[cfg(test)]
mod tests {
    use kernel::netns::Netns;

    use super::*;

    #[test]
    fn a_firewall_that_we_cannot_open_is_named() {
        let ns = Netns::new("node-local-fw");
        let closed = || ns.run(|| closed().expect("a listing"));
        assert_eq!(closed(), [""; 0]);
        ns.output(&["iptables-nft", "-P", "INPUT", "DROP"]);
        let mut rules = String::new();
        for (table, chain, what) in [
            ("mine", "in", "hook input priority 0; policy drop"),
            ("mine", "out", "hook output priority 0; policy drop"),
            ("open", "in", "hook input priority 0"),
            ("firewalld", "filter_INPUT", "hook input priority 10"),
        ] {
            rules += &format!("add table inet {table}\nadd chain inet {table} {chain} {{ type filter {what}; }}\n");
        }
        ns.output(&["sh", "-c", &format!("nft -f - <<'END'\n{rules}END")]);
        assert_eq!(closed(), ["nft table inet firewalld, chain filter_INPUT", "nft table inet mine, chain in"]);
        ns.output(&["nft", "flush", "ruleset"]);
        // Where the kernel has the old interface.
        ns.output(&["sh", "-c", "iptables-legacy -P INPUT DROP 2>/dev/null; true"]);
        let legacy = ns.output(&["sh", "-c", "cat /proc/net/ip_tables_names 2>/dev/null; true"]);
        assert_eq!(closed().len(), usize::from(legacy.contains(FILTER)));
    }
}
