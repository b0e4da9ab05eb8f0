//! `kubernetes ZONE...`: the cluster's own names.
//!
//! Owns what a Service, an endpoint and a pod are called. `follow` turns each NameView into a snapshot by what changed, `lookup`
//! answers one question from a snapshot, and the plugin here does what needs more than one: an alias is followed to its end. Must not
//! know where views come from, nor sockets.

mod book;
mod entry;
mod follow;
mod lookup;
mod metadata;
mod options;
mod owners;
mod probing;
mod selector;
mod shards;
mod short;
mod snapshot;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;

pub(crate) use entry::{Entry, endpoint_labels};
pub(crate) use follow::Follower;
pub(crate) use lookup::{Outcome, name_servers, reversed, reversed_wire};
pub use options::{Api, Options, Pods, Tls};
pub(crate) use options::{parse, ttl};
pub use selector::Selector;
pub(crate) use snapshot::{Key, Snapshot};

use crate::name::Name;
use crate::plugins::scope::Fallthrough;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{MAX_TCP, Query, flag, rcode, rtype};

/// The snapshot of the moment; readers take it without a lock.
pub(crate) type Current = Arc<ArcSwap<Snapshot>>;

/// CoreDNS's limit on the links of a chain of aliases.
const MAX_CHAIN: usize = 10;

pub(crate) struct Kubernetes {
    pub(crate) zones: Zones,
    pub(crate) current: Current,
    turn: AtomicU32,
}

/// The zones of one directive, ready for look-ups.
pub(crate) struct Zones {
    pub(crate) options: Options,
    zones: Box<[Zone]>,
    /// Where PTR records point: the first zone that is not a reverse one.
    pub(crate) primary: Name,
    /// Addresses of this server that are not loopback: what the zones' name servers have.
    pub(crate) local: Arc<[IpAddr]>,
    /// `loadbalance`: addresses take turns at standing first.
    pub(crate) rotate: bool,
}

struct Zone {
    /// In lower case.
    name: Name,
    n_labels: usize,
    reverse: bool,
    multicluster: bool,
    fallthrough: Box<[(Name, usize)]>,
}

// === impl Kubernetes ===

impl Kubernetes {
    pub(crate) fn new(options: Options, current: Current, local: Arc<[IpAddr]>, rotate: bool) -> Self {
        Self { zones: Zones::new(options, local, rotate), current, turn: AtomicU32::new(0) }
    }

    /// Answers at once what one look-up can answer.
    pub(crate) fn answer(&self, query: &Query<'_>, buffer: &mut [u8], limit: usize, turn: u32) -> Outcome {
        self.zones.answer(&self.current.load(), query, buffer, limit, turn)
    }

    /// The alias, then what its target is, wherever that is known (RFC 1034 section 4.3.2). The return code is that of the last name
    /// (RFC 6604). A chain that comes back to itself or is too long leads nowhere: the name exists without data.
    async fn follow(&self, request: &Request, target: Name, next: &Next<'_>) -> Message {
        let mut answer = Message::answer(request.question.clone(), rcode::NOERROR);
        let mut owner = request.question.name.clone();
        let mut target = target;
        let end = loop {
            let seen = |name: &Name| name.folded() == target.folded();
            if answer.answers.len() >= MAX_CHAIN || seen(&owner) || answer.answers.iter().any(|alias: &Record| seen(&alias.name)) {
                return self.nodata(request);
            }
            answer.answers.push(Record::new(owner, rtype::CNAME, self.zones.options.ttl_secs, target.wire().to_vec()));
            let further = request.renamed(target.clone());
            match self.at_once(&further) {
                Reached::Answer(end) => break end,
                Reached::Alias(further) => (owner, target) = (target, further),
                Reached::Next => break next.whole(&further).await,
            }
        };
        // Where nobody can be asked the client has the alias to go on with.
        answer.rcode = if end.unasked || end.rcode == rcode::REFUSED { rcode::NOERROR } else { end.rcode };
        answer.by = "kubernetes";
        answer.flags |= end.flags & flag::TC;
        if !end.answers.iter().any(|record| record.rtype == request.question.qtype) {
            answer.authorities = end.authorities.into_iter().filter(|record| record.rtype == rtype::SOA).collect();
        }
        answer.answers.extend(end.answers);
        answer
    }

    fn at_once(&self, request: &Request) -> Reached {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut alias = None;
        let answer = request.written(|query, buffer| match self.answer(query, buffer, MAX_TCP, turn) {
            Outcome::Written(length, _) => Some(length),
            Outcome::Next => None,
            Outcome::Alias(target) => {
                alias = Some(target);
                None
            }
        });
        match (answer, alias) {
            (Some(answer), _) => Reached::Answer(answer),
            (None, Some(target)) => Reached::Alias(target),
            (None, None) => Reached::Next,
        }
    }

    fn nodata(&self, request: &Request) -> Message {
        let written = request.written(|query, buffer| self.zones.nodata(&self.current.load(), query, buffer));
        written.unwrap_or_else(|| Message::answer(request.question.clone(), rcode::NOERROR))
    }
}

/// Where one look-up led.
enum Reached {
    Answer(Message),
    Alias(Name),
    Next,
}

impl Plugin for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            match self.at_once(request) {
                // `transfer` stands in front, where there is one.
                Reached::Answer(_) if rtype::is_transfer(request.question.qtype) => request.failed(rcode::REFUSED),
                Reached::Answer(answer) => answer,
                Reached::Alias(target) => self.follow(request, target, &next).await,
                Reached::Next => next.run(request).await,
            }
        })
    }
}

// === impl Zones ===

impl Zones {
    pub(crate) fn new(options: Options, local: Arc<[IpAddr]>, rotate: bool) -> Self {
        let all = |name: &Name| match &options.fallthrough {
            Fallthrough::Never => Vec::new(),
            Fallthrough::Always => vec![name.clone()],
            Fallthrough::Zones(zones) => zones.iter().map(Name::folded).collect(),
        };
        let zones = options.zones.iter().map(Name::folded).map(|name| Zone {
            n_labels: name.n_labels(),
            reverse: name.is_reverse(),
            multicluster: options.multicluster.contains(&name),
            fallthrough: all(&name).into_iter().map(|zone| (zone.clone(), zone.n_labels())).collect(),
            name,
        });
        let zones: Box<[Zone]> = zones.collect();
        let primary = zones.iter().find(|zone| !zone.reverse).map_or_else(Name::root, |zone| zone.name.clone());
        Self { options, zones, primary, local, rotate }
    }

    /// The longest zone that holds the name, if that is no reverse zone.
    pub(crate) fn forward_zone_of(&self, name: &Name) -> Option<&Name> {
        let longest = self.zones.iter().filter(|zone| name.is_under(&zone.name)).max_by_key(|zone| zone.n_labels)?;
        (!longest.reverse).then_some(&longest.name)
    }

    /// The longest zone that holds the name, and how many labels stand in front of it.
    fn zone_of(&self, query: &Query<'_>) -> Option<(&Zone, usize)> {
        let above = |zone: &Zone| query.name.above(zone.name.wire(), zone.n_labels);
        self.zones.iter().filter_map(|zone| Some((zone, above(zone)?))).min_by_key(|(_, above)| *above)
    }
}

impl Zone {
    fn falls_through(&self, query: &Query<'_>) -> bool {
        self.fallthrough.iter().any(|(zone, n_labels)| query.name.above(zone.wire(), *n_labels).is_some())
    }
}

#[cfg(test)]
pub(crate) mod tests;
