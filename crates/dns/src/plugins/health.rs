//! `health [ADDRESS]`: `/health` answers 200 as long as the process serves; with `lameduck` it goes on serving that long after it
//! was told to stop, so that everyone who still sends here gets answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::config::{Directive, Mistakes};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub address: SocketAddr,
    pub lameduck: Duration,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut lameduck = Duration::ZERO;
    for property in &directive.body {
        match property.name.as_str() {
            "lameduck" => lameduck = property.duration(mistakes).unwrap_or_default(),
            _ => mistakes.unknown(property, "health", &["lameduck"]),
        }
    }
    Some(Options { address: listen_address(directive, 8080, mistakes)?, lameduck })
}

/// The address of a status listener: `:PORT`, `HOST:PORT` or, without an argument, `default_port` on all addresses.
pub(crate) fn listen_address(directive: &Directive, default_port: u16, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let text = match directive.args.as_slice() {
        [] => return Some(SocketAddr::new(everywhere, default_port)),
        [text] => text,
        _ => {
            mistakes.add(directive.line, format!("`{}` takes one address", directive.name));
            return None;
        }
    };
    let parsed = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(everywhere, port)),
        None => text.replace("localhost:", "127.0.0.1:").parse().ok(),
    };
    if parsed.is_none() {
        mistakes.add(directive.line, format!("`{} {text}`: not an address such as :{default_port}", directive.name));
    }
    parsed
}
