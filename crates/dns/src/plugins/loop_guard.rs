//! `loop`: a server that forwards to itself is told apart from one that works. Taken without options; ours never exits on a loop:
//! `forward` leaves its own addresses out of the upstreams that it reads from a resolv.conf, and upstreams that lead back here as well.

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options;

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    directive.bare(mistakes);
    Some(Options)
}
