//! Messages as values: for the paths that take answers apart and put them together again.
//!
//! A record's data is kept with its names written out, so that it means the same in any message; records of unknown types pass
//! unchanged (RFC 3597). Must not know what the records are for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{CLASS_IN, HEADER, MIN_UDP, RecordAt, flag, rtype, u16_at};
use crate::name::{MAX_NAME, Name};

/// A message without its OPT record, which belongs to one hop and is written anew for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// The whole return code, its upper bits from the OPT record included.
    pub(crate) rcode: u8,
    pub(crate) question: Question,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
    /// The plugin that answered, for the metrics; empty until one says so.
    pub(crate) by: &'static str,
    /// Why the answer is what it is, for clients that speak EDNS.
    pub(crate) why: Option<ExtendedError>,
    /// The upstream that said it, if one was asked.
    pub(crate) upstream: Option<SocketAddr>,
    /// What failed on the way to it, for the log.
    pub(crate) error: Option<String>,
    /// The client gets no answer (`acl`).
    pub(crate) dropped: bool,
    /// Nobody is there who could be asked: the failure says nothing of the name.
    pub(crate) unasked: bool,
}

/// RFC 8914.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) code: u16,
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) name: Name,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

// === impl Message ===

impl Message {
    /// An answer of ours to `question`, empty yet.
    pub(crate) fn answer(question: Question, rcode: u8) -> Self {
        let (answers, authorities, additionals) = (Vec::new(), Vec::new(), Vec::new());
        let flags = flag::QR | flag::AA;
        Self {
            id: 0,
            flags,
            rcode,
            question,
            answers,
            authorities,
            additionals,
            by: "",
            why: None,
            upstream: None,
            error: None,
            dropped: false,
            unasked: false,
        }
    }

