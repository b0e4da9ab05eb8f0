//! Session affinity remembers slots; when endpoints move between slots, or go, what clients remember has to follow.
//!
//! Must not fail a sync: the rules are in force by then, and a client that is forgotten is balanced anew.

use kernel::Errno;
use kernel::nft::{Batch, Element, Nft, Op, Set, Table};

use super::class::{Class, sticky_set};
use super::front::Moved;
use super::want::Front;

/// Clients that come in while we look and change; the next try sees them.
const TRIES: usize = 3;

/// Takes the clients of `front` out of the slots whose endpoint left, and into the slot where it is now.
pub(super) fn follow(nft: &mut Nft, table: &Table, front: &Front, class: Class, moved: &[Moved]) {
    for _ in 0..TRIES {
        match try_follow(nft, table, front, class, moved) {
            Ok(()) => return,
            // A client's time ran out, or it came, between our look and our change.
            Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::EEXIST) => {}
            Err(error) => {
                tracing::warn!(port = front.port, %error, "session affinity was not carried over");
                return;
            }
        }
    }
}

fn try_follow(nft: &mut Nft, table: &Table, front: &Front, class: Class, moved: &[Moved]) -> Result<(), kernel::nft::CommitError> {
    let Some(sticky) = class.sticky else { return Ok(()) };
    let set = |slot: usize| sticky_set(front.lane, table.family, slot, sticky);
    let mut forgotten: Vec<(Set, Vec<Element>)> = Vec::new();
    let mut remembered: Vec<(Set, Vec<Element>)> = Vec::new();
    for Moved { slot, to } in moved {
        let clients: Vec<Element> =
            nft.elements(table, &set(*slot))?.into_iter().filter(|e| e.key.get(1..) == Some(&front.key()[..])).collect();
        if clients.is_empty() {
            continue;
        }
        if let Some(to) = to {
            remembered.push((set(*to), clients.clone()));
        }
        forgotten.push((set(*slot), clients));
    }
    let mut batch = Batch::new(table.clone());
    batch.ops.extend(forgotten.into_iter().map(|(set, clients)| Op::DeleteElements(set, clients)));
    batch.ops.extend(remembered.into_iter().map(|(set, clients)| Op::AddElements(set, clients)));
    if batch.is_empty() { Ok(()) } else { nft.commit(&batch) }
}
