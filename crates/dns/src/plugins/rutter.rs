//! `rutter { ... }`: what this server does better than CoreDNS and may not do unasked, since answers differ.
//!
//! Owns three switches, all off without the directive: the client's search list is walked here ([`search`]), AAAA is not asked of
//! upstreams where nobody could use it, and private reverse zones are denied here instead of asking the internet (both [`local`]).

pub(crate) mod local;
pub(crate) mod search;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The node's own search domains, which kubelet writes behind the cluster's; `None`: search lists are the client's business.
    pub search: Option<Vec<Name>>,
    pub aaaa: Aaaa,
    /// Names of RFC 6303's zones are denied here unless a block of their own, a `forward` for them, or `kubernetes` has them.
    pub private_reverse: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aaaa {
    #[default]
    On,
    /// Names outside of the cluster have no AAAA records.
    Off,
    /// Off where this machine has no IPv6 address that reaches further than its link.
    Auto,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.bare(mistakes);
    let mut options = Options::default();
    for property in &directive.body {
        match property.name.as_str() {
            "search-completion" => options.search = Some(property.zones(mistakes)),
            "aaaa" => match property.one(mistakes) {
                Some("on") => options.aaaa = Aaaa::On,
                Some("off") => options.aaaa = Aaaa::Off,
                Some("auto") => options.aaaa = Aaaa::Auto,
                Some(other) => mistakes.add(property.line, format!("`aaaa {other}`: not on, off or auto")),
                None => {}
            },
            "private-reverse" => {
                property.bare(mistakes);
                options.private_reverse = true;
            }
            _ => mistakes.unknown(property, "rutter", &["search-completion", "aaaa", "private-reverse"]),
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests;
