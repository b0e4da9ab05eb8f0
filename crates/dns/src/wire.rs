//! DNS messages as they travel: reading a query and writing a reply into bytes that are already there.
//!
//! Owns the header, the question, EDNS and the limits on a reply's size. Total: any bytes are either a query, or refused with what the
//! RFCs ask for, or silence. Must not know zones. Whole messages as values are [`message`]'s.
//! Source: RFC 1035, RFC 6891 (EDNS), RFC 2181 section 9 (truncation).

pub(crate) mod message;
mod reply;
mod text;
mod types;

pub(crate) use reply::{Reply, Section};
pub(crate) use types::{Class, Type, class_named, type_named};

use std::cell::Cell;

use crate::name::{MAX_LABELS, MAX_NAME};

pub(crate) const HEADER: usize = 12;

/// What a client without EDNS takes by UDP (RFC 1035), and the least that one with EDNS does (RFC 6891 section 6.2.5).
pub(crate) const MIN_UDP: usize = 512;
/// The largest reply by UDP, whatever the client offers: the rest goes by TCP.
pub(crate) const MAX_UDP: usize = 4_096;
/// What a TCP message's length can say.
pub(crate) const MAX_TCP: usize = 65_535;
/// An OPT record without options.
pub(crate) const OPT: usize = 11;

pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const MX: u16 = 15;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;

    /// Whether a question of this type asks for a whole zone.
    pub(crate) fn is_transfer(qtype: u16) -> bool {
        [AXFR, IXFR].contains(&qtype)
    }
}

pub(crate) mod rcode {
    pub(crate) const NOERROR: u8 = 0;
    pub(crate) const FORMERR: u8 = 1;
    pub(crate) const SERVFAIL: u8 = 2;
    pub(crate) const NXDOMAIN: u8 = 3;
    pub(crate) const NOTIMP: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    /// Does not fit into the header: its upper bits are in the OPT record.
    pub(crate) const BADVERS: u8 = 16;
}

const RCODES: [(u8, &str); 20] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

pub(crate) const CLASS_IN: u16 = 1;
pub(crate) const CLASS_ANY: u16 = 255;

pub(crate) mod flag {
    pub(crate) const QR: u16 = 1 << 15;
    pub(crate) const OPCODE: u16 = 0b1111 << 11;
    pub(crate) const AA: u16 = 1 << 10;
    pub(crate) const TC: u16 = 1 << 9;
    pub(crate) const RD: u16 = 1 << 8;
    pub(crate) const RA: u16 = 1 << 7;
    pub(crate) const AD: u16 = 1 << 5;
    pub(crate) const CD: u16 = 1 << 4;
}

const OPCODE_QUERY: u16 = 0;
const OPCODE_NOTIFY: u16 = 4;

/// A query, read from bytes that it keeps borrowed.
#[derive(Clone)]
pub(crate) struct Query<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) name: Folded,
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
    pub(crate) edns: Option<Edns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) size: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
}

/// The question's name in lower case, with where its labels start: what every look-up needs, made once, on the stack.
#[derive(Clone)]
pub(crate) struct Folded {
    bytes: [u8; MAX_NAME],
    length: u8,
    starts: [u8; MAX_LABELS],
    n_labels: u8,
}

/// Why bytes are no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too short to answer, or itself an answer: answering those could make two servers talk for ever.
    Silently,
    /// To be answered with this return code and nothing else.
    With(u8),
}

// === impl Query ===

