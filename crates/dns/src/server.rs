//! The server: which block a question belongs to, the rules that hold before any plugin, and the two paths of an answer.
//!
//! Owns listeners ([`listener`], [`udp`], [`tcp`]), how one Corefile follows another ([`live`]), the order of a block's plugins ([`chain`]) and what an answer must look like on the wire. The fast
//! path answers in place what one look-up can answer; everything else is a task ([`slow`]). Which questions may take the fast path is
//! decided when the Corefile is loaded. Must not know what plugins are for.

pub(crate) mod build;
pub(crate) mod chain;
pub(crate) mod listener;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod refresh;
pub(crate) mod slow;
pub(crate) mod status;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::name::Name;
use crate::plugins::cache::Cache;
use crate::plugins::kubernetes::{Kubernetes, Outcome};
use crate::plugins::log::Log;
use crate::plugins::metadata::Metadata;
use crate::server::chain::Plugin;
use crate::wire::{self, CLASS_IN, Query, Refused, Reply, rcode, rtype};

/// What one port serves; swapped as a whole when the Corefile changes, under the listeners' feet.
pub(crate) type Routes = Arc<ArcSwap<Vec<Route>>>;

/// One zone of a server block.
#[derive(Clone)]
pub(crate) struct Route {
    /// In lower case.
    pub(crate) zone: Name,
    pub(crate) n_labels: usize,
    /// The zone and the listener as CoreDNS's metrics name them.
    pub(crate) label: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) block: Arc<Block>,
}

/// One server block at work.
pub(crate) struct Block {
    /// In the order in which a query meets them.
    pub(crate) plugins: Vec<Box<dyn Plugin>>,
    pub(crate) fast: Option<Fast>,
    pub(crate) logs: Vec<Log>,
    pub(crate) metadata: Option<Metadata>,
    /// The largest reply by UDP that clients may ask for (`bufsize`).
    pub(crate) max_udp: Option<u16>,
    /// Nothing in it would answer: its zones are refused, as CoreDNS does.
    pub(crate) empty: bool,
    /// Some upstream may know more classes than the Internet's. Where one block of a listener says so, CoreDNS lets them into all.
    pub(crate) all_classes: bool,
}

/// What may answer without a task, and which plugins have to let a question go by first.
pub(crate) struct Fast {
    pub(crate) kubernetes: Option<Arc<Kubernetes>>,
    pub(crate) cache: Option<Arc<Cache>>,
    /// Places in `Block::plugins`: those in front of `kubernetes`, then those between it and the cache.
    pub(crate) in_front: Range<usize>,
    pub(crate) between: Range<usize>,
}

/// What was made of a packet at once.
pub(crate) enum AtOnce {
    /// A whole reply of so many octets, and the plugin that gave it.
    Reply { length: usize, code: u8, by: &'static str },
    /// To be answered by a task.
    Later,
    /// Not to be answered.
    Silence,
}

/// The most specific route of a name.
pub(crate) fn route_of<'r>(routes: &'r [Route], name: &wire::Folded) -> Option<(usize, &'r Route)> {
    let holds = |route: &&Route| name.above(route.zone.wire(), route.n_labels).is_some();
    // Few zones: a server has a handful of blocks. They stand longest first.
    routes.iter().enumerate().find(|(_, route)| holds(route))
}

/// Answers a packet in place if that can be done without waiting. Gives the route's place with it, for the counters.
pub(crate) fn at_once(routes: &[Route], packet: &[u8], out: &mut [u8], tcp: bool, turn: u32) -> (AtOnce, Option<usize>) {
    let mut query = match Query::parse(packet) {
        Ok(query) => query,
        Err(Refused::Silently) => return (AtOnce::Silence, None),
        Err(Refused::With(code)) => return (AtOnce::Reply { length: wire::refusal(packet, code, out), code, by: "" }, None),
    };
    let mut refuse = |code| {
        let length = Reply::new(out, &query, query.limit(tcp)).finish(&query, code, 0);
        (AtOnce::Reply { length, code, by: "" }, None)
    };
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return refuse(rcode::BADVERS);
    }
    if query.qclass != CLASS_IN && !routes.iter().any(|route| route.block.all_classes) {
        return refuse(rcode::REFUSED);
    }
    let Some((at, route)) = route_of(routes, &query.name).filter(|(_, route)| !route.block.empty) else { return refuse(rcode::REFUSED) };
    let block = &*route.block;
    if query.qclass != CLASS_IN {
        return (AtOnce::Later, Some(at));
    }
    let Some(fast) = block.fast.as_ref().filter(|_| !rtype::is_transfer(query.qtype)) else { return (AtOnce::Later, Some(at)) };
    query.cap(block.max_udp);
    let limit = query.limit(tcp);
    let pass = |plugins: &Range<usize>| block.plugins[plugins.clone()].iter().all(|plugin| plugin.passes(&query));
    if !pass(&fast.in_front) {
        return (AtOnce::Later, Some(at));
    }
    if let Some(kubernetes) = &fast.kubernetes {
        match kubernetes.answer(&query, out, limit, turn) {
            Outcome::Written(length, code) => return (AtOnce::Reply { length, code, by: "kubernetes" }, Some(at)),
            Outcome::Alias(_) => return (AtOnce::Later, Some(at)),
            Outcome::Next => {}
        }
    }
    if let Some(cache) = &fast.cache
        && pass(&fast.between)
        && let Some((length, code)) = cache.hit(&query, out, limit, turn)
    {
        return (AtOnce::Reply { length, code, by: "cache" }, Some(at));
    }
    (AtOnce::Later, Some(at))
}

#[cfg(test)]
mod tests;
