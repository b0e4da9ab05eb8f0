//! nf_tables, spoken over netlink.
//!
//! A [`Batch`] of typed values is one transaction: all of it takes effect or nothing. The same batch prints as nft's text
//! (`Display`), so what an operator reads and what the kernel gets cannot drift apart. [`Nft`] commits batches and reads a table
//! back in the same types, so that a difference against the kernel can be taken for rules and for elements.
//!
//! Must not know why a rule exists. Emits the expressions that nft 1.0.6 emits, so that any nft from there on lists them.
//! Source: linux/netfilter/nf_tables.h, nft(8), libnftnl.

mod accept;
mod batch;
mod dump;
mod encode;
mod expression;
mod foreign;
mod rule;
mod set;
mod text;

pub use accept::Accept;
pub use batch::{Batch, CommitError, MAX_ELEMENTS, Nft, Op};
pub use dump::{BaseChain, Dump, DumpedRule};
pub use rule::{Chain, Compare, Hook, HookKind, HookPoint, Load, Operand, Rule, Statement};
pub use set::{Data, Element, Field, Set, Type, Value, Verdict};

/// The address family of a table: `ip` or `ip6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Ip,
    Ip6,
}

/// A table, by family and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    pub family: Family,
    pub name: String,
}

/// Names of chains and sets: most are literals.
pub type Name = std::borrow::Cow<'static, str>;

impl Table {
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into() }
    }
}

impl Family {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }

    /// nft's word for it, also in front of `saddr` and `daddr`.
    pub fn word(self) -> &'static str {
        match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        }
    }

    /// The type of this family's addresses.
    pub fn address(self) -> Type {
        match self {
            Family::Ip => Type::Ipv4Addr,
            Family::Ip6 => Type::Ipv6Addr,
        }
    }
}

#[cfg(test)]
mod tests;
