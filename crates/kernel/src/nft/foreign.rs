//! Chains of tables that somebody else made: found by their names, and removed together with the rules that lead to them.
//!
//! Reads no more of a rule than where it goes, since its matches may be of kinds that this crate has no words for (iptables-nft's).

use std::collections::HashSet;

use super::batch::{NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, message};
use super::dump::{attributes, of_table};
use super::{CommitError, Nft, Table};
use crate::netlink::{Attributes, NLM_F_REQUEST, Writer};

/// Chains in one transaction: a node of 5,000 services has 20,000.
const CHUNK: usize = 1_000;

/// What is to go of one table.
#[derive(Debug, Default)]
struct Foreign {
    /// (chain, handle) of rules elsewhere that lead to one of the chains.
    rules: Vec<(String, u64)>,
    chains: Vec<String>,
}

impl Nft {
    /// Removes the chains for which `ours` holds and all rules that jump to them; says how many chains. What is not there is no error.
    ///
    /// The rules that lead in from elsewhere go first and together, so that no packet sees half of the chains; the rest follows in
    /// transactions of a bounded size.
    pub fn remove_chains(&mut self, table: &Table, ours: impl Fn(&str) -> bool) -> Result<usize, CommitError> {
        let mut found = Foreign::default();
        for chain in self.get(message::GET_CHAIN, table, |_| {})?.iter().filter(|m| of_table(m, table)) {
            found.chains.extend(attributes(chain).str(3).filter(|name| ours(name)));
        }
        if found.chains.is_empty() {
            return Ok(0);
        }
        let names: HashSet<&str> = found.chains.iter().map(String::as_str).collect();
        for rule in self.get(message::GET_RULE, table, |w| w.str(1, &table.name))?.iter().filter(|m| of_table(m, table)) {
            let rule = attributes(rule);
            let (Some(chain), Some(handle)) = (rule.str(2), rule.be64(3)) else { continue };
            if !names.contains(chain.as_str()) && goes_to(rule).is_some_and(|to| names.contains(to.as_str())) {
                found.rules.push((chain, handle));
            }
        }
        self.delete_rules(table, &found.rules)?;
        // They may jump to each other: all are emptied before the first is deleted.
        for some in found.chains.chunks(CHUNK) {
            self.send(table, (message::DEL_RULE, 0), some, |w, chain| w.str(2, chain))?;
        }
        for some in found.chains.chunks(CHUNK) {
            self.send(table, (message::DEL_CHAIN, 0), some, |w, chain| w.str(3, chain))?;
        }
        Ok(found.chains.len())
    }

    /// Deletes rules by (chain, handle), together.
    pub(super) fn delete_rules(&mut self, table: &Table, rules: &[(String, u64)]) -> Result<(), CommitError> {
        self.send(table, (message::DEL_RULE, 0), rules, |w, (chain, handle)| {
            w.str(2, chain);
            w.be64(3, *handle);
        })
    }

    /// One transaction of a message (its kind and flags) for each of `items`.
    pub(super) fn send<T>(
        &mut self,
        table: &Table,
        (kind, flags): (u16, u16),
        items: &[T],
        body: impl Fn(&mut Writer, &T),
    ) -> Result<(), CommitError> {
        if items.is_empty() {
            return Ok(());
        }
        let first = self.next_seq(items.len() as u32 + 2);
        let mut w = Writer::default();
        let edge = |w: &mut Writer, kind, seq| w.message(kind, NLM_F_REQUEST, seq, |w| w.raw(&[0, 0, 0, NFNL_SUBSYS_NFTABLES as u8]));
        edge(&mut w, NFNL_MSG_BATCH_BEGIN, first);
        for (item, seq) in items.iter().zip(1..) {
            w.message(NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_REQUEST | flags, first.wrapping_add(seq), |w| {
                w.raw(&[table.family.number(), 0, 0, 0]);
                w.str(1, &table.name);
                body(w, item);
            });
        }
        edge(&mut w, NFNL_MSG_BATCH_END, first.wrapping_add(items.len() as u32 + 1));
        match self.socket.commit(&w.finish()).map_err(CommitError::socket)?.into_iter().next() {
            None => Ok(()),
            Some(refusal) => Err(CommitError::Refused {
                op: format!("change chains of table {}", table.name),
                errno: refusal.errno,
                message: refusal.message,
            }),
        }
    }
}

/// The chain that a rule's verdict leads to.
fn goes_to(rule: Attributes<'_>) -> Option<String> {
    for (_, expression) in rule.nest(4)? {
        let expression = Attributes::of(expression);
        if expression.str(1).as_deref() == Some("immediate") {
            // NFTA_EXPR_DATA, NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN.
            let chain = expression.nest(2).and_then(|i| i.nest(2)).and_then(|d| d.nest(2)).and_then(|v| v.str(2));
            if chain.is_some() {
                return chain;
            }
        }
    }
    None
}
