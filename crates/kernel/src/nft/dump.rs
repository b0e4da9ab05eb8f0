//! Reading a table back, in the types that it was written with.

use std::collections::HashMap;
use std::time::Duration;

use super::batch::message;
use super::rule::{Chain, Hook, HookKind, HookPoint};
use super::set::{Data, Element, Set, Value, Verdict, byte_len, read_fields, type_id};
use super::{CommitError, Name, Nft, Rule, Table, encode};
use crate::Errno;
use crate::netlink::{Attributes, Message, NLM_F_DUMP, NLM_F_REQUEST, Writer, string};

/// What the kernel holds of one table, elements apart: those are asked for set by set.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    pub chains: Vec<Chain>,
    /// By chain, in order.
    pub rules: HashMap<String, Vec<DumpedRule>>,
    sets: HashMap<String, SetShape>,
}

/// A rule that the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpedRule {
    /// The hash that we wrote with it; `None`: somebody else's rule.
    pub hash: Option<u64>,
}

/// A chain of anybody's that packets of the Internet families meet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// As nft writes it, family and all: `inet firewalld`.
    pub table: String,
    pub name: String,
    /// What no rule of it accepts is dropped.
    pub drops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SetShape {
    flags: u32,
    key: (u32, u32),
    data: Option<(u32, u32)>,
    timeout: Option<u64>,
}

// === impl Dump ===

impl Dump {
    /// Whether a set of this name is there with the same types, flags and timeout. `None`: no such set.
    pub fn has_set(&self, set: &Set) -> Option<bool> {
        self.sets.get(set.name.as_ref()).map(|shape| *shape == SetShape::of(set))
    }

    pub fn set_names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// Whether the chain of these rules holds exactly them, in this order.
    pub fn has_rules<'a>(&self, table: &Table, chain: &str, rules: impl ExactSizeIterator<Item = &'a Rule>) -> bool {
        let held = self.rules.get(chain).map(Vec::as_slice).unwrap_or_default();
        held.len() == rules.len() && held.iter().zip(rules).all(|(held, rule)| held.hash == Some(encode::rule_hash(table.family, rule)))
    }
}

impl SetShape {
    fn of(set: &Set) -> Self {
        Self {
            flags: encode::set_flags(set),
            key: (type_id(&set.key), byte_len(&set.key)),
            data: encode::set_data(set),
            timeout: set.dynamic.map(|t| t.as_millis() as u64),
        }
    }
}

// === impl Nft ===

impl Nft {
    /// Chains, rules and sets of a table; `None`: there is no such table.
    pub fn dump(&mut self, table: &Table) -> Result<Option<Dump>, CommitError> {
        let tables = self.get(message::GET_TABLE, table, |_| {})?;
        if !tables.iter().any(|m| belongs(m, table) && attributes(m).str(1).as_deref() == Some(&table.name)) {
            return Ok(None);
        }
        let mut dump = Dump::default();
        for found in self.get(message::GET_CHAIN, table, |_| {})?.iter().filter(|m| of_table(m, table)) {
            dump.chains.extend(read_chain(attributes(found)));
        }
        for found in self.get(message::GET_RULE, table, |w| w.str(1, &table.name))?.iter().filter(|m| of_table(m, table)) {
            let rule = attributes(found);
            let hash = rule.get(7).and_then(|data| udata(data, encode::udata::RULE_HASH)).and_then(|b| b.try_into().ok());
            let chain = rule.str(2).unwrap_or_default();
            dump.rules.entry(chain).or_default().push(DumpedRule { hash: hash.map(u64::from_ne_bytes) });
        }
        for found in self.get(message::GET_SET, table, |w| w.str(1, &table.name))?.iter().filter(|m| of_table(m, table)) {
            let set = attributes(found);
            // NFT_SET_MAP apart, the kernel may add flags of its own; ours are these.
            let ours = encode::set_flag::INTERVAL
                | encode::set_flag::MAP
                | encode::set_flag::TIMEOUT
                | encode::set_flag::EVAL
                | encode::set_flag::CONCAT;
            let shape = SetShape {
                flags: set.be32(3).unwrap_or(0) & ours,
                key: (set.be32(4).unwrap_or(0), set.be32(5).unwrap_or(0)),
                data: set.be32(6).map(|kind| (kind, if kind == encode::VERDICT_TYPE { 0 } else { set.be32(7).unwrap_or(0) })),
                timeout: set.be64(11),
            };
            dump.sets.insert(set.str(2).unwrap_or_default(), shape);
        }
        Ok(Some(dump))
    }

