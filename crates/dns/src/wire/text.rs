//! Records as a zone file writes them (RFC 1035 section 5, RFC 3597 for types that are not known here).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Record, name_at};
use super::{rtype, type_name, u16_at, u32_at};

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
