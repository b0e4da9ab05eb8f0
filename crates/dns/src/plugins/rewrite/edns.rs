//! `rewrite edns0 ...`: options that the question takes along to an upstream. What a client sent is not passed on in any case.

use std::net::IpAddr;

use crate::plugins::metadata::is_label;
use crate::server::chain::Request;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    pub code: u16,
    pub action: Action,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Added, or put in place of one that is there.
    Set,
    Append,
    Replace,
    Unset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bytes(Vec<u8>),
    ClientIp,
    ClientPort,
    /// The address that was asked.
    ServerIp,
    ServerPort,
    /// The name that is asked for, as text.
    QueryName,
    QueryType,
    /// `udp` or `tcp`.
    Protocol,
    /// What `metadata` tells under this label. Where it tells nothing the rule does not fit.
    Metadata(String),
    /// RFC 7871: so many bits of the client's address.
    Subnet {
        v4_bits: u8,
        v6_bits: u8,
    },
}

const VARIABLES: [&str; 7] = ["{qname}", "{qtype}", "{client_ip}", "{client_port}", "{protocol}", "{server_ip}", "{server_port}"];

const NSID: u16 = 3;
const SUBNET: u16 = 8;

impl Edns {
    pub(crate) fn parse(args: &[&str]) -> Result<Self, String> {
        let [kind, action, rest @ ..] = args else {
            return Err("`rewrite edns0` takes `local`, `nsid` or `subnet`, then what to do".to_owned());
        };
        // No option of ours comes back to the client, so that there is nothing to revert.
        let rest = match rest {
            [rest @ .., "revert"] if !action.eq_ignore_ascii_case("unset") => rest,
            _ => rest,
        };
        let action = match action.to_ascii_lowercase().as_str() {
            "set" => Action::Set,
            "append" => Action::Append,
            "replace" => Action::Replace,
            "unset" => Action::Unset,
            other => return Err(format!("`edns0 {kind} {other}`: not set, append, replace or unset")),
        };
        let nothing = Value::Bytes(Vec::new());
        let (code, value) = match (kind.to_ascii_lowercase().as_str(), rest) {
            ("nsid", []) => (NSID, nothing),
            ("subnet", []) if action == Action::Unset => (SUBNET, nothing),
            ("subnet", [v4, v6]) => {
                let bits = |text: &str, most| {
                    text.parse().ok().filter(|bits: &u8| *bits <= most).ok_or_else(|| format!("`{text}`: at most {most} bits"))
                };
                (SUBNET, Value::Subnet { v4_bits: bits(v4, 32)?, v6_bits: bits(v6, 128)? })
            }
            ("local", [code]) if action == Action::Unset => (number(code)?, nothing),
            ("local", [code, variable]) if variable.starts_with('{') && variable.ends_with('}') => {
                (number(code)?, Value::variable(variable)?)
            }
            ("local", [code, data]) => (number(code)?, Value::Bytes(bytes(data)?)),
            _ => {
                return Err(format!(
                    "`edns0 {kind}`: what it takes is `local ACTION CODE DATA`, `nsid ACTION` or `subnet ACTION V4BITS V6BITS`"
                ));
            }
        };
        Ok(Self { code, action, value })
    }

    /// Whether the rule fits. One that takes an option off always does, as CoreDNS's.
    pub(crate) fn apply(&self, request: &mut Request) -> bool {
        let has = request.options.iter().any(|(code, _)| *code == self.code);
        let new = match self.action {
            Action::Append if has => return false,
            Action::Replace if !has => return false,
            Action::Unset => None,
            Action::Set | Action::Append | Action::Replace => match self.value.of(request) {
                Some(value) => Some((self.code, value)),
                None => return false,
            },
        };
        request.options.retain(|(code, _)| *code != self.code);
        request.options.extend(new);
        true
    }
}

impl Value {
    fn variable(name: &str) -> Result<Self, String> {
        Ok(match name {
            "{client_ip}" => Self::ClientIp,
            "{client_port}" => Self::ClientPort,
            "{server_ip}" => Self::ServerIp,
            "{server_port}" => Self::ServerPort,
            "{qname}" => Self::QueryName,
            "{qtype}" => Self::QueryType,
            "{protocol}" => Self::Protocol,
            name => match name[1..name.len() - 1].to_owned() {
                label if is_label(&label) => Self::Metadata(label),
                _ => return Err(format!("`{name}`: the variables are {} and labels of `metadata`", VARIABLES.join(", "))),
            },
        })
    }

    fn of(&self, request: &Request) -> Option<Vec<u8>> {
        let client = request.client.ip().to_canonical();
        Some(match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Metadata(label) => request.metadata.as_ref()?.value(label).filter(|value| !value.is_empty())?.into_bytes(),
            Self::ClientIp => octets(client),
            Self::ClientPort => request.client.port().to_be_bytes().to_vec(),
            Self::ServerIp => octets(request.local.ip().to_canonical()),
            Self::ServerPort => request.local.port().to_be_bytes().to_vec(),
            Self::QueryName => request.question.name.to_string().into_bytes(),
            Self::QueryType => request.question.qtype.to_be_bytes().to_vec(),
            Self::Protocol => if request.tcp { "tcp" } else { "udp" }.into(),
            Self::Subnet { v4_bits, v6_bits } => {
                let (family, bits) = if client.is_ipv4() { (1, *v4_bits) } else { (2, *v6_bits) };
                let mut address = octets(client);
                address.truncate(usize::from(bits).div_ceil(8));
                if let Some(last) = address.last_mut().filter(|_| bits % 8 != 0) {
                    *last &= 0xff << (8 - bits % 8);
                }
                [&[0, family, bits, 0], &address[..]].concat()
            }
        })
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn number(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no code of an EDNS option such as 0xffee"))
}

/// `0xabcd`, or the text's own octets.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("0x") else { return Ok(text.as_bytes().to_vec()) };
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok();
    pairs.map(byte).collect::<Option<_>>().ok_or_else(|| format!("`{text}`: not whole octets in hexadecimal digits"))
}
