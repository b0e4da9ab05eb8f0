//! `bind ADDRESS...`: the addresses on which the block's ports are served, in place of all.
//!
//! One that no interface has is refused, at the start and in a changed Corefile, as by CoreDNS: most of these are mistakes, and whoever
//! moves an address between machines has `net.ipv4.ip_nonlocal_bind` for it.

use std::net::IpAddr;

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub addresses: Vec<IpAddr>,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    if directive.args.is_empty() {
        mistakes.add(directive.line, "`bind` takes one or more addresses");
    }
    let mut addresses = Vec::new();
    for arg in &directive.args {
        match arg.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => mistakes.add(directive.line, format!("`bind {arg}`: not an IP address (names of interfaces are not taken)")),
        }
    }
    Some(Options { addresses })
}
