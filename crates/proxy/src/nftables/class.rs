//! Classes: what a front does with a connection, in the 32 bits that a map can hold, and the chains that do it.
//!
//! A class travels in the packet's priority between two maps: nft 1.0.6 aborts a listing in which one map's value is another's key,
//! `meta mark` is the operator's, and the priority of a packet that opens a connection means nothing by then (forwarding sets it
//! anew, and the chains set it back to 0). Bits: 0-13 the number of slots, 14 masquerade, 15 policy Local, 16-31 the affinity's
//! time-out, or above all of those how to balance (f000 and up: in turn, ffff: by the client's address). nft prints it as `TIMEOUT:COUNT` in hex: `0:3` is three endpoints, `2a30:4002` two, masqueraded and sticky for 3 hours.

use std::time::Duration;

use kernel::nft::{Chain, Compare, Element, Field, Load, Name, Operand, Rule, Set, Statement, Verdict};

use super::layout::{self, Lane};

/// The most endpoints of one front: what 14 bits hold besides the two special counts. More are left out.
pub(super) const MAX_SLOTS: usize = 0x3ffe;

const DROP: u32 = 0x3fff;
const COUNT: u32 = 0x3fff;
const MASQUERADE: u32 = 1 << 14;
const LOCAL: u32 = 1 << 15;
/// What lies above the affinity's longest time-out.
const ROUND_ROBIN: u16 = 0xf000;
const SOURCE_HASH: u16 = 0xffff;
pub(super) const N_COUNTERS: u16 = SOURCE_HASH - ROUND_ROBIN;

/// What happens to the first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// To one of so many slots, at most [`MAX_SLOTS`].
    Slots(u16),
    Reject,
    Drop,
}

/// Whom the endpoint sees, and whether everyone is treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Plain,
    /// The endpoint sees the node.
    Masquerade,
    /// Pods and the node itself go by the inside lane.
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class {
    pub(super) target: Target,
    pub(super) shape: Shape,
    pub(super) sticky: Option<Sticky>,
    /// Random where `sticky`.
    pub(super) balance: Balance,
}

/// How a slot is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Balance {
    Random,
    /// In turn. A rule counts for itself, so each Service has chains of its own, by this number below [`N_COUNTERS`]; two that share
    /// number and count of endpoints share their turns.
    RoundRobin(u16),
    /// By the client's address; the slots are a Maglev table.
    SourceHash,
}

/// An affinity time-out in 16 bits: exact up to 32,767 s (9 h 6 min), from there on even seconds only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sticky(u16);

/// Chains and sets that have to be there before an element may use them.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<(Chain, Vec<Rule>)>,
    /// Elements of the lane's verdict map.
    pub(super) verdicts: Vec<Element>,
}

// === impl Sticky ===

impl Sticky {
    pub(super) fn new(timeout: Duration) -> Self {
        let secs = timeout.as_secs().clamp(1, 86_400) as u32;
        Sticky(if secs < 0x8000 { secs as u16 } else { 0x8000 | ((secs - 0x8000) / 2) as u16 })
    }

    fn from_bits(bits: u16) -> Option<Self> {
        (1..ROUND_ROBIN).contains(&bits).then_some(Sticky(bits))
    }

    pub(super) fn timeout(self) -> Duration {
        let bits = u32::from(self.0);
        let secs = if bits < 0x8000 { bits } else { 0x8000 + 2 * (bits & 0x7fff) };
        Duration::from_secs(secs.into())
    }

    fn secs(self) -> u64 {
        self.timeout().as_secs()
    }
}

// === impl Class ===

impl Class {
    pub(super) fn code(self) -> u32 {
        let count = match self.target {
            Target::Reject => 0,
            Target::Drop => DROP,
            Target::Slots(n) => n.into(),
        };
        let shape = match self.shape {
            Shape::Plain => 0,
            Shape::Masquerade => MASQUERADE,
            Shape::Local => LOCAL,
        };
        let how = match (self.sticky, self.balance) {
            (Some(sticky), _) => sticky.0,
            (None, Balance::Random) => 0,
            (None, Balance::RoundRobin(counter)) => ROUND_ROBIN + counter % N_COUNTERS,
            (None, Balance::SourceHash) => SOURCE_HASH,
        };
        u32::from(how) << 16 | shape | count
    }

