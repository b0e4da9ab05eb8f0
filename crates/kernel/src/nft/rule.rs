//! Chains, and rules as the statements that nft's language has for them.

use std::net::IpAddr;

use super::Name;
use super::set::Verdict;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: Name,
    /// Where the kernel calls it; `None`: only other chains do.
    pub hook: Option<Hook>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `nat` chains see the first packet of a connection only.
    pub kind: HookKind,
    pub point: HookPoint,
    pub priority: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    Nat,
    Filter,
}

/// `enum nf_inet_hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// One rule of a chain: statements that run in order until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub chain: Name,
    pub statements: Vec<Statement>,
    pub comment: Option<String>,
}

/// Something of the packet (or a number made for it) that a statement reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    Source,
    Destination,
    L4Proto,
    SourcePort,
    DestinationPort,
    Mark,
    Priority,
    InputInterface,
    OutputInterface,
    /// `fib saddr type`, to be compared with [`Operand::Local`].
    SourceType,
    /// `fib daddr type`.
    DestinationType,
    /// A random number below `modulo`.
    Random {
        modulo: u32,
    },
    /// One number after the other below `modulo`; each rule counts by itself.
    Next {
        modulo: u32,
    },
    /// A number below `modulo` that is the same for packets of one source address, on every machine.
    SourceHash {
        modulo: u32,
    },
    /// A constant, said as `numgen inc mod 1 offset N`: nft 1.0.6 reads no literal inside a concatenation.
    Constant(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
}

/// What a [`Load`] is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An address or a prefix of one.
    Net(IpAddr, u8),
    Number(u32),
    /// An address type: one of this host.
    Local,
    /// An interface by its name; a final `*` stands for any rest.
    Interface(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Match(Load, Compare, Operand),
    /// Matches if any of these bits of the mark is set, or with `NotEqual` if none is.
    MarkBits(u32, Compare),
    /// Only packets of connections that were redirected.
    CtStatusDnat,
    CtStateNew,
    /// Whether the key is (or is not) in the set.
    InSet {
        key: Vec<Load>,
        set: Name,
        compare: Compare,
    },
    /// The verdict that the map has for the key; goes on if it has none.
    VerdictMap {
        key: Vec<Load>,
        map: Name,
    },
    /// `meta priority set KEY map @MAP`; the rule ends if the map lacks the key.
    PriorityFromMap {
        key: Vec<Load>,
        map: Name,
    },
    SetPriority(u32),
    /// `meta mark set meta mark | BITS`.
    SetMarkBits(u32),
    /// `meta mark set meta mark & ~BITS`.
    ClearMarkBits(u32),
    /// Writes the key into a dynamic set, or makes it young again; does not match if the set is full.
    Update {
        set: Name,
        key: Vec<Load>,
    },
    /// Redirects to the address and port that the map has for the key; the rule ends if the map lacks the key.
    DnatByMap {
        key: Vec<Load>,
        map: Name,
    },
    Masquerade,
    /// Connection tracking, and with it every redirection, leaves the packet alone.
    Notrack,
    Counter,
    /// Refuses with ICMP port unreachable.
    Reject,
    Verdict(Verdict),
}

// === impl Chain ===

impl Chain {
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), hook: None }
    }

    pub fn base(name: impl Into<Name>, kind: HookKind, point: HookPoint, priority: i32) -> Self {
        Self { name: name.into(), hook: Some(Hook { kind, point, priority }) }
    }
}

// === impl Rule ===

impl Rule {
    pub fn new(chain: impl Into<Name>, statements: impl Into<Vec<Statement>>) -> Self {
        Self { chain: chain.into(), statements: statements.into(), comment: None }
    }

    pub fn comment(self, text: impl Into<String>) -> Self {
        Self { comment: Some(text.into()), ..self }
    }
}

// === impl Statement ===

impl Statement {
    pub fn goto(chain: impl Into<Name>) -> Self {
        Statement::Verdict(Verdict::Goto(chain.into()))
    }

    pub fn jump(chain: impl Into<Name>) -> Self {
        Statement::Verdict(Verdict::Jump(chain.into()))
    }

    pub fn is_in(key: impl Into<Vec<Load>>, set: impl Into<Name>) -> Self {
        Statement::InSet { key: key.into(), set: set.into(), compare: Compare::Equal }
    }

    pub fn not_in(key: impl Into<Vec<Load>>, set: impl Into<Name>) -> Self {
        Statement::InSet { key: key.into(), set: set.into(), compare: Compare::NotEqual }
    }
}
