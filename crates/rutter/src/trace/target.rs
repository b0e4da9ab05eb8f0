//! What can be traced: `tcp://10.96.0.10:80`, `http://host/path`, `web.default.svc.cluster.local AAAA`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Packet { protocol: Protocol, host: Host, port: u16 },
    Request { tls: bool, host: String, port: u16, target: String },
    Name { name: String, record_type: String },
}

/// As the model has it, but able to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{0} is no port of `{1}`: give HOST:PORT with a port from 1 to 65535")]
    Port(String, String),
    #[error("scheme `{0}` cannot be traced: tcp, udp, sctp, http or https")]
    Scheme(String),
    #[error("nothing to trace: give tcp|udp|sctp://HOST:PORT, http(s)://HOST[:PORT]/PATH, or NAME [TYPE]")]
    Empty,
}

// === impl Target ===

impl Target {
    /// Reads `text` and, for a name, the record type behind it (A without one).
    pub fn parse(text: &str, record_type: Option<&str>) -> Result<Self, TargetError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(TargetError::Empty);
            }
            return Ok(Target::Name { name: text.to_string(), record_type: record_type.unwrap_or("A").to_ascii_uppercase() });
        };
        let protocol = match scheme {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            "http" | "https" => return request(scheme == "https", rest, text),
            _ => return Err(TargetError::Scheme(scheme.to_string())),
        };
        let (host, port) = host_and_port(rest.trim_end_matches('/'), text)?;
        let port = port.ok_or_else(|| TargetError::Port("nothing".to_string(), text.to_string()))?;
        Ok(Target::Packet { protocol, host: Host::parse(host), port })
    }
}

fn request(tls: bool, rest: &str, text: &str) -> Result<Target, TargetError> {
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(split);
    let (host, port) = host_and_port(authority, text)?;
    let target = if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
    Ok(Target::Request { tls, host: host.to_ascii_lowercase(), port: port.unwrap_or(if tls { 443 } else { 80 }), target })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port<'a>(authority: &'a str, text: &str) -> Result<(&'a str, Option<u16>), TargetError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(TargetError::Port(format!("`{port}`"), text.to_string())),
            Ok(port) => Some(port),
        },
    };
    Ok((host, port))
}

// === impl Protocol ===

impl From<Protocol> for model::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => model::Protocol::Tcp,
            Protocol::Udp => model::Protocol::Udp,
            Protocol::Sctp => model::Protocol::Sctp,
        }
    }
}

// === impl Host ===

impl Host {
    fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Host::Name(text.to_string()), Host::Address)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, want: Expect) {
        let got = match Target::parse(text, None) {
            Ok(target) => format!("{target:?}"),
            Err(error) => error.to_string(),
        };
        want.assert_eq(&got);
    }

    #[test]
    fn packets_urls_and_names_are_told_apart() {
        check("tcp://10.96.0.10:80", expect![[r#"Packet { protocol: Tcp, host: Address(10.96.0.10), port: 80 }"#]]);
        check("udp://[fd00::a]:53", expect![[r#"Packet { protocol: Udp, host: Address(fd00::a), port: 53 }"#]]);
        check("tcp://web.default:80/", expect![[r#"Packet { protocol: Tcp, host: Name("web.default"), port: 80 }"#]]);
        check("http://Shop.test", expect![[r#"Request { tls: false, host: "shop.test", port: 80, target: "/" }"#]]);
        check("https://shop.test:8443/a?b=c", expect![[r#"Request { tls: true, host: "shop.test", port: 8443, target: "/a?b=c" }"#]]);
        check("web.default", expect![[r#"Name { name: "web.default", record_type: "A" }"#]]);
    }

    #[test]
    fn mistakes_are_named() {
        check("tcp://10.96.0.10", expect!["nothing is no port of `tcp://10.96.0.10`: give HOST:PORT with a port from 1 to 65535"]);
        check("tcp://a:99999", expect!["`99999` is no port of `tcp://a:99999`: give HOST:PORT with a port from 1 to 65535"]);
        check("ftp://a", expect!["scheme `ftp` cannot be traced: tcp, udp, sctp, http or https"]);
        check("", expect!["nothing to trace: give tcp|udp|sctp://HOST:PORT, http(s)://HOST[:PORT]/PATH, or NAME [TYPE]"]);
    }
}
