//! `bufsize [SIZE]`: clients get no larger replies by UDP than this, so that none is cut into fragments on its way.

use crate::config::directive::{Directive, Mistakes};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub size: u16,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    // 1,232: the flag day's size, and CoreDNS's default.
    let size = if directive.args.is_empty() { Some(1_232) } else { directive.parsed("a number", mistakes) }?;
    if !(512..=4_096).contains(&size) {
        mistakes.add(directive.line, format!("`bufsize {size}`: it lies between 512 and 4096"));
    }
    Some(Options { size })
}

#[cfg(test)]
mod tests {
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, spec};

    #[test]
    fn sizes_are_those_of_edns() {
        for (text, size) in [("bufsize", 1_232), ("bufsize 512", 512), ("bufsize 4096", 4_096)] {
            assert!(matches!(spec(text), Spec::Bufsize(options) if options.size == size), "{text}");
        }
        assert_eq!(mistakes("bufsize 511"), ["`bufsize 511`: it lies between 512 and 4096"]);
        assert_eq!(mistakes("bufsize large"), ["`bufsize large`: not a number"]);
    }
}
