//! Statements of rules to the kernel's expressions: what is loaded into which register, and what is done with it.
//!
//! Numbers are those of linux/netfilter/nf_tables.h, in the enums of each expression's attributes.

use std::net::IpAddr;

use super::Family;
use super::rule::{Compare, Load, Operand, Statement};
use super::set::Verdict;
use crate::netlink::Writer;

/// `NFT_REG32_00`: the first of sixteen registers of four bytes.
pub(super) const R0: u32 = 8;
/// Where a map's value goes: behind the longest key that a value is looked up with (IPv6 address, protocol, port, slot).
const VALUE: u32 = R0 + 8;
pub(super) const VERDICT_REGISTER: u32 = 0;

const META_PRIORITY: u32 = 2;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
pub(super) const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
pub(super) const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

pub(super) fn expr(w: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    w.nest(1, |w| {
        w.str(1, name);
        w.nest(2, body);
    });
}

/// One statement, as the expressions that it takes.
pub(super) fn statement(w: &mut Writer, family: Family, statement: &Statement) {
    match statement {
        Statement::Match(load_what, compare, operand) => {
            load(w, family, load_what, R0);
            match operand {
                Operand::Net(address, prefix) => net(w, *address, *prefix, *compare),
                Operand::Number(n) => cmp(w, R0, *compare, &n.to_ne_bytes()),
                Operand::Local => {
                    const RTN_LOCAL: u32 = 2;
                    cmp(w, R0, *compare, &RTN_LOCAL.to_ne_bytes());
                }
                Operand::Interface(name) => cmp(w, R0, *compare, &interface(name)),
            }
        }
        Statement::MarkBits(bits, compare) => {
            meta(w, META_MARK, R0);
            bitwise(w, &bits.to_ne_bytes(), &[0; 4]);
            let inverted = if *compare == Compare::Equal { Compare::NotEqual } else { Compare::Equal };
            cmp(w, R0, inverted, &[0; 4]);
        }
        Statement::CtStatusDnat => ct_bits(w, CT_STATUS, 1 << 5), // IPS_DST_NAT
        Statement::CtStateNew => ct_bits(w, CT_STATE, 1 << 3),    // NF_CT_STATE_BIT(IP_CT_NEW)
        Statement::InSet { key, set, compare } => {
            load_key(w, family, key);
            lookup(w, set, None, *compare == Compare::NotEqual);
        }
        Statement::VerdictMap { key, map } => {
            load_key(w, family, key);
            lookup(w, map, Some(VERDICT_REGISTER), false);
        }
        Statement::PriorityFromMap { key, map } => {
            load_key(w, family, key);
            lookup(w, map, Some(VALUE), false);
            meta_set(w, META_PRIORITY, VALUE);
        }
        Statement::SetPriority(value) => {
            expr(w, "immediate", |w| {
                w.be32(1, R0);
                w.nest(2, |w| w.bytes(1, &value.to_ne_bytes()));
            });
            meta_set(w, META_PRIORITY, R0);
        }
        Statement::SetMarkBits(bits) => mark(w, !bits, *bits),
        Statement::ClearMarkBits(bits) => mark(w, !bits, 0),
        Statement::Update { set, key } => {
            load_key(w, family, key);
            expr(w, "dynset", |w| {
                const NFT_DYNSET_OP_UPDATE: u32 = 1;
                w.str(1, set);
                w.be32(3, NFT_DYNSET_OP_UPDATE);
                w.be32(4, R0);
            });
        }
        Statement::DnatByMap { key, map } => {
            load_key(w, family, key);
            lookup(w, map, Some(VALUE), false);
            expr(w, "nat", |w| {
                const NFT_NAT_DNAT: u32 = 1;
                w.be32(1, NFT_NAT_DNAT);
                w.be32(2, u32::from(family.number()));
                w.be32(3, VALUE);
                w.be32(5, VALUE + (family.address().len() / 4) as u32);
            });
        }
        Statement::Masquerade => expr(w, "masq", |w| {
            const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 1 << 4;
            w.be32(1, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
        }),
        Statement::Notrack => expr(w, "notrack", |_| {}),
        Statement::Counter => expr(w, "counter", |_| {}),
        Statement::Reject => expr(w, "reject", |w| {
            const NFT_REJECT_ICMP_UNREACH: u32 = 0;
            w.be32(1, NFT_REJECT_ICMP_UNREACH);
            // Port unreachable: RFC 792 code 3, RFC 4443 code 4.
            w.bytes(2, &[if family == Family::Ip { 3 } else { 4 }]);
        }),
        Statement::Verdict(v) => expr(w, "immediate", |w| {
            w.be32(1, VERDICT_REGISTER);
            w.nest(2, |w| verdict(w, v));
        }),
    }
}

pub(super) fn verdict(w: &mut Writer, v: &Verdict) {
    let (code, chain) = match v {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    w.nest(2, |w| {
        w.be32(1, code as u32);
        if let Some(chain) = chain {
            w.str(2, chain);
        }
    });
}

fn load_key(w: &mut Writer, family: Family, key: &[Load]) {
    let mut register = R0;
    for part in key {
        load(w, family, part, register);
        register += registers(family, part);
    }
}

/// How many registers a value fills.
fn registers(family: Family, what: &Load) -> u32 {
    match what {
        Load::Source | Load::Destination => (family.address().len() / 4) as u32,
        Load::InputInterface | Load::OutputInterface => 4,
        _ => 1,
    }
}

fn load(w: &mut Writer, family: Family, what: &Load, register: u32) {
    let (source, destination, len) = match family {
        Family::Ip => (12, 16, 4),
        Family::Ip6 => (8, 24, 16),
    };
    match what {
        Load::Source => payload(w, NETWORK_HEADER, source, len, register),
        Load::Destination => payload(w, NETWORK_HEADER, destination, len, register),
        Load::L4Proto => meta(w, META_L4PROTO, register),
        Load::SourcePort => payload(w, TRANSPORT_HEADER, 0, 2, register),
        Load::DestinationPort => payload(w, TRANSPORT_HEADER, 2, 2, register),
        Load::Mark => meta(w, META_MARK, register),
        Load::Priority => meta(w, META_PRIORITY, register),
        Load::InputInterface => meta(w, META_IIFNAME, register),
        Load::OutputInterface => meta(w, META_OIFNAME, register),
        Load::SourceType => fib_type(w, 1, register),
        Load::DestinationType => fib_type(w, 2, register),
        Load::Random { modulo } => numgen(w, 1, *modulo, 0, register),
        Load::Next { modulo } => numgen(w, 0, *modulo, 0, register),
        Load::SourceHash { modulo } => {
            payload(w, NETWORK_HEADER, source, len, register);
            jhash(w, len, *modulo, register);
        }
        Load::Constant(n) => numgen(w, 0, 1, *n, register),
    }
}

/// The same everywhere, so that every node sends a client to the same place.
pub(super) const SOURCE_HASH_SEED: u32 = 0x7275_7474;

pub(super) fn payload(w: &mut Writer, base: u32, offset: u32, len: u32, register: u32) {
    expr(w, "payload", |w| {
        w.be32(1, register);
        w.be32(2, base);
        w.be32(3, offset);
        w.be32(4, len);
    });
}

pub(super) fn meta(w: &mut Writer, key: u32, register: u32) {
    expr(w, "meta", |w| {
        w.be32(1, register);
        w.be32(2, key);
    });
}

fn meta_set(w: &mut Writer, key: u32, register: u32) {
    expr(w, "meta", |w| {
        w.be32(2, key);
        w.be32(3, register);
    });
}

fn fib_type(w: &mut Writer, flags: u32, register: u32) {
    expr(w, "fib", |w| {
        const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
        w.be32(1, register);
        w.be32(2, NFT_FIB_RESULT_ADDRTYPE);
        w.be32(3, flags);
    });
}

fn numgen(w: &mut Writer, kind: u32, modulo: u32, offset: u32, register: u32) {
    expr(w, "numgen", |w| {
        w.be32(1, register);
        w.be32(2, modulo);
        w.be32(3, kind);
        w.be32(4, offset);
    });
}

/// Hashes `len` bytes from `register` on into it.
fn jhash(w: &mut Writer, len: u32, modulo: u32, register: u32) {
    expr(w, "hash", |w| {
        w.be32(1, register);
        w.be32(2, register);
        w.be32(3, len);
        w.be32(4, modulo);
        w.be32(5, SOURCE_HASH_SEED);
    });
}

fn lookup(w: &mut Writer, set: &str, value: Option<u32>, inverted: bool) {
    expr(w, "lookup", |w| {
        w.str(1, set);
        w.be32(2, R0);
        if let Some(register) = value {
            w.be32(3, register);
        }
        if inverted {
            w.be32(5, 1);
        }
    });
}

pub(super) fn cmp(w: &mut Writer, register: u32, compare: Compare, value: &[u8]) {
    expr(w, "cmp", |w| {
        w.be32(1, register);
        w.be32(2, if compare == Compare::Equal { 0 } else { 1 });
        w.nest(3, |w| w.bytes(1, value));
    });
}

/// `R0 = R0 & mask ^ xor`.
fn bitwise(w: &mut Writer, mask: &[u8], xor: &[u8]) {
    expr(w, "bitwise", |w| {
        w.be32(1, R0);
        w.be32(2, R0);
        w.be32(3, mask.len() as u32);
        w.nest(4, |w| w.bytes(1, mask));
        w.nest(5, |w| w.bytes(1, xor));
    });
}

fn mark(w: &mut Writer, keep: u32, xor: u32) {
    meta(w, META_MARK, R0);
    bitwise(w, &keep.to_ne_bytes(), &xor.to_ne_bytes());
    meta_set(w, META_MARK, R0);
}

fn ct_bits(w: &mut Writer, key: u32, bits: u32) {
    expr(w, "ct", |w| {
        w.be32(1, R0);
        w.be32(2, key);
    });
    bitwise(w, &bits.to_ne_bytes(), &[0; 4]);
    cmp(w, R0, Compare::NotEqual, &[0; 4]);
}

fn net(w: &mut Writer, address: IpAddr, prefix: u8, compare: Compare) {
    let octets = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let mask: Vec<u8> = (0..octets.len())
        .map(|i| {
            let bits = u32::from(prefix).saturating_sub(8 * i as u32).min(8);
            !(0xffu16 >> bits) as u8
        })
        .collect();
    let value: Vec<u8> = octets.iter().zip(&mask).map(|(o, m)| o & m).collect();
    if usize::from(prefix) < octets.len() * 8 {
        bitwise(w, &mask, &vec![0; octets.len()]);
    }
    cmp(w, R0, compare, &value);
}

/// The bytes of an interface name to compare with: as many as count.
fn interface(name: &str) -> Vec<u8> {
    match name.strip_suffix('*') {
        Some(prefix) => prefix.as_bytes().iter().copied().take(15).collect(),
        None => {
            let mut bytes: Vec<u8> = name.bytes().take(15).collect();
            bytes.resize(16, 0);
            bytes
        }
    }
}