    /// The elements of a set, in no order (ranges of a plain interval set: ascending).
    pub fn elements(&mut self, table: &Table, set: &Set) -> Result<Vec<Element>, CommitError> {
        if set.interval && set.key.len() == 1 {
            return Ok(join_ranges(self.fold_raw(table, set, |found: &mut Vec<_>, element, is_end| found.push((element, is_end)))?));
        }
        self.fold_elements(table, set, |found: &mut Vec<_>, element| found.push(element))
    }

    /// Hands on the elements of a set one by one, in no order, so that a big one is never in memory as the kernel has it. The set must
    /// not be a plain interval set, whose ranges come as two elements each.
    pub fn fold_elements<T: Default>(&mut self, table: &Table, set: &Set, mut take: impl FnMut(&mut T, Element)) -> Result<T, CommitError> {
        self.fold_raw(table, set, |found, element, _| take(found, element))
    }

    fn fold_raw<T: Default>(&mut self, table: &Table, set: &Set, mut take: impl FnMut(&mut T, Element, bool)) -> Result<T, CommitError> {
        let request = self.get_request(message::GET_SET_ELEM, table.family.number(), |w| {
            w.str(1, &table.name);
            w.str(2, &set.name);
        });
        let found = self.socket.fold(&request, |found, _, body| {
            let list = Attributes::of(body.get(4..).unwrap_or(&[])).nest(3);
            for (element, is_end) in list.into_iter().flatten().filter_map(|(_, element)| read_element(set, Attributes::of(element))) {
                take(found, element, is_end);
            }
        });
        match found {
            Err(Errno::ENOENT) => Ok(T::default()),
            other => other.map_err(CommitError::socket),
        }
    }

    /// The names of all tables of a family.
    pub fn tables(&mut self, family: super::Family) -> Result<Vec<String>, CommitError> {
        let any = Table::new(family, "");
        let found = self.get(message::GET_TABLE, &any, |_| {})?;
        Ok(found.iter().filter(|m| belongs(m, &any)).filter_map(|m| attributes(m).str(1)).collect())
    }

    /// The base chains of all tables at a hook, whoever made them.
    pub fn base_chains(&mut self, point: HookPoint) -> Result<Vec<BaseChain>, CommitError> {
        const NFPROTO_UNSPEC: u8 = 0;
        const NF_DROP: u32 = 0;
        let request = self.get_request(message::GET_CHAIN, NFPROTO_UNSPEC, |_| {});
        let found = self.socket.dump(&request).map_err(CommitError::socket)?;
        Ok(found
            .iter()
            .filter_map(|message| {
                let family = match message.body.first()? {
                    1 => "inet",
                    2 => "ip",
                    10 => "ip6",
                    _ => return None,
                };
                let chain = attributes(message);
                read_chain(attributes(message))?.hook.filter(|hook| hook.point == point)?;
                let drops = chain.be32(5) == Some(NF_DROP);
                Some(BaseChain { table: format!("{family} {}", chain.str(1)?), name: chain.str(3)?, drops })
            })
            .collect())
    }

    pub(super) fn get(&mut self, kind: u16, table: &Table, body: impl FnOnce(&mut Writer)) -> Result<Vec<Message>, CommitError> {
        let request = self.get_request(kind, table.family.number(), body);
        match self.socket.dump(&request) {
            Err(Errno::ENOENT) => Ok(Vec::new()),
            other => other.map_err(CommitError::socket),
        }
    }

    fn get_request(&mut self, kind: u16, family: u8, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let seq = self.next_seq(1);
        let mut w = Writer::default();
        w.message(10 << 8 | kind, NLM_F_REQUEST | NLM_F_DUMP, seq, |w| {
            w.raw(&[family, 0, 0, 0]);
            body(w);
        });
        w.finish()
    }
}

/// The attributes behind the family header.
pub(super) fn attributes(message: &Message) -> Attributes<'_> {
    Attributes::of(message.body.get(4..).unwrap_or(&[]))
}

fn belongs(message: &Message, table: &Table) -> bool {
    message.kind >> 8 == 10 && message.body.first() == Some(&table.family.number())
}

