//! What kube-proxy left behind in the kernel.

use kernel::nft::{Batch, Family, Nft, Op, Table};

use crate::ApplyError;

/// kube-proxy's nftables mode has one table of this name in each family.
const KUBE_PROXY: &str = "kube-proxy";

/// Removes the tables of kube-proxy's nftables mode. Done after our first sync, so that no Service is without rules in between.
pub(crate) fn remove() -> Result<(), ApplyError> {
    let mut nft = Nft::open()?;
    for family in [Family::Ip, Family::Ip6] {
        if nft.tables(family)?.iter().any(|table| table == KUBE_PROXY) {
            let mut batch = Batch::new(Table::new(family, KUBE_PROXY));
            batch.push(Op::DeleteTable);
            nft.commit(&batch)?;
            tracing::info!(table = %batch.table, "removed the rules of kube-proxy");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kernel::netns::Netns;

    #[test]
    fn kube_proxys_tables_go_and_others_stay() {
        let ns = Netns::new("proxy-leftovers");
        for table in ["ip kube-proxy", "ip6 kube-proxy", "ip theirs"] {
            ns.output(&["nft", "add", "table", table]);
        }
        ns.run(|| super::remove().expect("removed"));
        ns.run(|| super::remove().expect("nothing left to remove"));
        assert_eq!(ns.output(&["nft", "list", "ruleset"]), "table ip theirs {\n}\n");
    }
}
