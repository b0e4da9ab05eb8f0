//! The chains and sets of a table, each made when first needed.
//!
//! Owns what is there of them by our knowledge; what is in a set is not its business.

use std::collections::{HashMap, HashSet};

use kernel::nft::{Chain, Dump, Name, Op, Rule, Set, Table};

use super::class::Class;
use super::layout::Lane;
use super::plan::{Change, Place, Plan};

/// Chains and sets that are there as they should be.
#[derive(Default)]
pub(super) struct Structure {
    pub(super) chains: HashMap<Name, Vec<Rule>>,
    pub(super) sets: HashSet<Name>,
    pub(super) classes: HashSet<(Lane, u32)>,
    /// What was found at the start of a full sync; `None` at any other time.
    pub(super) found: Option<Dump>,
}

// === impl Structure ===

impl Structure {
    pub(super) fn ensure_set(&mut self, set: Set, plan: &mut Plan<'_>) {
        if !self.sets.insert(set.name.clone()) {
            return;
        }
        if self.found.as_ref().and_then(|found| found.has_set(&set)).is_none() {
            plan.structure([Op::AddSet(set)]);
        }
    }

    pub(super) fn ensure_chain(&mut self, chain: Chain, rules: Vec<Rule>, table: &Table, plan: &mut Plan<'_>) {
        let ops = self.chain_ops(chain, rules, table);
        plan.structure(ops);
    }

    pub(super) fn ensure_base_chain(&mut self, chain: Chain, rules: Vec<Rule>, table: &Table, plan: &mut Plan<'_>) {
        let ops = self.chain_ops(chain, rules, table);
        plan.finally(ops);
    }

    fn chain_ops(&mut self, chain: Chain, rules: Vec<Rule>, table: &Table) -> Vec<Op> {
        let name = chain.name.clone();
        if self.chains.get(&name) == Some(&rules) {
            return Vec::new();
        }
        let found = self.found.as_ref().filter(|found| found.chains.iter().any(|c| c.name == name));
        let mut ops = Vec::new();
        if !found.is_some_and(|found| found.has_rules(table, &name, rules.iter())) {
            let exists = found.is_some() || self.chains.contains_key(&name);
            ops.push(if exists { Op::FlushChain(name.clone()) } else { Op::AddChain(chain) });
            ops.extend(rules.iter().cloned().map(Op::AddRule));
        }
        self.chains.insert(name, rules);
        ops
    }

    /// Sees to the chains and sets of a class; says whether its verdict is new.
    pub(super) fn ensure_class(
        &mut self,
        lane: Lane,
        class: Class,
        table: &Table,
        plan: &mut Plan<'_>,
        changes: &mut Vec<Change>,
        known: &HashSet<u32>,
    ) -> bool {
        if !self.classes.insert((lane, class.code())) {
            return false;
        }
        let parts = class.parts(lane, table.family);
        for set in parts.sets {
            self.ensure_set(set, plan);
        }
        for (chain, rules) in parts.chains {
            self.ensure_chain(chain, rules, table, plan);
        }
        let new = !known.contains(&class.code());
        if new {
            // Before the element that leads to it, should they not fit one transaction.
            changes.splice(..0, parts.verdicts.into_iter().map(|verdict| Change::Add(Place::Verdicts(lane), verdict)));
        }
        new
    }
}