/// Whether a chain, rule or set is one of `table`.
pub(super) fn of_table(message: &Message, table: &Table) -> bool {
    belongs(message, table) && attributes(message).str(1).as_deref() == Some(&table.name)
}

fn read_chain(chain: Attributes<'_>) -> Option<Chain> {
    let name: Name = chain.str(3)?.into();
    let Some(hook) = chain.nest(4) else { return Some(Chain { name, hook: None }) };
    let point = match hook.be32(1)? {
        0 => HookPoint::Prerouting,
        1 => HookPoint::Input,
        2 => HookPoint::Forward,
        3 => HookPoint::Output,
        _ => HookPoint::Postrouting,
    };
    let kind = if chain.str(7)? == "nat" { HookKind::Nat } else { HookKind::Filter };
    Some(Chain { name, hook: Some(Hook { kind, point, priority: hook.be32(2)? as i32 }) })
}

/// An element, and whether it is only the end of the range before it.
fn read_element(set: &Set, element: Attributes<'_>) -> Option<(Element, bool)> {
    let key = read_fields(&set.key, element.nest(1)?.get(1)?)?;
    let value = match (&set.data, element.nest(2)) {
        (Some(Data::Verdict), Some(data)) => data.nest(2).and_then(read_verdict).map(Value::Verdict),
        (Some(Data::Fields(types)), Some(data)) => data.get(1).and_then(|b| read_fields(types, b)).map(Value::Fields),
        _ => None,
    };
    let found = Element {
        key,
        key_end: element.nest(10).and_then(|end| read_fields(&set.key, end.get(1)?)),
        value,
        comment: element.get(6).and_then(|data| udata(data, encode::udata::COMMENT)).map(string),
        expires: element.be64(5).map(Duration::from_millis),
    };
    Some((found, element.be32(3).unwrap_or(0) & 1 != 0))
}

fn read_verdict(verdict: Attributes<'_>) -> Option<Verdict> {
    let chain = || Some(Name::from(verdict.str(2)?));
    Some(match verdict.be32(1)? as i32 {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => return None,
    })
}

/// Starts and ends of ranges to ranges. The kernel lists them by key, in either direction.
fn join_ranges(mut found: Vec<(Element, bool)>) -> Vec<Element> {
    found.sort_by(|(a, a_end), (b, b_end)| a.key.cmp(&b.key).then(b_end.cmp(a_end)));
    let mut ranges: Vec<Element> = Vec::new();
    let mut open = false;
    for (element, is_end) in found {
        match (is_end, ranges.last_mut()) {
            (true, Some(range)) if open => {
                range.key_end = one_before(&element.key);
                open = false;
            }
            (true, _) => {}
            (false, _) => {
                let last = element.key.first().map(|f| vec![highest(*f)]);
                ranges.push(Element { key_end: last, ..element });
                open = true;
            }
        }
    }
    ranges
}

fn one_before(key: &[super::Field]) -> Option<Vec<super::Field>> {
    use super::Field;
    Some(vec![match *key.first()? {
        Field::Ip4(a) => Field::Ip4(u32::from(a).wrapping_sub(1).into()),
        Field::Ip6(a) => Field::Ip6(u128::from(a).wrapping_sub(1).into()),
        Field::Proto(n) => Field::Proto(n.wrapping_sub(1)),
        Field::Port(n) => Field::Port(n.wrapping_sub(1)),
        Field::Mark(n) => Field::Mark(n.wrapping_sub(1)),
        Field::ClassId(n) => Field::ClassId(n.wrapping_sub(1)),
    }])
}

/// The end of a range that nothing closes.
fn highest(of: super::Field) -> super::Field {
    use super::Field;
    match of {
        Field::Ip4(_) => Field::Ip4(u32::MAX.into()),
        Field::Ip6(_) => Field::Ip6(u128::MAX.into()),
        Field::Proto(_) => Field::Proto(u8::MAX),
        Field::Port(_) => Field::Port(u16::MAX),
        Field::Mark(_) => Field::Mark(u32::MAX),
        Field::ClassId(_) => Field::ClassId(u32::MAX),
    }
}

/// The value of one TLV inside user data.
pub(super) fn udata(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (kind, len) = (*bytes.first()?, usize::from(*bytes.get(1)?));
        let value = bytes.get(2..2 + len)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = &bytes[2 + len..];
    }
}
