//! Records as a zone file writes them (RFC 1035 section 5, RFC 3597 for types that are not known here).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Record, name_at};
use super::{CLASS_IN, Type, rtype, u16_at, u32_at};
use crate::name::Name;

/// What is written without one (RFC 2308 section 4 leaves it to the server; CoreDNS's reader has an hour).
const DEFAULT_TTL: u32 = 3_600;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.name, self.ttl, Type(self.rtype))?;
        self.write_data(f).unwrap_or_else(|| {
            write!(f, "\\# {}", self.data.len())?;
            self.data.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
        })
    }
}

impl Record {
    /// Reads `NAME [TTL] [CLASS] TYPE DATA`, TTL and class in any order; `None` where that is none of the types that are read here.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = words(text)?.into_iter().peekable();
        let name = Name::parse(&words.next()?).ok()?;
        let (mut ttl, mut class) = (DEFAULT_TTL, CLASS_IN);
        while let Some(word) = words.peek() {
            if let Some(secs) = seconds(word) {
                ttl = secs;
            } else if let Some(code) = super::class_named(word) {
                class = code;
            } else {
                break;
            }
            words.next();
        }
        let rtype = super::type_named(&words.next()?)?;
        let data = data(rtype, &mut words)?;
        words.next().is_none().then_some(Self { name, rtype, class, ttl, data })
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

/// Cuts a line into words. Quoted strings may hold blanks, parentheses only hold lines together, `;` starts a comment.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut word = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => word.push(chars.next()?),
                        c => word.push(c),
                    }
                }
                words.push(word);
            }
            ';' => break,
            c if c.is_whitespace() || c == '(' || c == ')' => {}
            c => {
                let mut word = String::from(c);
                let mut escaped = c == '\\';
                // What stands behind a backslash ends no word.
                while let Some(c) = chars.next_if(|c| escaped || !c.is_whitespace() && !matches!(c, '(' | ')' | ';' | '"')) {
                    escaped = c == '\\' && !escaped;
                    word.push(c);
                }
                words.push(word);
            }
        }
    }
    Some(words)
}

