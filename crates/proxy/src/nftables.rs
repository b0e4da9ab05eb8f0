//! Mode nftables: a constant set of chains, and maps that say where each address and port goes.
//!
//! Owns tables `ip rutter` and `ip6 rutter`, nothing else. There is no chain for a Service: the map `services` gives for
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
//! | `plan` | changes gathered into transactions |
//! | `held` | what the kernel holds, read back at a start |
//! | `claims` | which Service has a front that several want |
//! | `sync` | the order of it all, one family at a time |
//! | `sticky` | session affinity's memory, when slots move |

mod claims;
mod class;
mod front;
mod held;
mod layout;
mod plan;
mod sticky;
mod sync;
mod want;

use std::sync::Arc;

use kernel::nft::{self, Batch, Nft, Op, Table};
use model::{Family, NodeView};

use crate::{Applied, ApplyError, Config, Mode};

/// The name of our table in each family.
const TABLE: &str = "rutter";

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
        self.families.iter_mut().try_fold(Applied::default(), |sum, family| Ok(sum.and(family.sync(view, last)?)))
    }

    fn intact(&mut self) -> Result<bool, ApplyError> {
        for family in &mut self.families {
            if !family.intact()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn cleanup(&mut self) -> Result<(), ApplyError> {
        cleanup()
    }
}

/// The rules for `view` on an empty node, both families.
pub(crate) fn render(view: &NodeView, config: &Arc<Config>) -> String {
    Family::BOTH.into_iter().map(|family| sync::FamilySync::new(config.clone(), family).render(view)).collect()
}

/// Removes our tables.
pub(crate) fn cleanup() -> Result<(), ApplyError> {
    let mut nft = Nft::open()?;
    for family in Family::BOTH {
        let table = table(family);
        if nft.tables(table.family)?.contains(&table.name) {
            let mut batch = Batch::new(table);
            batch.push(Op::DeleteTable);
            nft.commit(&batch)?;
        }
    }
    Ok(())
}

fn table(family: Family) -> Table {
    Table::new(nft_family(family), TABLE)
}

fn nft_family(family: Family) -> nft::Family {
    match family {
        Family::V4 => nft::Family::Ip,
        Family::V6 => nft::Family::Ip6,
    }
}

#[cfg(test)]
mod tests;
