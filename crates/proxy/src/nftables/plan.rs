//! Changes gathered into transactions of a bounded size.
//!
//! A unit of changes that belong together stays in one transaction as long as it fits. Inside a transaction deletions come first, so
//! that an element is replaced by deleting and adding it.

use std::collections::BTreeMap;

use kernel::nft::{self, Batch, Element, MAX_ELEMENTS, Nft, Op, Set, Table};

use super::layout::{self, Lane};
use crate::{Applied, ApplyError};

/// A set or map of the fixed layout. Ordered as elements are written: what is referred to before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    ClusterIps,
    Hairpins,
    AllowedSources,
    Firewalled,
    Backends(Lane),
    Verdicts(Lane),
    Services(Lane),
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Add(Place, Element),
    Delete(Place, Element),
}

/// Where transactions go.
pub(super) enum Sink<'a> {
    Kernel(&'a mut Nft),
    /// Nowhere: they are only shown.
    Text(&'a mut String),
    /// Nowhere: they are looked at.
    Collect(&'a mut Vec<Op>),
}

pub(super) struct Plan<'a> {
    table: Table,
    sink: Sink<'a>,
    /// Chains, sets and rules, before any element.
    structure: Vec<Op>,
    deletes: BTreeMap<Place, Vec<Element>>,
    adds: BTreeMap<Place, Vec<Element>>,
    /// What may go once nothing refers to it any more.
    last: Vec<Op>,
    n_elements: usize,
    applied: Applied,
}

// === impl Place ===

impl Place {
    pub(super) fn set(self, family: nft::Family) -> Set {
        match self {
            Place::ClusterIps => layout::cluster_ips(family),
            Place::Hairpins => layout::hairpins(family),
            Place::AllowedSources => layout::allowed_sources(family),
            Place::Firewalled => layout::firewalled(family),
            Place::Backends(lane) => lane.backends_map(family),
            Place::Verdicts(lane) => lane.verdicts_map(),
            Place::Services(lane) => lane.services_map(family),
        }
    }
}

// === impl Plan ===

impl<'a> Plan<'a> {
    pub(super) fn new(table: Table, sink: Sink<'a>) -> Self {
        Self {
            table,
            sink,
            structure: Vec::new(),
            deletes: BTreeMap::new(),
            adds: BTreeMap::new(),
            last: Vec::new(),
            n_elements: 0,
            applied: Applied::default(),
        }
    }

    /// Chains, sets, rules, and elements of sets outside [`Place`], in this order before all other elements of the transaction.
    pub(super) fn structure(&mut self, ops: impl IntoIterator<Item = Op>) {
        self.structure.extend(ops);
    }

    /// Operations that come after all elements of the transaction.
    pub(super) fn finally(&mut self, ops: impl IntoIterator<Item = Op>) {
        self.last.extend(ops);
    }

    /// Changes that take effect together, as long as they fit one transaction; else in their order.
    pub(super) fn unit(&mut self, changes: Vec<Change>) -> Result<(), ApplyError> {
        if self.n_elements > 0 && self.n_elements + changes.len() > MAX_ELEMENTS {
            self.commit()?;
        }
        for change in changes {
            // A replacement is a deletion and an addition side by side: never cut between the two.
            let replaces = matches!(&change, Change::Add(..));
            if self.n_elements >= MAX_ELEMENTS && !replaces {
                self.commit()?;
            }
            self.n_elements += 1;
            match change {
                Change::Add(place, element) => self.adds.entry(place).or_default().push(element),
                Change::Delete(place, element) => self.deletes.entry(place).or_default().push(element),
            }
            if self.n_elements >= MAX_ELEMENTS && replaces {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Sends what was gathered; nothing if there is nothing.
    pub(super) fn commit(&mut self) -> Result<(), ApplyError> {
        let mut batch = Batch::new(self.table.clone());
        let family = self.table.family;
        batch.ops.append(&mut self.structure);
        // What refers goes first and comes last.
        for (place, elements) in std::mem::take(&mut self.deletes).into_iter().rev() {
            batch.push(Op::DeleteElements(place.set(family), elements));
        }
        for (place, elements) in std::mem::take(&mut self.adds) {
            batch.push(Op::AddElements(place.set(family), elements));
        }
        batch.ops.append(&mut self.last);
        self.n_elements = 0;
        if batch.is_empty() {
            return Ok(());
        }
        self.applied.n_transactions += 1;
        self.applied.n_elements += batch.n_elements();
        self.applied.n_rules += batch.ops.iter().filter(|op| matches!(op, Op::AddRule(_))).count();
        match &mut self.sink {
            Sink::Kernel(nft) => Ok(nft.commit(&batch)?),
            Sink::Text(text) => {
                text.push_str(&batch.to_string());
                Ok(())
            }
            Sink::Collect(ops) => {
                ops.append(&mut batch.ops);
                Ok(())
            }
        }
    }

    /// Commits the rest; says what was done in all.
    pub(super) fn finish(mut self) -> Result<Applied, ApplyError> {
        self.commit()?;
        Ok(self.applied)
    }
}
