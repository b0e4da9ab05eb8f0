//! A reply being written: header and question first, then records while they fit.

use std::net::IpAddr;

use super::{CLASS_IN, HEADER, OPT, Query, flag, rtype};

/// Pointers have 14 bits.
const MAX_POINTER: usize = 0x3fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// A reply to one query in a buffer of the caller's. Records go in in the order of the sections; one that does not fit leaves no
/// trace and `false`, and it is the caller who knows whether that is a truncation.
pub(crate) struct Reply<'b> {
    buffer: &'b mut [u8],
    length: usize,
    /// Records end here; what the OPT record needs is kept free behind it.
    limit: usize,
    counts: [u16; 3],
    truncated: bool,
}

// === impl Reply ===

impl<'b> Reply<'b> {
    /// Starts a reply of at most `limit` octets, OPT record included. The buffer must hold a header and any question.
    pub(crate) fn new(buffer: &'b mut [u8], query: &Query<'_>, limit: usize) -> Self {
        let question = query.question();
        buffer[HEADER..HEADER + question.len()].copy_from_slice(question);
        let reserved = if query.edns.is_some() { OPT } else { 0 };
        let limit = limit.min(buffer.len()) - reserved;
        Self { buffer, length: HEADER + question.len(), limit, counts: [0; 3], truncated: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// How long the reply may get before its OPT record.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Something that belongs into the reply did not fit (RFC 2181 section 9).
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// Writes one record with `owner` (a pointer) and the data that `data` gives in pieces.
    pub(crate) fn record(&mut self, section: Section, owner: u16, kind: u16, ttl: u32, data: &[&[u8]]) -> bool {
        let data_length: usize = data.iter().map(|piece| piece.len()).sum();
        if self.length + 12 + data_length > self.limit || data_length > usize::from(u16::MAX) {
            return false;
        }
        self.put(&owner.to_be_bytes());
        self.fixed(section, kind, ttl, data_length);
        for piece in data {
            self.put(piece);
        }
        true
    }

    /// An address record.
    pub(crate) fn address(&mut self, section: Section, owner: u16, ttl: u32, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.record(section, owner, rtype::A, ttl, &[&v4.octets()]),
            IpAddr::V6(v6) => self.record(section, owner, rtype::AAAA, ttl, &[&v6.octets()]),
        }
    }

    /// A pointer to what stands at `at`; `None` where pointers do not reach.
    pub(crate) fn pointer(at: usize) -> Option<u16> {
        (at <= MAX_POINTER).then_some(0xc000 | at as u16)
    }

    fn fixed(&mut self, section: Section, kind: u16, ttl: u32, data_length: usize) {
        let mut fixed = [0; 10];
        fixed[..2].copy_from_slice(&kind.to_be_bytes());
        fixed[2..4].copy_from_slice(&CLASS_IN.to_be_bytes());
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        fixed[8..].copy_from_slice(&(data_length as u16).to_be_bytes());
        self.put(&fixed);
        self.counts[section as usize] += 1;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(crate) fn answers(&self) -> u16 {
        self.counts[Section::Answer as usize]
    }

    /// Writes the header and the OPT record; gives the reply's length. RD is copied and RA stays clear, as an authoritative
    /// server's; `flags` adds to that.
    pub(crate) fn finish(mut self, query: &Query<'_>, code: u8, flags: u16) -> usize {
        if let Some(edns) = query.edns {
            let ttl = u32::from(code >> 4) << 24 | if edns.dnssec_ok { 0x8000 } else { 0 };
            self.put(&[0]);
            self.put(&rtype::OPT.to_be_bytes());
            self.put(&edns.size.to_be_bytes());
            self.put(&ttl.to_be_bytes());
            self.put(&[0, 0]);
        }
        let truncated = if self.truncated { flag::TC } else { 0 };
        let flags = flag::QR | query.echoed() | flags | truncated | u16::from(code & 15);
        let additional = self.counts[2] + u16::from(query.edns.is_some());
        self.buffer[..2].copy_from_slice(&query.id().to_be_bytes());
        for (at, value) in [(2, flags), (4, 1), (6, self.counts[0]), (8, self.counts[1]), (10, additional)] {
            self.buffer[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        self.length
    }
}
