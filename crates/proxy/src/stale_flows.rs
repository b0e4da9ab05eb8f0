//! UDP flows that go to an endpoint that is gone.
//!
//! Connection tracking keeps sending a UDP flow where it first went for as long as packets come, so a client that never stops would
//! talk to a dead endpoint for ever. After each sync that changed the endpoints of a UDP port the flows to its addresses that no serving
//! endpoint answers are forgotten. Policies and topology are ignored on purpose: a flow to an endpoint that serves is in order wherever
//! that is. Flows that nothing changed for live on, also over a restart.
//!
//! The kernel is told which flows: those to this address that this endpoint answers. Where it cannot be told, or after many changes, or
//! when it is not known what was there before, every UDP flow is looked at. The next sync waits for either: beside the syncs, flows would
//! be forgotten that the next one's rules had just made, and with them the way back of their first answer.
//!
//! Source: kube-proxy's conntrack reconciler, with the fix of kubernetes#139629 (no serving endpoint means every flow is stale).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kernel::Errno;
use kernel::conntrack::{Conntrack, Filter, Flow};
use model::node::NodeService;
use model::{Changed, Family, NodeView, Protocol};

const UDP: u8 = 17;
/// Each filter is a walk over the kernel's table. A dump is one walk too, but locks each bucket and brings flows that are in order: in
/// 262,144 buckets it takes as long as 9 filters with hardly a flow, as 5 with 200,000 of UDP, and as one with as many of TCP.
const MAX_FILTERS: usize = 4;

/// Forgets flows; used by one thread.
#[derive(Debug, Default)]
pub(crate) struct StaleFlows {
    conntrack: Option<Conntrack>,
}

/// The UDP fronts whose endpoints changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    fronts: HashMap<Front, Change>,
    /// What was there before is not known.
    from_nothing: bool,
}

/// Where UDP comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Front {
    Address(SocketAddr),
    /// On addresses of the node.
    NodePort(Family, u16),
}

/// Who may answer at a front.
#[derive(Debug, Default)]
struct Change {
    /// Before; `None` if there was no such front.
    old: Option<Arc<[SocketAddr]>>,
    serving: Arc<[SocketAddr]>,
}

// === impl StaleFlows ===

impl StaleFlows {
    /// Forgets the stale flows of one family; `None` if there can be none, else how many went of those that were counted: the kernel
    /// does not count what it deletes by filter.
    pub(crate) fn forget(&mut self, changes: &Changes, family: Family) -> Result<Option<usize>, Errno> {
        let local = changes.local_addresses()?;
        let filters = changes.filters(family, &local);
        if filters.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let conntrack = match &mut self.conntrack {
            Some(conntrack) => conntrack,
            none => none.insert(Conntrack::open()?),
        };
        if let Some(filters) = filters
            && filters.iter().try_fold(true, |done, filter| Ok::<_, Errno>(done && conntrack.delete(UDP, filter)?))?
        {
            return Ok(Some(0));
        }
        let stale = |flow: &Flow| changes.is_stale(flow, &local);
        Ok(Some(conntrack.delete_where(family == Family::V4, UDP, changes.only_port(family), stale)?))
    }
}

// === impl Changes ===

impl Changes {
    /// The fronts whose endpoints differ between two views; all of them if there is no last one.
    pub(crate) fn between(view: &NodeView, last: Option<&NodeView>) -> Self {
        let changed = last.map_or(Changed::All, |last| view.since(last.revision));
        let keys = changed.or_all(&view.services, last.into_iter().flat_map(|last| last.services.iter()).map(|(key, _)| key));
        let mut changes = Changes { from_nothing: last.is_none(), ..Changes::default() };
        for key in keys {
            let new = view.services.get(&key);
            let old = last.and_then(|last| last.services.get(&key));
            if old != new {
                for (front, serving) in old.into_iter().flat_map(|service| fronts(key.family, service)) {
                    changes.fronts.entry(front).or_default().old = Some(serving);
                }
                for (front, serving) in new.into_iter().flat_map(|service| fronts(key.family, service)) {
                    changes.fronts.entry(front).or_default().serving = serving;
                }
            }
        }
        changes.fronts.retain(|_, change| change.old.as_ref() != Some(&change.serving));
        changes
    }

