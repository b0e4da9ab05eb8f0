//! Typed values to nft's language: what `nft list ruleset` would print and `nft -f` reads.
//!
//! A map with a slot is declared by `typeof`: nft 1.0.6 takes `numgen ...` in a look-up for nothing but what a map was declared with
//! by the same words, while the kernel is told a type of the same size (see [`Type::Mark`]).

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::Duration;

use super::rule::{Chain, Compare, HookKind, HookPoint, Load, Operand, Statement};
use super::set::{Data, Element, Field, Set, Value, Verdict};
use super::{Batch, Family, Op, Rule, Table, Type};

impl Display for Batch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        for op in &self.ops {
            match op {
                Op::AddTable => writeln!(f, "add table {table}")?,
                Op::DeleteTable => writeln!(f, "delete table {table}")?,
                Op::AddChain(chain) => writeln!(f, "add chain {table} {chain}")?,
                Op::DeleteChain(name) => writeln!(f, "delete chain {table} {name}")?,
                Op::FlushChain(name) => writeln!(f, "flush chain {table} {name}")?,
                Op::AddRule(rule) => writeln!(f, "add rule {table} {} {}", rule.chain, RuleText(table.family, rule))?,
                Op::AddSet(set) => writeln!(f, "add {} {table} {} {{ {}}}", kind(set), set.name, SetText(set))?,
                Op::DeleteSet(name) => writeln!(f, "delete set {table} {name}")?,
                Op::FlushSet(name) => writeln!(f, "flush set {table} {name}")?,
                Op::AddElements(set, elements) => {
                    for element in elements {
                        writeln!(f, "add element {table} {} {{ {element} }}", set.name)?;
                    }
                }
                Op::DeleteElements(set, elements) => {
                    for element in elements {
                        let bare = Element { key_end: element.key_end.clone(), ..Element::new(element.key.clone()) };
                        writeln!(f, "delete element {table} {} {{ {bare} }}", set.name)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn kind(set: &Set) -> &'static str {
    if set.data.is_some() { "map" } else { "set" }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family.word(), self.name)
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some(hook) = self.hook else { return Ok(()) };
        let kind = match hook.kind {
            HookKind::Nat => "nat",
            HookKind::Filter => "filter",
        };
        let point = match hook.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        write!(f, " {{ type {kind} hook {point} priority {}; policy accept; }}", hook.priority)
    }
}

struct SetText<'a>(&'a Set);

impl Display for SetText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let set = self.0;
        let has_slot = set.key.contains(&Type::Mark);
        let word = |t: &Type| if has_slot { expression(*t) } else { t.word() };
        f.write_str(if has_slot { "typeof " } else { "type " })?;
        joined(f, set.key.iter().map(word))?;
        match &set.data {
            None => {}
            Some(Data::Verdict) => f.write_str(" : verdict")?,
            Some(Data::Fields(types)) => {
                f.write_str(" : ")?;
                joined(f, types.iter().map(word))?;
            }
        }
        f.write_str("; ")?;
        if let Some(size) = set.size {
            write!(f, "size {size}; ")?;
        }
        if set.interval {
            f.write_str("flags interval; ")?;
        }
        if let Some(timeout) = set.dynamic {
            write!(f, "flags dynamic,timeout; timeout {}; ", Time(timeout))?;
        }
        Ok(())
    }
}

/// An expression of this type, for `typeof`.
fn expression(of: Type) -> &'static str {
    match of {
        Type::Ipv4Addr => "ip daddr",
        Type::Ipv6Addr => "ip6 daddr",
        Type::InetProto => "meta l4proto",
        Type::InetService => "th dport",
        Type::ClassId => "meta priority",
        Type::Mark => "numgen random mod 1",
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

fn joined<T: Display>(f: &mut Formatter<'_>, parts: impl Iterator<Item = T>) -> fmt::Result {
    for (i, part) in parts.enumerate() {
        if i > 0 {
            f.write_str(" . ")?;
        }
        part.fmt(f)?;
    }
    Ok(())
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.key_end {
            None => joined(f, self.key.iter())?,
            Some(last) => joined(f, self.key.iter().zip(last).map(|(a, b)| Range(*a, *b)))?,
        }
        if let Some(left) = self.expires {
            write!(f, " expires {}", Time(left))?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " comment {}", Quoted(comment))?;
        }
        match &self.value {
            None => Ok(()),
            Some(Value::Verdict(verdict)) => write!(f, " : {verdict}"),
            Some(Value::Fields(fields)) => {
                f.write_str(" : ")?;
                joined(f, fields.iter())
            }
        }
    }
}

struct Range(Field, Field);

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { self.0.fmt(f) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// nft's strings have no escapes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            f.write_char(if c == '"' || c.is_control() { '?' } else { c })?;
        }
        f.write_char('"')
    }
}

struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let units = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
        for (n, unit) in units.into_iter().filter(|(n, _)| *n > 0) {
            write!(f, "{n}{unit}")?;
        }
        if secs == 0 { write!(f, "{}ms", self.0.as_millis()) } else { Ok(()) }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Field::Ip4(a) => a.fmt(f),
            Field::Ip6(a) => a.fmt(f),
            Field::Proto(6) => f.write_str("tcp"),
            Field::Proto(17) => f.write_str("udp"),
            Field::Proto(132) => f.write_str("sctp"),
            Field::Proto(n) => n.fmt(f),
            Field::Port(p) => p.fmt(f),
            Field::Mark(n) => write!(f, "{n:#010x}"),
            Field::ClassId(n) => f.write_str(&handle(*n)),
        }
    }
}

/// A traffic-control handle as nft prints it.
fn handle(n: u32) -> String {
    match (n, n >> 16, n & 0xffff) {
        (0, ..) => "none".to_owned(),
        (0xffff_ffff, ..) => "root".to_owned(),
        (_, major, minor) => format!("{major:x}:{minor:x}"),
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// The statements of a rule.
struct RuleText<'a>(Family, &'a Rule);

impl Display for RuleText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, statement) in self.1.statements.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            statement_text(f, self.0, statement)?;
        }
        match &self.1.comment {
            Some(comment) => write!(f, " comment {}", Quoted(comment)),
            None => Ok(()),
        }
    }
}

struct LoadText<'a>(Family, &'a Load);

impl Display for LoadText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ip = self.0.word();
        match self.1 {
            Load::Source => write!(f, "{ip} saddr"),
            Load::Destination => write!(f, "{ip} daddr"),
            Load::L4Proto => f.write_str("meta l4proto"),
            Load::SourcePort => f.write_str("th sport"),
            Load::DestinationPort => f.write_str("th dport"),
            Load::Mark => f.write_str("meta mark"),
            Load::Priority => f.write_str("meta priority"),
            Load::InputInterface => f.write_str("iifname"),
            Load::OutputInterface => f.write_str("oifname"),
            Load::SourceType => f.write_str("fib saddr type"),
            Load::DestinationType => f.write_str("fib daddr type"),
            Load::Random { modulo } => write!(f, "numgen random mod {modulo}"),
            Load::Next { modulo } => write!(f, "numgen inc mod {modulo}"),
            Load::SourceHash { modulo } => write!(f, "jhash {ip} saddr mod {modulo} seed {:#x}", super::expression::SOURCE_HASH_SEED),
            Load::Constant(0) => write!(f, "numgen inc mod 1"), // as nft lists it
            Load::Constant(n) => write!(f, "numgen inc mod 1 offset {n}"),
        }
    }
}

struct Key<'a>(Family, &'a [Load]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, self.1.iter().map(|part| LoadText(self.0, part)))
    }
}

fn statement_text(f: &mut Formatter<'_>, family: Family, statement: &Statement) -> fmt::Result {
    let not = |compare: &Compare| if *compare == Compare::NotEqual { "!= " } else { "" };
    match statement {
        Statement::Match(what, compare, operand) => {
            write!(f, "{} {}", LoadText(family, what), not(compare))?;
            match operand {
                Operand::Net(address, prefix) => {
                    let whole = if address.is_ipv4() { 32 } else { 128 };
                    if *prefix == whole { address.fmt(f) } else { write!(f, "{address}/{prefix}") }
                }
                Operand::Number(n) => n.fmt(f),
                Operand::Local => f.write_str("local"),
                Operand::Interface(name) => Quoted(name).fmt(f),
            }
        }
        Statement::MarkBits(bits, Compare::Equal) => write!(f, "meta mark & {bits:#010x} != 0x00000000"),
        Statement::MarkBits(bits, Compare::NotEqual) => write!(f, "meta mark & {bits:#010x} == 0x00000000"),
        Statement::CtStatusDnat => f.write_str("ct status dnat"),
        Statement::CtStateNew => f.write_str("ct state new"),
        Statement::InSet { key, set, compare } => write!(f, "{} {}@{set}", Key(family, key), not(compare)),
        Statement::VerdictMap { key, map } => write!(f, "{} vmap @{map}", Key(family, key)),
        Statement::PriorityFromMap { key, map } => write!(f, "meta priority set {} map @{map}", Key(family, key)),
        Statement::SetPriority(value) => write!(f, "meta priority set {}", handle(*value)),
        Statement::SetMarkBits(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
        Statement::ClearMarkBits(bits) => write!(f, "meta mark set meta mark & {:#010x}", !bits),
        Statement::Update { set, key } => write!(f, "update @{set} {{ {} }}", Key(family, key)),
        Statement::DnatByMap { key, map } => write!(f, "dnat {} to {} map @{map}", family.word(), Key(family, key)),
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Notrack => f.write_str("notrack"),
        Statement::Counter => f.write_str("counter"),
        Statement::Reject => f.write_str("reject"),
        Statement::Verdict(verdict) => verdict.fmt(f),
    }
}
