//! What need not leave the machine: AAAA where nobody has IPv6, and the reverse zones of private addresses.
//!
//! Source: RFC 6303 and RFC 7793 for the zones. A name without AAAA is NODATA and never NXDOMAIN: it has its A records.

use std::net::IpAddr;

use super::{Aaaa, Options};
use crate::name::Name;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Folded, Query, rcode, rtype};

pub(crate) struct Local {
    no_aaaa: bool,
    /// With how many labels each has.
    private: Vec<(Name, usize)>,
    /// Those that an upstream of the block is named for, likewise.
    elsewhere: Vec<(Name, usize)>,
}

/// RFC 6303 section 4; the ranges of 172.16/12 and 100.64/10 are made below.
const PRIVATE: &[&str] = &[
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
];

/// Three hours: what RFC 6303 section 3 has in its zones.
const TTL: u32 = 10_800;

impl Local {
    /// `addresses`: this machine's own. `forwarded`: the zones that the block asks upstreams about. `None` where there is nothing to do.
    pub(crate) fn new(options: &Options, addresses: &[IpAddr], forwarded: &[Name]) -> Option<Self> {
        let no_aaaa = match options.aaaa {
            Aaaa::On => false,
            Aaaa::Off => true,
            Aaaa::Auto => !addresses.iter().any(IpAddr::is_ipv6),
        };
        let mut private = Vec::new();
        if options.private_reverse {
            let ranges =
                (16..32).map(|octet| format!("{octet}.172.in-addr.arpa")).chain((64..128).map(|octet| format!("{octet}.100.in-addr.arpa")));
            let zones = PRIVATE.iter().map(|zone| (*zone).to_owned()).chain(ranges);
            private = zones.filter_map(|zone| Name::parse(&zone).ok()).map(counted).collect();
        }
        let elsewhere = forwarded.iter().filter(|zone| zone.is_reverse()).map(Name::folded).map(counted).collect();
        (no_aaaa || !private.is_empty()).then_some(Self { no_aaaa, private, elsewhere })
    }

    fn zone(&self, name: &Folded) -> Option<&(Name, usize)> {
        let holds = |(zone, n_labels): &&(Name, usize)| name.above(zone.wire(), *n_labels).is_some();
        self.private.iter().find(holds).filter(|_| !self.elsewhere.iter().any(|zone| holds(&zone)))
    }

    pub(super) fn answer(&self, request: &Request) -> Option<Message> {
        let question = &request.question;
        if self.no_aaaa && question.qtype == rtype::AAAA {
            return Some(Message::answer(question.clone(), rcode::NOERROR));
        }
        let folded = Folded::of(&question.name);
        let (zone, n_labels) = self.zone(&folded)?;
        let apex = folded.n_labels() == *n_labels;
        let mut answer = Message::answer(question.clone(), if apex { rcode::NOERROR } else { rcode::NXDOMAIN });
        // RFC 6303 section 3: `@ SOA @ nobody.invalid. 1 3600 1200 604800 10800`, and the zone's own name as its server.
        let mailbox = Name::parse("nobody.invalid").ok()?;
        let mut soa = [zone.wire(), mailbox.wire()].concat();
        soa.extend([1_u32, 3_600, 1_200, 604_800, TTL].iter().flat_map(|number| number.to_be_bytes()));
        let soa = Record::new(zone.clone(), rtype::SOA, TTL, soa);
        match question.qtype {
            rtype::SOA if apex => answer.answers.push(soa),
            rtype::NS if apex => answer.answers.push(Record::new(zone.clone(), rtype::NS, TTL, zone.wire().to_vec())),
            _ => answer.authorities.push(soa),
        }
        Some(answer)
    }
}

fn counted(zone: Name) -> (Name, usize) {
    let n_labels = zone.n_labels();
    (zone, n_labels)
}

impl Plugin for Local {
    fn name(&self) -> &'static str {
        "rutter"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        match Local::answer(self, request) {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => next.run(request),
        }
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        !(self.no_aaaa && query.qtype == rtype::AAAA) && self.zone(&query.name).is_none()
    }
}