    /// The node's own addresses, as far as they matter.
    fn local_addresses(&self) -> Result<HashSet<IpAddr>, Errno> {
        if !self.fronts.keys().any(|front| matches!(front, Front::NodePort(..))) {
            return Ok(HashSet::new());
        }
        Ok(kernel::rtnl::addresses()?.into_iter().map(|a| a.address).collect())
    }

    fn is_stale(&self, flow: &Flow, local: &HashSet<IpAddr>) -> bool {
        let to = flow.destination;
        let node_port = || self.fronts.get(&Front::NodePort(Family::of(to.ip()), to.port())).filter(|_| local.contains(&to.ip()));
        let change = self.fronts.get(&Front::Address(to)).or_else(node_port);
        change.is_some_and(|change| !change.serving.contains(&flow.reply_source))
    }

    /// Which flows of one family are stale; `None` if they are better looked for.
    fn filters(&self, family: Family, local: &HashSet<IpAddr>) -> Option<Vec<Filter>> {
        if self.from_nothing && self.fronts.keys().any(|front| front.family() == family) {
            return None;
        }
        let mut filters = Vec::new();
        for (front, change) in self.fronts.iter().filter(|(front, _)| front.family() == family) {
            match *front {
                Front::Address(to) => change.filters(to, &mut filters),
                Front::NodePort(_, port) => {
                    let here = local.iter().filter(|ip| Family::of(**ip) == family).map(|ip| SocketAddr::new(*ip, port));
                    here.filter(|to| !self.fronts.contains_key(&Front::Address(*to))).for_each(|to| change.filters(to, &mut filters));
                }
            }
            if filters.len() > MAX_FILTERS {
                return None;
            }
        }
        Some(filters)
    }

    /// The port of all fronts of one family, if they share one.
    fn only_port(&self, family: Family) -> Option<u16> {
        let mut ports = self.fronts.keys().filter(|front| front.family() == family).map(Front::port);
        let first = ports.next()?;
        ports.all(|port| port == first).then_some(first)
    }
}

// === impl Front ===

impl Front {
    fn family(&self) -> Family {
        match self {
            Front::Address(to) => Family::of(to.ip()),
            Front::NodePort(family, _) => *family,
        }
    }

    fn port(&self) -> u16 {
        match self {
            Front::Address(to) => to.port(),
            Front::NodePort(_, port) => *port,
        }
    }
}

/// Where one family of a Service takes UDP, and which endpoints serve there.
fn fronts(family: Family, service: &NodeService) -> impl Iterator<Item = (Front, Arc<[SocketAddr]>)> {
    service.ports.iter().filter(|port| port.protocol == Protocol::Udp).flat_map(move |port| {
        let ips = std::iter::once(&service.cluster_ip).chain(&service.external_ips).chain(&service.load_balancer_ips);
        let addresses = ips.map(|ip| Front::Address(SocketAddr::new(*ip, port.port)));
        let node_port = port.node_port.map(|node_port| Front::NodePort(family, node_port.0));
        addresses.chain(node_port).map(|front| (front, port.serving.clone()))
    })
}

// === impl Change ===

impl Change {
    /// The stale flows to `to`, an address of this front.
    fn filters(&self, to: SocketAddr, filters: &mut Vec<Filter>) {
        if self.serving.is_empty() {
            return filters.push(Filter { destination: to, reply_source: None });
        }
        // While nobody was there flows went to the address itself, if anywhere.
        let old = self.old.as_deref().filter(|old| !old.is_empty()).unwrap_or(std::slice::from_ref(&to));
        let serving: HashSet<&SocketAddr> = self.serving.iter().collect();
        let gone = old.iter().filter(|by| !serving.contains(by));
        filters.extend(gone.map(|by| Filter { destination: to, reply_source: Some(*by) }));
    }
}

#[cfg(test)]
mod tests;
