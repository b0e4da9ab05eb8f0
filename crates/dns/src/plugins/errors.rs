//! `errors`: failed queries are logged. They always are, once, where they fail; the directive and its options are taken so that
//! Corefiles work unchanged.

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options;

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    if let [] | [_] = directive.args.as_slice() {
    } else {
        mistakes.add(directive.line, "`errors` takes at most a file, `stdout` or `stderr`");
    }
    for property in &directive.body {
        // Consolidation is the subscriber's business.
        if !["consolidate", "stacktrace", "show_first"].contains(&property.name.as_str()) {
            mistakes.unknown(property, "errors", &["consolidate", "stacktrace", "show_first"]);
        }
    }
    Some(Options)
}