impl<'a> Query<'a> {
    /// Reads a query. Record counts beyond what a query may have are refused as CoreDNS refuses them.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        if bytes.len() < HEADER {
            return Err(Refused::Silently);
        }
        let flags = u16_at(bytes, 2);
        if flags & flag::QR != 0 {
            return Err(Refused::Silently);
        }
        if ![OPCODE_QUERY, OPCODE_NOTIFY].contains(&((flags & flag::OPCODE) >> 11)) {
            return Err(Refused::With(rcode::NOTIMP));
        }
        let formerr = Refused::With(rcode::FORMERR);
        let [questions, answers, authorities, additionals] = [4, 6, 8, 10].map(|at| u16_at(bytes, at));
        // NOTIFY may carry an SOA as answer, IXFR carries one as authority; OPT and TSIG are additional.
        if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
            return Err(formerr);
        }
        let (name, end) = Folded::parse(bytes).ok_or(formerr)?;
        let qtype = u16_of(bytes, end).ok_or(formerr)?;
        let qclass = u16_of(bytes, end + 2).ok_or(formerr)?;
        let mut edns = None;
        let mut at = end + 4;
        for n in 0..answers + authorities + additionals {
            let record = RecordAt::parse(bytes, at).ok_or(formerr)?;
            at = record.end;
            if record.rtype == rtype::OPT {
                let misplaced = n < answers + authorities || bytes[record.start] != 0;
                if misplaced || !are_options(&bytes[record.data..record.end]) || edns.replace(Edns::of(record.class, record.ttl)).is_some()
                {
                    return Err(formerr);
                }
            }
        }
        Ok(Self { bytes, name, qtype, qclass, edns })
    }

    pub(crate) fn id(&self) -> u16 {
        u16_at(self.bytes, 0)
    }

    pub(crate) fn flags(&self) -> u16 {
        u16_at(self.bytes, 2)
    }

    /// Those that a reply to it has from it: of anything but a query the opcode alone, as CoreDNS's.
    pub(crate) fn echoed(&self) -> u16 {
        let flags = self.flags();
        let query = (flags & flag::OPCODE) >> 11 == OPCODE_QUERY;
        flags & if query { flag::OPCODE | flag::RD | flag::CD } else { flag::OPCODE }
    }

    /// The question as it was sent, letter case and all.
    pub(crate) fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..self.question_end()]
    }

    /// The name as it was sent, in wire form.
    pub(crate) fn name_as_sent(&self) -> &'a [u8] {
        &self.bytes[HEADER..HEADER + self.name.wire().len()]
    }

    pub(crate) fn question_end(&self) -> usize {
        HEADER + self.name.wire().len() + 4
    }

    /// The largest reply that the client takes.
    pub(crate) fn limit(&self, tcp: bool) -> usize {
        if tcp { MAX_TCP } else { self.edns.map_or(MIN_UDP, |edns| usize::from(edns.size).clamp(MIN_UDP, MAX_UDP)) }
    }

    /// Takes the client for one that takes no more than `most` by UDP, and tells it so.
    pub(crate) fn cap(&mut self, most: Option<u16>) {
        if let (Some(edns), Some(most)) = (&mut self.edns, most) {
            edns.size = edns.size.min(most);
        }
    }
}

impl Edns {
    fn of(class: u16, ttl: u32) -> Self {
        Self { size: class, version: (ttl >> 16) as u8, dnssec_ok: ttl & 0x8000 != 0 }
    }
}

// === impl Folded ===

impl Folded {
    /// Reads the name of the question; gives it and where it ends. `None` for anything but a whole, uncompressed name.
    fn parse(message: &[u8]) -> Option<(Self, usize)> {
        let mut name = Self { bytes: [0; MAX_NAME], length: 0, starts: [0; MAX_LABELS], n_labels: 0 };
        let question = &message[HEADER..];
        let mut at = 0;
        loop {
            let length = usize::from(*question.get(at)?);
            if length == 0 {
                break;
            }
            let end = at + 1 + length;
            // Nothing stands before the first name that a pointer could point to. The root label has to fit as well.
            if length > 63 || end >= MAX_NAME || end > question.len() {
                return None;
            }
            name.starts[usize::from(name.n_labels)] = at as u8;
            name.n_labels += 1;
            name.bytes[at..end].copy_from_slice(&question[at..end]);
            at = end;
        }
        name.length = at as u8 + 1;
        name.bytes[..at].make_ascii_lowercase();
        Some((name, HEADER + at + 1))
    }

    /// A name made here instead of read.
    pub(crate) fn of(name: &crate::name::Name) -> Self {
        let mut folded = Self { bytes: [0; MAX_NAME], length: name.wire().len() as u8, starts: [0; MAX_LABELS], n_labels: 0 };
        folded.bytes[..name.wire().len()].copy_from_slice(name.wire());
        folded.bytes.make_ascii_lowercase();
        let mut at = 0;
        for label in name.labels() {
            folded.starts[usize::from(folded.n_labels)] = at as u8;
            folded.n_labels += 1;
            at += 1 + label.len();
        }
        folded
    }

    /// The whole name in wire form, root label included.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The longest text of a name.
    pub(crate) const MAX_TEXT: usize = MAX_NAME;