    pub(super) fn from_code(code: u32) -> Self {
        Self {
            target: match code & COUNT {
                0 => Target::Reject,
                DROP => Target::Drop,
                n => Target::Slots(n as u16),
            },
            shape: match code {
                c if c & LOCAL != 0 => Shape::Local,
                c if c & MASQUERADE != 0 => Shape::Masquerade,
                _ => Shape::Plain,
            },
            sticky: Sticky::from_bits((code >> 16) as u16),
            balance: match (code >> 16) as u16 {
                SOURCE_HASH => Balance::SourceHash,
                how @ ROUND_ROBIN.. => Balance::RoundRobin(how - ROUND_ROBIN),
                _ => Balance::Random,
            },
        }
    }

    /// The chain that does it.
    fn chain(self, lane: Lane) -> Name {
        let base = self.base(lane);
        match self.shape {
            Shape::Plain => base,
            Shape::Masquerade => format!("{base}-masquerade").into(),
            Shape::Local if matches!(self.target, Target::Slots(_)) => format!("{base}-local").into(),
            // These two are shared by all lanes; who is inside is not.
            Shape::Local => format!("{}-{base}-local", lane.pick()).into(),
        }
    }

    /// The chain that does it without a look at the shape.
    fn base(self, lane: Lane) -> Name {
        match (self.target, self.sticky) {
            (Target::Reject, _) => layout::REFUSE.into(),
            (Target::Drop, _) => layout::DROP.into(),
            (Target::Slots(n), None) => match self.balance {
                Balance::Random => format!("{}-{n}", lane.pick()).into(),
                Balance::RoundRobin(counter) => format!("{}-{n}-round-robin-{counter}", lane.pick()).into(),
                Balance::SourceHash => format!("{}-{n}-source-hash", lane.pick()).into(),
            },
            (Target::Slots(n), Some(s)) => format!("{}-{n}-sticky-{}", lane.pick(), s.secs()).into(),
        }
    }

    /// What this class needs in `lane`.
    pub(super) fn parts(self, lane: Lane, family: kernel::nft::Family) -> Parts {
        let mut parts = Parts::default();
        let base = self.base(lane);
        match (self.target, self.sticky) {
            (Target::Slots(n), None) => {
                let modulo = n.into();
                let slot = match self.balance {
                    Balance::Random => Load::Random { modulo },
                    Balance::RoundRobin(_) => Load::Next { modulo },
                    Balance::SourceHash => Load::SourceHash { modulo },
                };
                parts.chains.push((Chain::new(base.clone()), pick_rules(base.clone(), lane, slot)));
            }
            (Target::Slots(n), Some(sticky)) => sticky_parts(&mut parts, base.clone(), lane, family, n.into(), sticky),
            (Target::Reject | Target::Drop, _) => {}
        }
        let chain = self.chain(lane);
        let around = |first: Statement| vec![Rule::new(chain.clone(), [first]), Rule::new(chain.clone(), [Statement::goto(base.clone())])];
        match self.shape {
            Shape::Plain => {}
            Shape::Masquerade => {
                parts.chains.push((Chain::new(chain.clone()), around(Statement::jump(layout::MARK_FOR_MASQUERADE))));
            }
            Shape::Local => parts.chains.push((Chain::new(chain.clone()), around(Statement::jump(lane.inside_first())))),
        }
        parts.verdicts.push(Element::new([Field::ClassId(self.code())]).verdict(Verdict::Goto(chain)));
        parts
    }
}

