//! `prometheus [ADDRESS]`: `/metrics`, with CoreDNS's family names.

use std::net::SocketAddr;

use crate::config::directive::{Directive, Mistakes};
use crate::plugins::health::listen_address;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub address: SocketAddr,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    for property in &directive.body {
        match property.name.as_str() {
            // Of Go's runtime, which is not here.
            "runtime_metrics" => property.bare(mistakes),
            _ => mistakes.unknown(property, "prometheus", &["runtime_metrics"]),
        }
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], 9153));
    let address = if directive.args.is_empty() { loopback } else { listen_address(directive, 9153, mistakes)? };
    Some(Options { address })
}
