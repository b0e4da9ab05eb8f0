//! `reload [INTERVAL [JITTER]]`: the Corefile is read again when it changes. Whoever owns the file does the reading and swaps the
//! configuration of the running server; this room holds the options.

use std::time::Duration;

use crate::config::directive::{Directive, Mistakes, duration};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub interval: Duration,
    pub jitter: Duration,
}

/// How long to wait until the next look: the jitter keeps many servers from looking all at once.
pub(crate) fn pause(options: &Options) -> Duration {
    let share = f64::from(crate::plugins::forward::random_u16()) / f64::from(u16::MAX);
    options.interval + options.jitter.mul_f64(share)
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    directive.plain(mistakes);
    // 30 s and 15 s: CoreDNS's defaults; it takes no interval below 2 s and no jitter above half of it.
    let mut options = Options { interval: Duration::from_secs(30), jitter: Duration::from_secs(15) };
    let mut read = |text: &String, least: Duration| {
        let parsed = duration(text).filter(|found| *found >= least);
        if parsed.is_none() {
            mistakes.add(directive.line, format!("`reload {text}`: not a duration of at least {least:?}"));
        }
        parsed
    };
    match directive.args.as_slice() {
        [] => {}
        [interval] => {
            options.interval = read(interval, Duration::from_secs(2))?;
            options.jitter = options.interval / 2;
        }
        [interval, jitter] => {
            options.interval = read(interval, Duration::from_secs(2))?;
            let least = if duration(jitter) == Some(Duration::ZERO) { Duration::ZERO } else { Duration::from_secs(1) };
            options.jitter = read(jitter, least)?.min(options.interval / 2);
        }
        _ => mistakes.add(directive.line, "`reload` takes an interval and a jitter"),
    }
    Some(options)
}
