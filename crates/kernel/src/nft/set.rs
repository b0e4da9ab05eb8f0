//! Sets and maps: their types, and their elements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Name;

/// A set, or with `data` a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: Name,
    /// One type, or the parts of a concatenation.
    pub key: Vec<Type>,
    pub data: Option<Data>,
    /// Elements are ranges (in a concatenation: any part may be one).
    pub interval: bool,
    /// Rules add elements, which go this long after they were last written.
    pub dynamic: Option<Duration>,
    /// The most elements it takes; only for dynamic sets, whose default of 65,535 is small.
    pub size: Option<u32>,
}

/// What a map maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Verdict,
    Fields(Vec<Type>),
}

/// nft's data types; the numbers are the userspace ones that the kernel merely keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Ipv4Addr,
    Ipv6Addr,
    InetProto,
    InetService,
    Mark,
    /// A traffic-control handle; `meta priority` has it.
    ClassId,
}

/// One value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Ip4(Ipv4Addr),
    Ip6(Ipv6Addr),
    Proto(u8),
    Port(u16),
    Mark(u32),
    ClassId(u32),
}

/// Where a packet goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Name),
    Goto(Name),
}

/// One element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Element {
    pub key: Vec<Field>,
    /// The last key of the range that starts at `key`; interval sets only.
    pub key_end: Option<Vec<Field>>,
    pub value: Option<Value>,
    pub comment: Option<String>,
    /// How long a dynamic element has left; `None`: the set's default.
    pub expires: Option<Duration>,
}

/// What a map's element maps to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Fields(Vec<Field>),
    Verdict(Verdict),
}

// === impl Set ===

impl Set {
    pub fn new(name: impl Into<Name>, key: impl Into<Vec<Type>>) -> Self {
        Self { name: name.into(), key: key.into(), data: None, interval: false, dynamic: None, size: None }
    }

    pub fn map(name: impl Into<Name>, key: impl Into<Vec<Type>>, data: Data) -> Self {
        Self { data: Some(data), ..Self::new(name, key) }
    }

    pub fn interval(self) -> Self {
        Self { interval: true, ..self }
    }

    pub fn dynamic(self, timeout: Duration, size: u32) -> Self {
        Self { dynamic: Some(timeout), size: Some(size), ..self }
    }
}

// === impl Type ===

impl Type {
    /// nft's number for it (`enum datatypes`).
    pub(crate) fn id(self) -> u32 {
        match self {
            Type::Ipv4Addr => 7,
            Type::Ipv6Addr => 8,
            Type::InetProto => 12,
            Type::InetService => 13,
            Type::Mark => 19,
            Type::ClassId => 23,
        }
    }

    /// Bytes of a value.
    pub(crate) fn len(self) -> usize {
        match self {
            Type::InetProto => 1,
            Type::InetService => 2,
            Type::Ipv4Addr | Type::Mark | Type::ClassId => 4,
            Type::Ipv6Addr => 16,
        }
    }

    /// Whether values are in the byte order of this machine, not of the network.
    pub(crate) fn host_order(self) -> bool {
        matches!(self, Type::Mark | Type::ClassId)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Type::Ipv4Addr => "ipv4_addr",
            Type::Ipv6Addr => "ipv6_addr",
            Type::InetProto => "inet_proto",
            Type::InetService => "inet_service",
            Type::Mark => "mark",
            Type::ClassId => "classid",
        }
    }

    /// The value that `bytes` hold, if they are long enough.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<Field> {
        Some(match self {
            Type::Ipv4Addr => Field::Ip4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
            Type::Ipv6Addr => Field::Ip6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?)),
            Type::InetProto => Field::Proto(*bytes.first()?),
            Type::InetService => Field::Port(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?)),
            Type::Mark => Field::Mark(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)),
            Type::ClassId => Field::ClassId(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)),
        })
    }
}

/// The type of a concatenation: six bits for each part.
pub(crate) fn type_id(types: &[Type]) -> u32 {
    types.iter().fold(0, |id, t| id << 6 | t.id())
}

/// Bytes of a key or value: parts of a concatenation fill whole registers of four.
pub(crate) fn byte_len(types: &[Type]) -> u32 {
    match types {
        [one] => one.len() as u32,
        many => many.iter().map(|t| t.len().next_multiple_of(4) as u32).sum(),
    }
}

// === impl Field ===

impl Field {
    pub fn ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Field::Ip4(a),
            IpAddr::V6(a) => Field::Ip6(a),
        }
    }

    pub fn as_ip(self) -> Option<IpAddr> {
        match self {
            Field::Ip4(a) => Some(a.into()),
            Field::Ip6(a) => Some(a.into()),
            _ => None,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Field::Ip4(a) => out.extend_from_slice(&a.octets()),
            Field::Ip6(a) => out.extend_from_slice(&a.octets()),
            Field::Proto(p) => out.push(p),
            Field::Port(p) => out.extend_from_slice(&p.to_be_bytes()),
            Field::Mark(v) | Field::ClassId(v) => out.extend_from_slice(&v.to_ne_bytes()),
        }
    }
}

/// The bytes of a key or value.
pub(crate) fn write_fields(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    for field in fields {
        field.write(&mut out);
        if fields.len() > 1 {
            out.resize(out.len().next_multiple_of(4), 0);
        }
    }
    out
}

/// The key or value that `bytes` hold; `None` if they are too short.
pub(crate) fn read_fields(types: &[Type], bytes: &[u8]) -> Option<Vec<Field>> {
    let mut at = 0;
    types
        .iter()
        .map(|t| {
            let field = t.read(bytes.get(at..)?);
            at += t.len().next_multiple_of(4);
            field
        })
        .collect()
}

// === impl Element ===

impl Element {
    pub fn new(key: impl Into<Vec<Field>>) -> Self {
        Self { key: key.into(), key_end: None, value: None, comment: None, expires: None }
    }

    /// The range of keys from `first` to `last`, both included.
    pub fn range(first: impl Into<Vec<Field>>, last: impl Into<Vec<Field>>) -> Self {
        Self { key_end: Some(last.into()), ..Self::new(first) }
    }

    pub fn to(self, fields: impl Into<Vec<Field>>) -> Self {
        Self { value: Some(Value::Fields(fields.into())), ..self }
    }

    pub fn verdict(self, verdict: Verdict) -> Self {
        Self { value: Some(Value::Verdict(verdict)), ..self }
    }

    /// Cut to 127 bytes: nft reads no longer comment.
    pub fn comment(self, text: &str) -> Self {
        let mut end = text.len().min(127);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self { comment: Some(text[..end].to_owned()), ..self }
    }

    pub fn expires(self, left: Duration) -> Self {
        Self { expires: Some(left), ..self }
    }

    /// The fields it maps to; empty for a set's element or a verdict.
    pub fn fields(&self) -> &[Field] {
        match &self.value {
            Some(Value::Fields(fields)) => fields,
            _ => &[],
        }
    }
}
