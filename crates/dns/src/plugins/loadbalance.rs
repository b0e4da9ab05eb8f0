//! `loadbalance [round_robin]`: the address records of an answer start at another one each time.

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options;

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    match directive.args.as_slice() {
        [] => {}
        [policy] if policy == "round_robin" => {}
        [policy, ..] => mistakes.add(directive.line, format!("`loadbalance {policy}`: this server has round_robin only")),
    }
    Some(Options)
}
