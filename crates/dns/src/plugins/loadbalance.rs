//! `loadbalance [round_robin] { prefer NET... }`: the addresses of an answer start at another one each time.
//!
//! Aliases stand first, and what is no address or mail server behind them. The cluster's own names and hits of the cache, which the fast
//! path answers, turn by themselves; this is the rest. Source: CoreDNS's `loadbalance`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;

use crate::config::directive::{Directive, Mistakes};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::is_transfer;
use crate::wire::message::{Message, Record};
use crate::wire::{Query, rtype};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Addresses of these networks stand before others, those of the first network first.
    pub prefer: Vec<IpNet>,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    match directive.args.as_slice() {
        [] => {}
        [policy] if policy == "round_robin" => {}
        [policy, ..] => mistakes.add(directive.line, format!("`loadbalance {policy}`: this server has round_robin only")),
    }
    let mut prefer = Vec::new();
    for property in &directive.body {
        if property.name != "prefer" {
            mistakes.unknown(property, "loadbalance", &["prefer"]);
            continue;
        }
        for arg in &property.args {
            match arg.parse() {
                Ok(net) => prefer.push(net),
                Err(_) => mistakes.add(property.line, format!("`prefer {arg}`: no network such as 10.0.0.0/8")),
            }
        }
    }
    Some(Options { prefer })
}

/// The plugin at work.
pub(crate) struct Loadbalance {
    options: Options,
    turn: AtomicUsize,
}

impl Loadbalance {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, turn: AtomicUsize::new(0) }
    }

    fn arrange(&self, answer: &mut Message) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for records in [&mut answer.answers, &mut answer.authorities, &mut answer.additionals] {
            if records.len() > 1 {
                *records = arranged(std::mem::take(records), turn);
                self.sort_preferred(records);
            }
        }
    }

    /// Where the network of an address stands among the preferred ones; behind all of them if it is none of theirs.
    fn sort_preferred(&self, records: &mut [Record]) {
        let place = |record: &Record| {
            let ip = ip(record)?;
            self.options.prefer.iter().position(|net| net.contains(&ip))
        };
        // Stable: the turn holds within a network.
        if let Some(first) = records.iter().position(|record| ip(record).is_some()) {
            let end = first + records[first..].iter().take_while(|record| ip(record).is_some()).count();
            records[first..end].sort_by_key(|record| place(record).unwrap_or(usize::MAX));
        }
    }
}

fn ip(record: &Record) -> Option<IpAddr> {
    match record.rtype {
        rtype::A => <[u8; 4]>::try_from(record.data.as_slice()).ok().map(|octets| Ipv4Addr::from(octets).into()),
        rtype::AAAA => <[u8; 16]>::try_from(record.data.as_slice()).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn arranged(records: Vec<Record>, turn: usize) -> Vec<Record> {
    let [mut aliases, mut rest, mut addresses, mut mail] = [const { Vec::new() }; 4];
    for record in records {
        match record.rtype {
            rtype::CNAME => aliases.push(record),
            rtype::A | rtype::AAAA => addresses.push(record),
            rtype::MX => mail.push(record),
            _ => rest.push(record),
        }
    }
    for turning in [&mut addresses, &mut mail] {
        let n = turning.len().max(1);
        turning.rotate_left(turn % n);
    }
    aliases.into_iter().chain(rest).chain(addresses).chain(mail).collect()
}

impl Plugin for Loadbalance {
    fn name(&self) -> &'static str {
        "loadbalance"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        // The order of a transfer means something.
        if is_transfer(request.question.qtype) {
            return next.run(request);
        }
        Box::pin(async move {
            let mut answer = next.run(request).await;
            self.arrange(&mut answer);
            answer
        })
    }

    fn passes(&self, _query: &Query<'_>) -> bool {
        self.options.prefer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, request, shown, spec};

    /// The data of the answers to questions one behind the other.
    fn check(directive: &str, records: &[&str], expected: &[&str]) {
        let Spec::Loadbalance(options) = spec(directive) else { panic!("loadbalance") };
        let plugin = Loadbalance::new(options);
        for expected in expected {
            let mut answer = Message::answer(request("a. A").question, 0);
            answer.answers = records.iter().map(|text| Record::parse(text).expect(text)).collect();
            plugin.arrange(&mut answer);
            let shown = shown(&answer);
            let last = shown.lines().skip(1).filter_map(|line| line.split(' ').next_back()).collect::<Vec<_>>().join(" ");
            assert_eq!(last, *expected, "{directive}");
        }
    }

    #[test]
    fn addresses_take_turns_behind_their_aliases() {
        let records = ["b A 10.0.0.1", "b A 10.0.0.2", "a CNAME b", "b A 10.1.0.3", "b TXT x"];
        check("loadbalance", &records, &["b. \"x\" 10.0.0.1 10.0.0.2 10.1.0.3", "b. \"x\" 10.0.0.2 10.1.0.3 10.0.0.1"]);
        let preferred = ["b. \"x\" 10.1.0.3 10.0.0.1 10.0.0.2", "b. \"x\" 10.1.0.3 10.0.0.2 10.0.0.1"];
        check("loadbalance round_robin {\n prefer 10.1.0.0/16\n}", &records, &preferred);
        assert_eq!(mistakes("loadbalance weighted file"), ["`loadbalance weighted`: this server has round_robin only"]);
        assert_eq!(mistakes("loadbalance {\n prefer x\n}"), ["`prefer x`: no network such as 10.0.0.0/8"]);
    }
}