    /// The name as people write it, its final dot included; `None` where a label holds octets that are written with an escape.
    pub(crate) fn text<'b>(&self, buffer: &'b mut [u8; Self::MAX_TEXT]) -> Option<&'b [u8]> {
        let length = usize::from(self.length);
        if length == 1 {
            buffer[0] = b'.';
            return Some(&buffer[..1]);
        }
        let plain = (0..self.n_labels()).all(|at| self.label(at).iter().all(|octet| crate::name::is_plain(*octet)));
        if !plain {
            return None;
        }
        // Each length octet but the first becomes the dot in front of its label, the root's the last one.
        buffer[..length - 1].copy_from_slice(&self.bytes[1..length]);
        for start in self.starts[1..self.n_labels()].iter() {
            buffer[usize::from(*start) - 1] = b'.';
        }
        buffer[length - 2] = b'.';
        Some(&buffer[..length - 1])
    }

    pub(crate) fn n_labels(&self) -> usize {
        usize::from(self.n_labels)
    }

    /// Where label `at` (0 is the leftmost) starts, its length octet included; the root's place for `n_labels`.
    pub(crate) fn start(&self, at: usize) -> usize {
        if at < self.n_labels() { usize::from(self.starts[at]) } else { usize::from(self.length) - 1 }
    }

    pub(crate) fn label(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at) + 1..self.start(at + 1)]
    }

    /// Labels `from..to` in wire form.
    pub(crate) fn between(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[self.start(from)..self.start(to)]
    }

    /// How many labels stand in front of `zone` (lower case, wire form, of `zone_labels` labels); `None` outside of it.
    pub(crate) fn above(&self, zone: &[u8], zone_labels: usize) -> Option<usize> {
        let above = self.n_labels().checked_sub(zone_labels)?;
        (self.wire()[self.start(above)..] == *zone).then_some(above)
    }
}

/// One record's place in a message.
#[derive(Clone, Copy)]
pub(crate) struct RecordAt {
    pub(crate) start: usize,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) data: usize,
    pub(crate) end: usize,
}

impl RecordAt {
    /// Reads the fixed part of the record at `start` and checks that all of it is there.
    pub(crate) fn parse(message: &[u8], start: usize) -> Option<Self> {
        let at = skip_name(message, start)?;
        let fixed = message.get(at..at + 10)?;
        let data = at + 10;
        let end = data + usize::from(u16_at(fixed, 8));
        if end > message.len() {
            return None;
        }
        Some(Self { start, rtype: u16_at(fixed, 0), class: u16_at(fixed, 2), ttl: u32_at(fixed, 4), data, end })
    }
}

/// Where the name at `at` ends; its pointer, if it has one, is not followed.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// Whether the data of an OPT record is whole options and nothing else (RFC 6891 section 6.1.2).
fn are_options(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let Some(length) = u16_of(data, 2) else { return false };
        let Some(behind) = data.get(4 + usize::from(length)..) else { return false };
        data = behind;
    }
    true
}

/// A reply of a header alone, for what could not be read further.
pub(crate) fn refusal(query: &[u8], code: u8, out: &mut [u8]) -> usize {
    debug_assert!(query.len() >= HEADER, "BUG: what has no header is not answered");
    out[..2].copy_from_slice(&query[..2]);
    let flags = flag::QR | u16_at(query, 2) & (flag::OPCODE | flag::RD | flag::CD) | u16::from(code & 15);
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[4..HEADER].fill(0);
    HEADER
}

/// Lends room for the largest message: made once for each thread, as clearing it anew costs more than most answers do. It holds whatever
/// the last one left there.
pub(crate) fn with_room<T>(write: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
    let mut room = ROOM.take();
    room.resize(MAX_TCP, 0);
    let written = write(&mut room);
    ROOM.set(room);
    written
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_of(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16_at(pair, 0))
}

pub(crate) fn rcode_named(name: &str) -> Option<u8> {
    RCODES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(code, _)| *code)
}

/// The return code as metrics and logs name it.
pub(crate) fn rcode_name(code: u8) -> &'static str {
    RCODES.iter().find(|(known, _)| *known == code).map_or("OTHER", |(_, name)| name)
}

const TYPES: [(u16, &str); 19] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::SRV, "SRV"),
    (rtype::PTR, "PTR"),
    (rtype::CNAME, "CNAME"),
    (rtype::SOA, "SOA"),
    (rtype::NS, "NS"),
    (rtype::TXT, "TXT"),
    (rtype::MX, "MX"),
    (rtype::ANY, "ANY"),
    (65, "HTTPS"),
    (35, "NAPTR"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (rtype::IXFR, "IXFR"),
    (rtype::AXFR, "AXFR"),
    (64, "SVCB"),
];

/// The type as CoreDNS's metrics name it: the common ones, and `other`.
pub(crate) fn type_name(rtype: u16) -> &'static str {
    TYPES.iter().find(|(known, _)| *known == rtype).map_or("other", |(_, name)| name)
}

#[cfg(test)]
mod random;
#[cfg(test)]
pub(crate) use random::Random;

#[cfg(test)]
mod tests;
