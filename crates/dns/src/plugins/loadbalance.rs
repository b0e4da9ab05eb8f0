//! `loadbalance [round_robin | weighted FILE] { prefer NET... reload DURATION }`: the addresses of an answer start at another one each
//! time.
//!
//! Aliases stand first, and what is no address or mail server behind them. The cluster's own names and hits of the cache, which the fast
//! path answers, turn by themselves; this is the rest. Source: CoreDNS's `loadbalance`.

mod weights;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;

use self::weights::Weights;
use crate::config::directive::{Directive, Mistakes};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Query, rcode, rtype};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Addresses of these networks stand before others, those of the first network first.
    pub prefer: Vec<IpNet>,
    /// The first address is chosen by weight, and the others stay where they are.
    pub weighted: Option<Weighted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    pub file: PathBuf,
    /// How often the file is looked at; 0 for once.
    pub reload: Duration,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut options = Options::default();
    match directive.args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["round_robin"] => {}
        // 30 s: CoreDNS's default.
        ["weighted", file] => options.weighted = Some(Weighted { file: file.into(), reload: Duration::from_secs(30) }),
        ["weighted", ..] => mistakes.add(directive.line, "`loadbalance weighted` takes a file of weights"),
        _ => mistakes.add(directive.line, format!("`loadbalance {}`: neither round_robin nor weighted FILE", directive.args.join(" "))),
    }
    for property in &directive.body {
        match (property.name.as_str(), &mut options.weighted) {
            ("reload", Some(weighted)) => weighted.reload = property.duration(mistakes).unwrap_or(weighted.reload),
            ("reload", None) => mistakes.add(property.line, "`reload` is about the file of `loadbalance weighted`"),
            ("prefer", _) => {
                for arg in &property.args {
                    match arg.parse() {
                        Ok(net) => options.prefer.push(net),
                        Err(_) => mistakes.add(property.line, format!("`prefer {arg}`: no network such as 10.0.0.0/8")),
                    }
                }
            }
            _ => mistakes.unknown(property, "loadbalance", &["prefer", "reload"]),
        }
    }
    if let Some(weighted) = &options.weighted {
        match Weights::read(&weighted.file) {
            // One that comes later is taken up then.
            Err(weights::Error::Unreadable(..)) if !weighted.reload.is_zero() => {}
            Err(error) => mistakes.add(directive.line, error.to_string()),
            Ok(_) => {}
        }
    }
    Some(options)
}

/// The plugin at work.
pub(crate) struct Loadbalance {
    options: Options,
    turn: AtomicUsize,
    weights: Option<Arc<weights::File>>,
}

impl Loadbalance {
    /// `live`: the file of weights is looked at again.
    pub(crate) fn new(options: Options, live: bool) -> Self {
        let weights = options.weighted.as_ref().map(|weighted| weights::File::open(weighted, live));
        Self { options, turn: AtomicUsize::new(0), weights }
    }

    fn arrange(&self, answer: &mut Message) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match &self.weights {
            None => {
                for records in [&mut answer.answers, &mut answer.authorities, &mut answer.additionals] {
                    if records.len() > 1 {
                        *records = arranged(std::mem::take(records), turn);
                    }
                }
            }
            Some(weights) if [rtype::A, rtype::AAAA, rtype::SRV].contains(&answer.question.qtype) => {
                for records in [&mut answer.answers, &mut answer.additionals] {
                    if records.iter().any(|record| record.ip().is_some()) {
                        *records = arranged(std::mem::take(records), 0);
                        weights.choose(records);
                    }
                }
            }
            Some(_) => {}
        }
        for records in [&mut answer.answers, &mut answer.authorities, &mut answer.additionals] {
            self.sort_preferred(records);
        }
    }

    /// Where the network of an address stands among the preferred ones; behind all of them if it is none of theirs.
    fn sort_preferred(&self, records: &mut [Record]) {
        let place = |record: &Record| {
            let ip = record.ip()?;
            self.options.prefer.iter().position(|net| net.contains(&ip))
        };
        // Stable: the turn holds within a network.
        if !self.options.prefer.is_empty() {
            addresses(records).sort_by_key(|record| place(record).unwrap_or(usize::MAX));
        }
    }
}

/// The first addresses that stand side by side.
fn addresses(records: &mut [Record]) -> &mut [Record] {
    let first = records.iter().position(|record| record.ip().is_some()).unwrap_or(records.len());
    let n = records[first..].iter().take_while(|record| record.ip().is_some()).count();
    &mut records[first..first + n]
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
        if rtype::is_transfer(request.question.qtype) {
            return next.run(request);
        }
        Box::pin(async move {
            let mut answer = next.run(request).await;
            if answer.rcode == rcode::NOERROR {
                self.arrange(&mut answer);
            }
            answer
        })
    }

    fn passes(&self, _query: &Query<'_>) -> bool {
        self.options.prefer.is_empty() && self.weights.is_none()
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
        let plugin = Loadbalance::new(options, false);
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
        assert_eq!(mistakes("loadbalance random"), ["`loadbalance random`: neither round_robin nor weighted FILE"]);
        assert_eq!(mistakes("loadbalance weighted"), ["`loadbalance weighted` takes a file of weights"]);
        assert_eq!(mistakes("loadbalance {\n reload 5s\n}"), ["`reload` is about the file of `loadbalance weighted`"]);
        assert_eq!(mistakes("loadbalance {\n prefer x\n}"), ["`prefer x`: no network such as 10.0.0.0/8"]);
    }
}
