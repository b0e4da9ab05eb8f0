//! Typed values to netlink attributes: chains, sets, elements, and the frame of a rule. What a rule does stands in [`super::expression`].
//!
//! Numbers are those of linux/netfilter/nf_tables.h; each `mod` names the enum that it copies.

use super::expression;
use super::rule::{Chain, HookKind, Rule};
use super::set::{Data, Element, Set, Value, byte_len, type_id, write_fields};
use super::{Family, Table, Type};
use crate::netlink::Writer;

/// TLV types inside user data; nft shows the comments and skips what it does not know.
pub(super) mod udata {
    pub(crate) const COMMENT: u8 = 0;
    /// Ours: the hash of a rule, so that a rule read back can be compared without decoding its expressions.
    pub(crate) const RULE_HASH: u8 = 0xf0;
    pub(crate) const SET_KEY_BYTE_ORDER: u8 = 0;
    pub(crate) const SET_DATA_BYTE_ORDER: u8 = 1;
}

pub(super) mod set_flag {
    pub(crate) const INTERVAL: u32 = 0x4;
    pub(crate) const MAP: u32 = 0x8;
    pub(crate) const TIMEOUT: u32 = 0x10;
    pub(crate) const EVAL: u32 = 0x20;
    pub(crate) const CONCAT: u32 = 0x80;
}

pub(super) const VERDICT_TYPE: u32 = 0xffff_ff00;

pub(super) fn chain(w: &mut Writer, table: &Table, chain: &Chain) {
    w.str(1, &table.name);
    w.str(3, &chain.name);
    if let Some(hook) = chain.hook {
        w.nest(4, |w| {
            w.be32(1, hook.point as u32);
            w.be32(2, hook.priority as u32);
        });
        const NF_ACCEPT: u32 = 1;
        w.be32(5, NF_ACCEPT);
        w.str(7, hook_kind(hook.kind));
    }
}

pub(super) fn hook_kind(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Nat => "nat",
        HookKind::Filter => "filter",
    }
}

pub(super) fn set_flags(set: &Set) -> u32 {
    let mut flags = 0;
    if set.interval {
        flags |= set_flag::INTERVAL;
        if set.key.len() > 1 {
            flags |= set_flag::CONCAT;
        }
    }
    if set.data.is_some() {
        flags |= set_flag::MAP;
    }
    if set.dynamic.is_some() {
        flags |= set_flag::TIMEOUT | set_flag::EVAL;
    }
    flags
}

/// (type, length) of a map's data; `None` for a set.
pub(super) fn set_data(set: &Set) -> Option<(u32, u32)> {
    match set.data.as_ref()? {
        Data::Verdict => Some((VERDICT_TYPE, 0)),
        Data::Fields(types) => Some((type_id(types), byte_len(types))),
    }
}

pub(super) fn set(w: &mut Writer, table: &Table, set: &Set, id: u32) {
    w.str(1, &table.name);
    w.str(2, &set.name);
    w.be32(3, set_flags(set));
    w.be32(4, type_id(&set.key));
    w.be32(5, byte_len(&set.key));
    if let Some((kind, len)) = set_data(set) {
        w.be32(6, kind);
        if kind != VERDICT_TYPE {
            w.be32(7, len);
        }
    }
    if set.size.is_some() || (set.interval && set.key.len() > 1) {
        w.nest(9, |w| {
            if let Some(size) = set.size {
                w.be32(1, size);
            }
            if set.interval && set.key.len() > 1 {
                w.nest(2, |w| {
                    for part in &set.key {
                        w.nest(1, |w| w.be32(1, part.len() as u32));
                    }
                });
            }
        });
    }
    w.be32(10, id);
    if let Some(timeout) = set.dynamic {
        w.be64(11, timeout.as_millis() as u64);
    }
    // Without this nft takes numbers of this machine's byte order for numbers of the network's.
    let mut data = Vec::new();
    if let [one] = set.key[..] {
        tlv(&mut data, udata::SET_KEY_BYTE_ORDER, &byte_order(one));
    }
    if let Some(Data::Fields(types)) = &set.data
        && let [one] = types[..]
    {
        tlv(&mut data, udata::SET_DATA_BYTE_ORDER, &byte_order(one));
    }
    if !data.is_empty() {
        w.bytes(13, &data);
    }
}

/// `enum byteorder` of nft.
fn byte_order(one: Type) -> [u8; 4] {
    let order: u32 = if one.host_order() { 1 } else { 2 };
    order.to_ne_bytes()
}

fn tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.push(value.len() as u8); // our values are comments of at most 127 bytes and numbers
    out.extend_from_slice(value);
}

pub(super) fn comment_tlv(out: &mut Vec<u8>, comment: &str) {
    let mut text: Vec<u8> = comment.bytes().take(127).collect();
    text.push(0);
    tlv(out, udata::COMMENT, &text);
}

/// The attributes of one element. `end` writes what only the end of a range has in a plain interval set.
pub(super) fn element(w: &mut Writer, key: &[u8], element: &Element, flag_end: bool, concat: bool) {
    w.nest(1, |w| {
        w.nest(1, |w| w.bytes(1, key));
        if flag_end {
            const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
            w.be32(3, NFT_SET_ELEM_INTERVAL_END);
            return;
        }
        match &element.value {
            None => {}
            Some(Value::Fields(fields)) => w.nest(2, |w| w.bytes(1, &write_fields(fields))),
            Some(Value::Verdict(v)) => w.nest(2, |w| expression::verdict(w, v)),
        }
        if let Some(left) = element.expires {
            w.be64(5, left.as_millis().max(1) as u64);
        }
        if let Some(comment) = &element.comment {
            let mut data = Vec::new();
            comment_tlv(&mut data, comment);
            w.bytes(6, &data);
        }
        if let (true, Some(last)) = (concat, &element.key_end) {
            w.nest(10, |w| w.bytes(1, &write_fields(last)));
        }
    });
}

/// The key behind the last one of a range, where a plain interval set has its end mark; `None` if there is none behind.
pub(super) fn one_behind(last: &[u8]) -> Option<Vec<u8>> {
    let mut key = last.to_vec();
    for byte in key.iter_mut().rev() {
        let (sum, overflow) = byte.overflowing_add(1);
        *byte = sum;
        if !overflow {
            return Some(key);
        }
    }
    None
}

pub(super) fn rule(w: &mut Writer, table: &Table, rule: &Rule) {
    w.str(1, &table.name);
    w.str(2, &rule.chain);
    w.nest(4, |w| expressions(w, table.family, rule));
    let mut data = Vec::new();
    if let Some(comment) = &rule.comment {
        comment_tlv(&mut data, comment);
    }
    tlv(&mut data, udata::RULE_HASH, &rule_hash(table.family, rule).to_ne_bytes());
    w.bytes(7, &data);
}

/// What tells two rules apart: their expressions, as sent. FNV-1a of 64 bits: same on every machine and in every version, and
/// nobody gains by a collision.
pub(super) fn rule_hash(family: Family, rule: &Rule) -> u64 {
    let mut w = Writer::default();
    expressions(&mut w, family, rule);
    let comment = rule.comment.as_deref().unwrap_or("");
    w.finish()
        .iter()
        .chain(comment.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn expressions(w: &mut Writer, family: Family, rule: &Rule) {
    for statement in &rule.statements {
        expression::statement(w, family, statement);
    }
}