    /// Reads any message of one question; `None` where it breaks the format.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || u16_at(bytes, 4) != 1 {
            return None;
        }
        let (name, end) = name_at(bytes, HEADER)?;
        let fixed = bytes.get(end..end + 4)?;
        let question = Question { name, qtype: u16_at(fixed, 0), qclass: u16_at(fixed, 2) };
        let flags = u16_at(bytes, 2);
        let mut message = Self { id: u16_at(bytes, 0), flags: flags & !15, ..Self::answer(question, (flags & 15) as u8) };
        let mut at = end + 4;
        for (count, section) in [
            (u16_at(bytes, 6), &mut message.answers),
            (u16_at(bytes, 8), &mut message.authorities),
            (u16_at(bytes, 10), &mut message.additionals),
        ] {
            for _ in 0..count {
                let record = RecordAt::parse(bytes, at)?;
                at = record.end;
                if record.rtype == rtype::OPT {
                    message.rcode |= ((record.ttl >> 24) as u8) << 4;
                } else {
                    section.push(Record::read(bytes, &record)?);
                }
            }
        }
        Some(message)
    }

    /// Writes the message in at most `limit` octets, `opt` behind it. What does not fit is left out: of the additional section
    /// silently, of the others with TC.
    pub(crate) fn encode(&self, limit: usize, opt: Option<&[u8]>) -> Vec<u8> {
        let limit = limit - opt.map_or(0, <[u8]>::len);
        let mut out = Vec::with_capacity(MIN_UDP);
        out.resize(HEADER, 0);
        let mut names = Names::default();
        write_name(&mut out, &self.question.name, &mut names);
        out.extend(self.question.qtype.to_be_bytes());
        out.extend(self.question.qclass.to_be_bytes());
        let mut counts = [0u16; 3];
        let mut truncated = false;
        for (section, records) in [&self.answers, &self.authorities, &self.additionals].into_iter().enumerate() {
            for record in records {
                let before = out.len();
                record.write(&mut out, &mut names);
                if out.len() > limit || counts[section] == u16::MAX {
                    out.truncate(before);
                    names.forget_from(before);
                    truncated |= section < 2;
                    break;
                }
                counts[section] += 1;
            }
            if truncated {
                break;
            }
        }
        if let Some(opt) = opt {
            out.extend(opt);
            counts[2] += 1;
        }
        let flags = self.flags | u16::from(self.rcode & 15) | if truncated { flag::TC } else { 0 };
        for (at, value) in [(0, self.id), (2, flags), (4, 1), (6, counts[0]), (8, counts[1]), (10, counts[2])] {
            out[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        out
    }
}

// === impl ExtendedError ===

impl ExtendedError {
    /// As an option of an OPT record: code, length, data.
    pub(crate) fn option(&self) -> Vec<u8> {
        const CODE: u16 = 15;
        // It comes from a Corefile's line.
        let length = (2 + self.text.len()) as u16;
        [&CODE.to_be_bytes()[..], &length.to_be_bytes(), &self.code.to_be_bytes(), self.text.as_bytes()].concat()
    }
}

// === impl Record ===

impl Record {
    pub(crate) fn new(name: Name, rtype: u16, ttl: u32, data: Vec<u8>) -> Self {
        Self { name, rtype, class: CLASS_IN, ttl, data }
    }

    pub(crate) fn address(name: Name, ttl: u32, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(name, rtype::A, ttl, v4.octets().to_vec()),
            IpAddr::V6(v6) => Self::new(name, rtype::AAAA, ttl, v6.octets().to_vec()),
        }
    }

    pub(crate) fn srv(name: Name, ttl: u32, weight: u16, port: u16, target: &Name) -> Self {
        let mut data = vec![0, 0];
        data.extend(weight.to_be_bytes());
        data.extend(port.to_be_bytes());
        data.extend(target.wire());
        Self::new(name, rtype::SRV, ttl, data)
    }

    /// Gives the name in the data (of an SOA the server's) a new one if `new` has one.
    pub(crate) fn rename_data(&mut self, new: impl Fn(&Name) -> Option<Name>) {
        let (fixed, n_names) = layout(self.rtype);
        if n_names > 0
            && let Some((name, end)) = name_at(&self.data, fixed)
            && let Some(new) = new(&name)
        {
            self.data = [&self.data[..fixed], new.wire(), &self.data[end..]].concat();
        }
    }

    /// Where an alias leads; `None` for any other record.
    pub(crate) fn target(&self) -> Option<Name> {
        name_at(&self.data, 0).filter(|_| self.rtype == rtype::CNAME).map(|(target, _)| target)
    }

    /// The address in it; `None` for a record of another type.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.rtype {
            rtype::A => <[u8; 4]>::try_from(self.data.as_slice()).ok().map(|octets| Ipv4Addr::from(octets).into()),
            rtype::AAAA => <[u8; 16]>::try_from(self.data.as_slice()).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    fn read(message: &[u8], at: &RecordAt) -> Option<Self> {
        let (name, _) = name_at(message, at.start)?;
        // The types whose names may be compressed: RFC 3597 section 4, and SRV, which some servers compress all the same.
        let (fixed, n_names) = layout(at.rtype);
        let mut data = Vec::with_capacity(at.end - at.data);
        let mut from = at.data;
        if n_names > 0 {
            data.extend(message.get(from..from + fixed)?);
            from += fixed;
            for _ in 0..n_names {
                let (name, end) = name_at(message, from)?;
                data.extend(name.wire());
                from = end;
            }
        }
        data.extend(message.get(from..at.end)?);
        Some(Self { name, rtype: at.rtype, class: at.class, ttl: at.ttl, data })
    }

    /// Of an SOA record.
    pub(crate) fn serial(&self) -> Option<u32> {
        let (_, mailbox) = name_at(&self.data, 0).filter(|_| self.rtype == rtype::SOA)?;
        let (_, numbers) = name_at(&self.data, mailbox)?;
        self.data.get(numbers..numbers + 4).map(|serial| super::u32_at(serial, 0))
    }

    fn write(&self, out: &mut Vec<u8>, names: &mut Names) {
        write_name(out, &self.name, names);
        out.extend(self.rtype.to_be_bytes());
        out.extend(self.class.to_be_bytes());
        out.extend(self.ttl.to_be_bytes());
        let length_at = out.len();
        out.extend([0, 0]);
        let (fixed, mut n_names) = layout(self.rtype);
        // RFC 2782: the target of SRV is not compressed.
        if self.rtype == rtype::SRV {
            n_names = 0;
        }
        let mut from = 0;
        if n_names > 0 && fixed <= self.data.len() {
            out.extend(&self.data[..fixed]);
            from = fixed;
            for _ in 0..n_names {
                let Some((name, end)) = name_at(&self.data, from) else { break };
                write_name(out, &name, names);
                from = end;
            }
        }
        out.extend(&self.data[from..]);
        let length = (out.len() - length_at - 2) as u16;
        out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

/// How the data of a type starts: so many fixed octets, then so many names.
fn layout(kind: u16) -> (usize, usize) {
    match kind {
        rtype::NS | rtype::CNAME | rtype::PTR | 3 | 4 | 7 | 8 | 9 => (0, 1),
        rtype::SOA | 14 => (0, 2),
        rtype::MX => (2, 1),
        rtype::SRV => (6, 1),
        _ => (0, 0),
    }
}

/// Reads the name at `at` with its pointers followed; gives it and where it ends there. Each pointer must lead further to the
/// front, so that no loop is possible.
pub(crate) fn name_at(message: &[u8], at: usize) -> Option<(Name, usize)> {
    let (mut wire, mut length) = ([0; MAX_NAME], 0);
    let (mut at, mut end, mut before) = (at, None, at);
    loop {
        let octet = *message.get(at)?;
        match octet {
            0 => break,
            1..=63 => {
                let label = 1 + usize::from(octet);
                // The root label has to fit as well.
                if length + label >= MAX_NAME {
                    return None;
                }
                wire[length..length + label].copy_from_slice(message.get(at..at + label)?);
                (at, length) = (at + label, length + label);
            }
            0xc0.. => {
                let target = usize::from(u16::from_be_bytes([octet & 0x3f, *message.get(at + 1)?]));
                end.get_or_insert(at + 2);
                if target >= before {
                    return None;
                }
                (at, before) = (target, target);
            }
            _ => return None,
        }
    }
    Some((Name::from_wire(&wire[..=length]), end.unwrap_or(at + 1)))
}

/// Where names stand in a message that is being written, by their hash.
#[derive(Default)]
struct Names {
    seed: RandomState,
    places: HashMap<u64, u16>,
}

impl Names {
    /// Where `name` stands already.
    fn find(&self, out: &[u8], name: &[u8]) -> Option<u16> {
        let at = *self.places.get(&self.seed.hash_one(name))?;
        is_at(out, usize::from(at), name).then_some(at)
    }

    fn add(&mut self, name: &[u8], at: usize) {
        // A pointer has 14 bits.
        if at <= 0x3fff {
            self.places.insert(self.seed.hash_one(name), at as u16);
        }
    }

    fn forget_from(&mut self, end: usize) {
        self.places.retain(|_, at| usize::from(*at) < end);
    }
}

/// Whether the name written at `at` is `name`, letter case and all.
fn is_at(out: &[u8], mut at: usize, mut name: &[u8]) -> bool {
    loop {
        match out.get(at) {
            // Our own pointers lead to the front.
            Some(0xc0..) => at = usize::from(u16_at(out, at) & 0x3fff),
            Some(0) => return *name == [0],
            Some(length) => {
                let label = 1 + usize::from(*length);
                if name.len() < label || out.get(at..at + label) != Some(&name[..label]) {
                    return false;
                }
                (at, name) = (at + label, &name[label..]);
            }
            None => return false,
        }
    }
}

/// Writes a name, its longest suffix that stands in the message already as a pointer. Only suffixes of the very same letter case
/// are pointed to, so that every name keeps its own.
fn write_name(out: &mut Vec<u8>, name: &Name, names: &mut Names) {
    let mut rest = name.wire();
    while rest[0] != 0 {
        if let Some(at) = names.find(out, rest) {
            out.extend((0xc000 | at).to_be_bytes());
            return;
        }
        names.add(rest, out.len());
        let (label, after) = rest.split_at(1 + usize::from(rest[0]));
        out.extend(label);
        rest = after;
    }
    out.push(0);
}