/// To the slot. One that is not there any more (a packet that stood between its look at the count and this one, for however long) gives
/// way to the first, which is there as long as any is. And if that went as well: silence, so that the packet sent again is judged anew.
/// Falling out of the chain would remember the connection as one that is not redirected.
fn pick_rules(chain: Name, lane: Lane, slot: Load) -> Vec<Rule> {
    let to = |slot: Load| Statement::DnatByMap { key: [lane.key(), vec![slot]].concat(), map: lane.backends().into() };
    vec![
        Rule::new(chain.clone(), [Statement::SetPriority(0), to(slot)]),
        Rule::new(chain.clone(), [to(Load::Constant(0))]),
        Rule::new(chain, [Statement::Counter, Statement::Verdict(Verdict::Drop)]),
    ]
}

/// A set of clients for each slot: whoever is in one goes there, everyone else to a random one.
fn sticky_parts(parts: &mut Parts, base: Name, lane: Lane, family: kernel::nft::Family, n: usize, sticky: Sticky) {
    let slot_chain = |slot: usize| Name::from(format!("{}-slot-{slot}-sticky-{}", lane.pick(), sticky.secs()));
    let mut rules = Vec::new();
    for slot in 0..n {
        let set = sticky_set(lane, family, slot, sticky);
        rules.push(Rule::new(base.clone(), [Statement::is_in(lane.client_key(), set.name.clone()), Statement::goto(slot_chain(slot))]));
        let mut slot_rules = vec![Rule::new(slot_chain(slot), [Statement::Update { set: set.name.clone(), key: lane.client_key() }])];
        slot_rules.extend(pick_rules(slot_chain(slot), lane, Load::Constant(slot as u32)));
        parts.chains.push((Chain::new(slot_chain(slot)), slot_rules));
        parts.sets.push(set);
    }
    for slot in 0..n - 1 {
        // One in n, then one in n-1 of the rest, and so on: each slot with equal chance.
        let chance = Statement::Match(Load::Random { modulo: (n - slot) as u32 }, Compare::Equal, Operand::Number(0));
        rules.push(Rule::new(base.clone(), [chance, Statement::goto(slot_chain(slot))]));
    }
    rules.push(Rule::new(base.clone(), [Statement::goto(slot_chain(n - 1))]));
    parts.chains.push((Chain::new(base), rules));
}

/// The clients that a slot has to keep.
pub(super) fn sticky_set(lane: Lane, family: kernel::nft::Family, slot: usize, sticky: Sticky) -> Set {
    // 262,144 clients of 100 bytes; when it is full a new client is balanced without being remembered.
    const SIZE: u32 = 1 << 18;
    let name = format!("{}-sticky-{}-{slot}", lane.services(), sticky.secs());
    Set::new(name, lane.client_types(family)).dynamic(sticky.timeout(), SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_survives_its_code() {
        let stickies = [None, Some(10_800), Some(1), Some(32_767), Some(86_400)].map(|s| s.map(|s| Sticky::new(Duration::from_secs(s))));
        for sticky in stickies {
            for shape in [Shape::Plain, Shape::Masquerade, Shape::Local] {
                for target in [Target::Slots(1), Target::Slots(MAX_SLOTS as u16), Target::Reject, Target::Drop] {
                    let balances = [Balance::Random, Balance::RoundRobin(0), Balance::RoundRobin(N_COUNTERS - 1), Balance::SourceHash];
                    for balance in balances.into_iter().filter(|balance| sticky.is_none() || *balance == Balance::Random) {
                        let class = Class { target, shape, sticky, balance };
                        assert_eq!(Class::from_code(class.code()), class);
                    }
                }
            }
        }
    }

    #[test]
    fn timeouts_are_exact_up_to_nine_hours_and_to_two_seconds_beyond() {
        for (secs, kept) in
            [(1, 1), (10_800, 10_800), (32_767, 32_767), (32_768, 32_768), (40_001, 40_000), (86_400, 86_400), (99_999, 86_400)]
        {
            assert_eq!(Sticky::new(Duration::from_secs(secs)).secs(), kept);
        }
    }
}