/// A TTL in seconds, or with units as `1h30m` (BIND's way).
fn seconds(word: &str) -> Option<u32> {
    let mut total = 0u32;
    let mut number = None;
    for c in word.chars() {
        let unit = match c.to_ascii_lowercase() {
            c @ '0'..='9' => {
                number = Some(number.unwrap_or(0u32).checked_mul(10)?.checked_add(c.to_digit(10)?)?);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(rest) => total.checked_add(rest),
        None => (!word.is_empty()).then_some(total),
    }
}

/// The data of a type out of the words that are left.
fn data(rtype: u16, words: &mut dyn Iterator<Item = String>) -> Option<Vec<u8>> {
    const DNAME: u16 = 39;
    const HINFO: u16 = 13;
    const SPF: u16 = 99;
    const SVCB: u16 = 64;
    const HTTPS: u16 = 65;
    const CAA: u16 = 257;
    let name = |word: Option<String>| Some(Name::parse(&word?).ok()?.wire().to_vec());
    let number = |word: Option<String>| Some(word?.parse::<u16>().ok()?.to_be_bytes());
    Some(match rtype {
        rtype::A => words.next()?.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
        rtype::AAAA => words.next()?.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
        rtype::NS | rtype::CNAME | rtype::PTR | DNAME => name(words.next())?,
        rtype::MX => [&number(words.next())?[..], &name(words.next())?].concat(),
        rtype::SRV => {
            let fixed = [number(words.next())?, number(words.next())?, number(words.next())?];
            [fixed.as_flattened(), &name(words.next())?].concat()
        }
        rtype::SOA => {
            let mut data = [name(words.next())?, name(words.next())?].concat();
            data.extend(words.next()?.parse::<u32>().ok()?.to_be_bytes());
            for _ in 0..4 {
                data.extend(seconds(&words.next()?)?.to_be_bytes());
            }
            data
        }
        rtype::TXT | SPF => Some(words.map(|word| string(&word)).collect::<Option<Vec<_>>>()?.concat()).filter(|data| !data.is_empty())?,
        HINFO => [string(&words.next()?)?, string(&words.next()?)?].concat(),
        SVCB | HTTPS => [&number(words.next())?[..], &name(words.next())?, &service_parameters(words)?].concat(),
        CAA => {
            let flags = words.next()?.parse::<u8>().ok()?;
            [&[flags][..], &string(&words.next()?)?, words.next()?.as_bytes()].concat()
        }
        _ => return None,
    })
}

/// `alpn=h2,h3 port=443 ...`, sorted by key as RFC 9460 has them on the wire; `ech` is not read.
fn service_parameters(words: &mut dyn Iterator<Item = String>) -> Option<Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    while let Some(word) = words.next() {
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        // What is quoted is a word of its own.
        let value = if word.ends_with('=') { words.next()? } else { value.to_owned() };
        let list = || value.split(',');
        let (number, data) = match key {
            "alpn" => (1, list().map(string).collect::<Option<Vec<_>>>()?.concat()),
            "no-default-alpn" => (2, Vec::new()),
            "port" => (3, value.parse::<u16>().ok()?.to_be_bytes().to_vec()),
            "ipv4hint" => (4, list().map(|ip| Some(ip.parse::<Ipv4Addr>().ok()?.octets())).collect::<Option<Vec<_>>>()?.concat()),
            "ipv6hint" => (6, list().map(|ip| Some(ip.parse::<Ipv6Addr>().ok()?.octets())).collect::<Option<Vec<_>>>()?.concat()),
            other => (other.strip_prefix("key")?.parse::<u16>().ok()?, value.into_bytes()),
        };
        found.insert(number, data);
    }
    let one = |(key, data): (u16, Vec<u8>)| [&key.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), &data].concat();
    Some(found.into_iter().flat_map(one).collect())
}

/// A character-string: its length in front.
fn string(text: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(text.len()).ok()?;
    Some([&[length], text.as_bytes()].concat())
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
            "a.example. 60 CAA \\# 8 00 05 69 73 73 75 65 3b",
        ] {
            let read = Record::parse(&text.replace("\\# 8 00 05 69 73 73 75 65 3b", "0 issue \";\""));
            assert_eq!(read.expect(text).to_string(), text);
        }
        for (text, read) in [
            ("a IN A 10.0.0.1", "a. 3600 A 10.0.0.1"),
            ("a IN 1h30m A 10.0.0.1 ; there", "a. 5400 A 10.0.0.1"),
            ("a 1w in A 10.0.0.1", "a. 604800 A 10.0.0.1"),
            ("a\\ \\;b.c 60 A 10.0.0.1", "a\\ \\;b.c. 60 A 10.0.0.1"),
            ("a. 60 IN SOA ns.a h.a (1 2m 3 4\n5)", "a. 60 SOA ns.a. h.a. 1 120 3 4 5"),
        ] {
            assert_eq!(Record::parse(text).expect(text).to_string(), read, "{text}");
        }
        let service = "a. 60 HTTPS \\# 24 00 01 00 00 01 00 03 02 68 32 00 03 00 02 01 bb 00 04 00 04 0a 00 00 01";
        let read = Record::parse("a 60 IN HTTPS 1 . port=443 ipv4hint=10.0.0.1 alpn=\"h2\"").expect("a record").to_string();
        assert_eq!(read, service);
        for text in
            ["", "a", "a A", "a 60 A 10.0.0", "a 60 A 10.0.0.1 10.0.0.2", "a 60 FOO x", "a..b 60 A 10.0.0.1", "a 60 TXT", "a 60 TXT \"x"]
        {
            assert!(Record::parse(text).is_none(), "{text}");
        }
    }
}
