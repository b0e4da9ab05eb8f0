//! Mode nftables: a constant set of chains, and maps that say where each address and port goes.
//!
//! Owns tables `ip rutter` and `ip6 rutter` (or `rutter-2`, see `sync`), nothing else. There is no chain for a Service: the map `services` gives for
//! (address, protocol, port) a class, which is the number of endpoints, whether to masquerade, and the affinity; a small map of verdicts
//! leads from the class to a chain that picks a slot at random; and the map `backends` gives the endpoint of (address, protocol,
//! port, slot). One changed endpoint is one changed element, whatever the size of the cluster.
//!
//! | room | has |
//! |---|---|
//! | `class` | how a class is written in 32 bits, and the chains it leads to |
//! | `layout` | sets, maps and fixed chains, from the configuration and the own Node |
//! | `want` | what one Service wants: fronts and addresses |
//! | `front` | how the elements of one front get from what is held to what is wanted, in safe steps |
//! | `maglev` | the slots of a Service that balances by the client's address |
//! | `plan` | changes gathered into transactions |
//! | `held` | what the kernel holds, read back at a start |
//! | `claims` | which Service has a front that several want |
//! | `sync` | the order of it all, one family at a time |
//! | `difference` | operations that would be needed, in words |
//! | `sticky` | session affinity's memory, when slots move |
//! | `uses` | which addresses the sets of addresses have |

mod claims;
mod class;
mod difference;
mod front;
mod held;
mod layout;
mod maglev;
mod plan;
mod sticky;
mod structure;
mod sync;
mod uses;
mod want;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kernel::nft::{self, Batch, Nft, Op, Table};
use model::node::NodeKey;
use model::{Family, Issue, NodeView};

use crate::{Applied, ApplyError, Config, Difference, Mode};

/// The names of our table in each family: the second takes over from a first whose layout is another version's.
const TABLES: [&str; 2] = ["rutter", "rutter-2"];

/// The mode, both families.
pub(crate) struct Nftables {
    families: Vec<sync::FamilySync>,
}

impl Nftables {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { families: Family::BOTH.into_iter().map(|family| sync::FamilySync::new(config.clone(), family)).collect() }
    }
}

impl Mode for Nftables {
    fn sync(&mut self, view: &NodeView, last: Option<&NodeView>) -> Result<Applied, ApplyError> {
        // Each is tried: what is wrong with one family is no reason to leave the other as it was.
        let results: Vec<Result<Applied, ApplyError>> = self
            .families
            .iter_mut()
            .enumerate()
            .map(|(i, family)| {
                let start = Instant::now();
                let mut applied = family.sync(view, last)?;
                applied.took[i] = (last.is_none() || applied.n_transactions > 0).then(|| start.elapsed());
                Ok(applied)
            })
            .collect();
        results.into_iter().try_fold(Applied::default(), |sum, applied| Ok(sum.and(applied?)))
    }

    fn intact(&mut self) -> Result<bool, ApplyError> {
        for family in &mut self.families {
            if !family.intact()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_issues(&mut self) -> BTreeMap<NodeKey, Vec<Issue>> {
        self.families.iter_mut().flat_map(sync::FamilySync::take_issues).collect()
    }

    fn cleanup(&mut self) -> Result<(), ApplyError> {
        cleanup()
    }
}

/// The rules for `view` on an empty node, both families.
pub(crate) fn render(view: &NodeView, config: &Arc<Config>) -> String {
    Family::BOTH.into_iter().map(|family| sync::FamilySync::new(config.clone(), family).render(view)).collect()
}

/// What the kernel holds other than `view` asks for, both families.
pub(crate) fn differences(view: &NodeView, config: &Arc<Config>) -> Result<Vec<Difference>, ApplyError> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        all.extend(sync::FamilySync::new(config.clone(), family).differences(view)?);
    }
    Ok(all)
}

/// Removes our tables.
pub(crate) fn cleanup() -> Result<(), ApplyError> {
    let mut nft = Nft::open()?;
    for family in Family::BOTH {
        let found = nft.tables(nft_family(family))?;
        for table in tables(family).filter(|table| found.contains(&table.name)) {
            let mut batch = Batch::new(table);
            batch.push(Op::DeleteTable);
            nft.commit(&batch)?;
        }
    }
    Ok(())
}

fn table(family: Family) -> Table {
    Table::new(nft_family(family), TABLES[0])
}

fn tables(family: Family) -> impl Iterator<Item = Table> {
    TABLES.into_iter().map(move |name| Table::new(nft_family(family), name))
}

fn nft_family(family: Family) -> nft::Family {
    match family {
        Family::V4 => nft::Family::Ip,
        Family::V6 => nft::Family::Ip6,
    }
}

#[cfg(test)]
mod tests;
