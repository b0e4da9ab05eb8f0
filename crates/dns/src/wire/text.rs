//! Records as a zone file writes them (RFC 1035 section 5, RFC 3597 for types that are not known here).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Record, name_at};
use super::{rtype, type_name, u16_at, u32_at};
use crate::name::Name;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.name, self.ttl)?;
        match type_name(self.rtype) {
            "other" => write!(f, "TYPE{} ", self.rtype)?,
            name => write!(f, "{name} ")?,
        }
        self.write_data(f).unwrap_or_else(|| {
            write!(f, "\\# {}", self.data.len())?;
            self.data.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
        })
    }
}

impl Record {
    /// Reads `NAME [TTL] [CLASS] TYPE DATA`; `None` where that is none of the types that are written here. TTL 3,600 where there is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().peekable();
        let name = Name::parse(words.next()?).ok()?;
        let mut ttl = 3_600;
        if let Some(Ok(secs)) = words.peek().map(|word| word.parse()) {
            ttl = secs;
            words.next();
        }
        words.next_if(|word| word.eq_ignore_ascii_case("IN"));
        let rtype = super::type_named(words.next()?)?;
        let name_of = |word: Option<&str>| Some(Name::parse(word?).ok()?.wire().to_vec());
        let number = |words: &mut dyn Iterator<Item = &str>| Some(words.next()?.parse::<u16>().ok()?.to_be_bytes());
        let data = match rtype {
            rtype::A => words.next()?.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
            rtype::AAAA => words.next()?.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
            rtype::NS | rtype::CNAME | rtype::PTR => name_of(words.next())?,
            rtype::MX => [&number(&mut words)?[..], &name_of(words.next())?].concat(),
            rtype::SRV => {
                let fixed = [number(&mut words)?, number(&mut words)?, number(&mut words)?];
                [fixed.as_flattened(), &name_of(words.next())?].concat()
            }
            rtype::SOA => {
                let mut data = [name_of(words.next())?, name_of(words.next())?].concat();
                for _ in 0..5 {
                    data.extend(words.next()?.parse::<u32>().ok()?.to_be_bytes());
                }
                data
            }
            rtype::TXT => {
                // Quoted strings may hold blanks: read from the text itself.
                let at = words.peek().map(|word| word.as_ptr() as usize - text.as_ptr() as usize)?;
                return Some(Self::new(name, rtype, ttl, strings(&text[at..])?));
            }
            _ => return None,
        };
        words.next().is_none().then(|| Self::new(name, rtype, ttl, data))
    }

    /// `None` where the data is not what its type says, or the type is not written in a way of its own here.
    fn write_data(&self, f: &mut fmt::Formatter<'_>) -> Option<fmt::Result> {
        let data = self.data.as_slice();
        let name = |at| name_at(data, at);
        Some(match self.rtype {
            rtype::A => write!(f, "{}", Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            rtype::AAAA => write!(f, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
            rtype::NS | rtype::CNAME | rtype::PTR => write!(f, "{}", name(0)?.0),
            rtype::SRV => {
                let (target, _) = name(6)?;
                write!(f, "{} {} {} {target}", u16_at(data, 0), u16_at(data, 2), u16_at(data, 4))
            }
            rtype::MX => write!(f, "{} {}", u16_at(data.get(..2)?, 0), name(2)?.0),
            rtype::SOA => {
                let (server, mailbox) = name(0)?;
                let (mailbox, numbers) = name(mailbox)?;
                let numbers = data.get(numbers..numbers + 20)?;
                let [serial, refresh, retry, expire, minimum] = [0, 4, 8, 12, 16].map(|at| u32_at(numbers, at));
                write!(f, "{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
            }
            rtype::TXT => {
                let mut rest = data;
                let mut texts = Vec::new();
                while let Some((&length, after)) = rest.split_first() {
                    let text = after.get(..usize::from(length))?;
                    texts.push(format!("\"{}\"", text.escape_ascii()));
                    rest = &after[text.len()..];
                }
                f.write_str(&texts.join(" "))
            }
            _ => return None,
        })
    }
}

/// The strings of a TXT record, quoted or not.
fn strings(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (string, after) = match rest.strip_prefix('"') {
            Some(inner) => inner.split_once('"')?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        data.push(u8::try_from(string.len()).ok()?);
        data.extend(string.bytes());
        rest = after.trim_start();
    }
    Some(data).filter(|data| !data.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written() {
        for text in [
            "a.example. 60 A 10.0.0.1",
            "a.example. 60 AAAA fd00::1",
            "a.example. 60 CNAME b.example.",
            "a.example. 60 MX 10 mail.example.",
            "a.example. 60 SRV 0 100 80 b.example.",
            "example. 60 SOA ns.example. h.example. 1 2 3 4 5",
            "a.example. 60 TXT \"one two\" \"three\"",
        ] {
            assert_eq!(Record::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Record::parse("a IN A 10.0.0.1").expect("read").to_string(), "a. 3600 A 10.0.0.1");
        for text in ["", "a", "a A", "a 60 A 10.0.0", "a 60 A 10.0.0.1 10.0.0.2", "a 60 FOO x", "a..b 60 A 10.0.0.1"] {
            assert!(Record::parse(text).is_none(), "{text}");
        }
    }
}
