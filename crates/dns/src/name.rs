//! Domain names in wire form: length-prefixed labels up to the root, letter case kept, compared without it.
//!
//! Owns the syntax and limits of RFC 1035 section 2.3.4 (63 octets a label, 255 a name). Must not know messages or zones.

use std::fmt;

/// The longest name, its root label included.
pub(crate) const MAX_NAME: usize = 255;
/// More labels do not fit into [`MAX_NAME`], the root not counted.
pub(crate) const MAX_LABELS: usize = 127;

/// An absolute name. Equality and hashing are those of the bytes: fold first where case must not count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{0}` has an empty label")]
    EmptyLabel(String),
    #[error("`{0}` has a label of more than 63 characters")]
    LongLabel(String),
    #[error("`{0}` is longer than 255 octets")]
    Long(String),
}

// === impl Name ===

impl Name {
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads a name as people write it, with or without the final dot: `\X` is that character, `\DDD` that octet (RFC 1035 section 5.1).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut rest = if text == "." { &[] } else { text.as_bytes() };
        while !rest.is_empty() {
            let start = wire.len();
            wire.push(0);
            while let Some((octet, escaped, behind)) = octet(rest) {
                rest = behind;
                if octet == b'.' && !escaped {
                    break;
                }
                wire.push(octet);
            }
            match wire.len() - start - 1 {
                0 => return Err(NameError::EmptyLabel(text.to_owned())),
                length @ 1..=63 => wire[start] = length as u8,
                _ => return Err(NameError::LongLabel(text.to_owned())),
            }
        }
        wire.push(0);
        if wire.len() > MAX_NAME { Err(NameError::Long(text.to_owned())) } else { Ok(Self(wire.into())) }
    }

    /// Takes bytes that were checked to be a whole name.
    pub(crate) fn from_wire(wire: &[u8]) -> Self {
        debug_assert!(wire.last() == Some(&0) && wire.len() <= MAX_NAME, "BUG: not a whole name");
        Self(wire.into())
    }

    /// `labels` (in wire form, without a root) in front of `self`; `None` when that is too long.
    pub(crate) fn prefixed(&self, labels: &[u8]) -> Option<Self> {
        (labels.len() + self.0.len() <= MAX_NAME).then(|| Self([labels, &self.0].concat().into()))
    }

    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    pub fn n_labels(&self) -> usize {
        self.labels().count()
    }

    /// The same name in lower case.
    #[must_use]
    pub fn folded(&self) -> Self {
        // Length octets are below 64 and so never upper case letters (65 to 90).
        Self(self.0.to_ascii_lowercase().into())
    }

    /// Whether this is `zone` or a name below it, whatever the case.
    pub fn is_under(&self, zone: &Name) -> bool {
        self.split(zone).is_some()
    }

    /// The labels in front of `zone`, in wire form; `None` for a name outside of it.
    pub(crate) fn split(&self, zone: &Name) -> Option<&[u8]> {
        let at = self.0.len().checked_sub(zone.0.len())?;
        let mut start = 0;
        while start < at {
            start += 1 + usize::from(self.0[start]);
        }
        (start == at && self.0[at..].eq_ignore_ascii_case(&zone.0)).then(|| &self.0[..at])
    }

    /// Whether names of this zone are addresses turned round.
    pub fn is_reverse(&self) -> bool {
        const IN_ADDR: &[u8] = b"\x07in-addr\x04arpa\0";
        const IP6: &[u8] = b"\x03ip6\x04arpa\0";
        let folded = self.folded();
        [IN_ADDR, IP6].iter().any(|zone| folded.is_under(&Name::from_wire(zone)))
    }
}

/// The labels of a wire-form name, root not included; stops early where the bytes are no name.
pub(crate) fn labels(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = wire.split_first()?;
        if length == 0 || usize::from(length) > rest.len() {
            return None;
        }
        let (label, rest) = rest.split_at(usize::from(length));
        wire = rest;
        Some(label)
    })
}

/// One label in wire form; `None` if it is empty or too long to be one.
pub(crate) fn label(text: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(text.len()).ok().filter(|length| (1..=63).contains(length))?;
    let mut wire = Vec::with_capacity(text.len() + 1);
    wire.push(length);
    wire.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    Some(wire)
}

/// The first octet of a name's text, whether it was written with an escape, and what stands behind it.
fn octet(text: &[u8]) -> Option<(u8, bool, &[u8])> {
    match text {
        [b'\\', digits @ ..] if digits.len() >= 3 && digits[..3].iter().all(u8::is_ascii_digit) => {
            let number = digits[..3].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
            // `\999` is no octet; what is left of it then is as good as anything.
            Some((number as u8, true, &digits[3..]))
        }
        [b'\\', octet, rest @ ..] => Some((*octet, true, rest)),
        [octet, rest @ ..] => Some((*octet, false, rest)),
        [] => None,
    }
}

/// Whether an octet of a label is written as it is (RFC 1035 section 5.1; which ones are not is CoreDNS's choice, so that patterns and
/// logs read alike).
pub(crate) fn is_plain(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~') && !is_special(octet)
}

fn is_special(octet: u8) -> bool {
    matches!(octet, b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    byte if is_special(byte) => write!(f, "\\{}", char::from(byte))?,
                    byte if is_plain(byte) => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn a_name_is_under_its_zones_only_at_label_borders() {
        for (text, zone, under) in [
            ("a.b.c", "b.c.", true),
            ("A.B.C", "b.c", true),
            ("b.c", "b.c", true),
            ("c", "b.c", false),
            ("xb.c", "b.c", false),
            ("a.b", ".", true),
        ] {
            assert_eq!(name(text).is_under(&name(zone)), under, "{text} under {zone}");
        }
    }

    #[test]
    fn limits_are_those_of_rfc_1035() {
        assert!(Name::parse(&"a".repeat(63)).is_ok());
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::LongLabel("a".repeat(64))));
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel("a..b".to_owned())));
        assert!(Name::parse(&["a"; 127].join(".")).is_ok());
        assert!(matches!(Name::parse(&["a"; 128].join(".")), Err(NameError::Long(_))));
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(name("a.b").to_string(), "a.b.");
    }

    #[test]
    fn what_is_written_with_escapes_is_read_back() {
        for (text, octets) in
            [("a\\.b.c", &b"\x03a.b\x01c\0"[..]), ("\\@\\ \\'$.", b"\x04@ '$\0"), ("\\000\\255x", b"\x03\0\xffx\0"), ("\\\\", b"\x01\\\0")]
        {
            assert_eq!(name(text).wire(), octets, "{text}");
            assert_eq!(name(text).to_string(), text.trim_end_matches('.').to_owned() + ".", "{text}");
        }
    }
}
