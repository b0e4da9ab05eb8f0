//! `ready [ADDRESS]`: `/ready` answers 200 once the cluster's names are known.

use std::net::SocketAddr;

use crate::config::directive::{Directive, Mistakes};
use crate::plugins::health::listen_address;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub address: SocketAddr,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    for property in &directive.body {
        // `monitor until-ready|continuously`: ours is always the state of the moment, which is what `continuously` asks for.
        if property.name == "monitor" {
            if !matches!(property.one(mistakes), None | Some("until-ready" | "continuously")) {
                mistakes.add(property.line, "`monitor` is until-ready or continuously");
            }
        } else {
            mistakes.unknown(property, "ready", &["monitor"]);
        }
    }
    Some(Options { address: listen_address(directive, 8181, mistakes)? })
}
