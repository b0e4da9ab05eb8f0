//! Endpoint choice: which endpoints of a service port this node may send to.
//!
//! Owns the order of the rules: merging of slices, readiness, policies, topology. Must not know how the choice reaches the kernel,
//! nor where facts come from. Pure: everything it needs is in its arguments.

use std::cmp::Reverse;
use std::net::SocketAddr;

use crate::facts::{Endpoint, Hints, Slice, Topology, TrafficPolicy};
use crate::names::{Family, Protocol};
use crate::node::Verdict;

/// Where the packet is: what "local" and "same zone" mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    pub node: &'a str,
    pub zone: Option<&'a str>,
    /// kube-proxy's feature gate `PreferSameTrafficDistribution` is off: zone hints alone count.
    pub ignore_node_hints: bool,
}

/// One address and port of a service port, with what the slices say about it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub address: SocketAddr,
    pub endpoint: &'a Endpoint,
    /// On the node of the `Place` asked for.
    pub local: bool,
}

/// How near an endpoint has to be, as far as the hints go.
#[derive(Clone, Copy)]
enum Reach {
    Anywhere,
    SameNode,
    SameZone,
}

/// Every endpoint of one service port as all slices of the Service together tell it: sorted by address, each `ip:port` once.
///
/// The link is the *name* and protocol of the port; the Service's target port means nothing here. A slice port without a number
/// and an address that is not of the slice's own family are passed over (the latter is told as an issue of the slice).
///
/// An endpoint on its way from one slice to another is in both for a moment. Then the local one counts, as in kube-proxy, and
/// beyond that the one of more use, so that the order of slices means nothing.
///
/// Source: kube-proxy's `endpointslicecache.go`.
pub fn candidates<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
    family: Family,
    port_name: &str,
    protocol: Protocol,
    place: Place<'_>,
) -> Vec<Candidate<'a>> {
    let mut all = Vec::new();
    for slice in slices.into_iter().filter(|slice| slice.family == family) {
        let ports = slice.ports.iter().filter(|port| port.port != 0 && port.protocol == protocol && &*port.name == port_name);
        for port in ports {
            all.extend(slice.endpoints.iter().filter(|endpoint| Family::of(endpoint.address) == family).map(|endpoint| Candidate {
                address: SocketAddr::new(endpoint.address, port.port),
                endpoint,
                local: is_local(endpoint, place),
            }));
        }
    }
    all.sort_by_key(|candidate| (candidate.address, Reverse((candidate.local, candidate.is_ready(), candidate.is_draining()))));
    all.dedup_by_key(|candidate| candidate.address);
    all
}

/// Whether the endpoint is on the node of `place`; one that names no node is on none.
pub fn is_local(endpoint: &Endpoint, place: Place<'_>) -> bool {
    !place.node.is_empty() && endpoint.topology.node.as_deref() == Some(place.node)
}

/// Picks the endpoints of one service port that traffic entering at `place` may reach, in the order of `candidates`.
///
/// An empty answer is not a verdict: the caller *rejects* when the port has no endpoint anywhere and *drops* when policy `Local`
/// merely found none here ([`verdict`] does).
///
/// Policy `Cluster`: the ready ones, narrowed by node hints, else by zone hints, if each ready one carries them and one of them
/// names this place; when none is ready, all those still serving while they terminate, wherever they are. Policy `Local`: ready,
/// else serving while they terminate, among this node's own; hints do not count.
///
/// Source: KEP-1669 (terminating endpoints), KEP-2086 (internal policy), KEP-2433 (zone hints), KEP-3015 (node hints,
/// PreferSameTrafficDistribution), and kube-proxy's `topology.go`.
pub fn choose(candidates: &[Candidate<'_>], policy: TrafficPolicy, place: Place<'_>) -> Vec<SocketAddr> {
    let chosen = match policy {
        TrafficPolicy::Cluster => {
            let reach = reach(candidates, place);
            pick(candidates, |candidate| candidate.is_ready() && reach.admits(candidate.endpoint, place))
        }
        TrafficPolicy::Local => pick(candidates, |candidate| candidate.local && candidate.is_ready()),
    };
    if !chosen.is_empty() {
        return chosen;
    }
    let anywhere = policy == TrafficPolicy::Cluster;
    pick(candidates, |candidate| (anywhere || candidate.local) && candidate.is_draining())
}

/// What happens to a packet for this service port under `policy`.
pub fn verdict(candidates: &[Candidate<'_>], policy: TrafficPolicy, place: Place<'_>) -> Verdict {
    let chosen = choose(candidates, policy, place);
    if !chosen.is_empty() {
        Verdict::To(chosen.into())
    } else if candidates.iter().any(|candidate| candidate.is_ready() || candidate.is_draining()) {
        Verdict::Drop
    } else {
        Verdict::Reject
    }
}

/// Every endpoint that still answers, whatever policies and topology say.
///
/// A ready endpoint counts even if it does not serve (`publishNotReadyAddresses`): it may be chosen, so its flows are no stale ones.
pub fn serving(candidates: &[Candidate<'_>]) -> Vec<SocketAddr> {
    pick(candidates, |candidate| candidate.endpoint.serving || candidate.is_ready())
}

/// The ready endpoints alone.
pub fn ready(candidates: &[Candidate<'_>]) -> Vec<SocketAddr> {
    pick(candidates, Candidate::is_ready)
}

fn pick<'a>(candidates: &[Candidate<'a>], wanted: impl Fn(&Candidate<'a>) -> bool) -> Vec<SocketAddr> {
    candidates.iter().filter(|candidate| wanted(candidate)).map(|candidate| candidate.address).collect()
}

/// Reads the hints of the ready endpoints: one that lacks a hint, or a hint for nobody here, switches that level off.
fn reach(candidates: &[Candidate<'_>], place: Place<'_>) -> Reach {
    let usable = |hints: fn(&Topology) -> &Hints, here: &str| {
        let mut ready = candidates.iter().filter(|candidate| candidate.is_ready()).map(|candidate| hints(&candidate.endpoint.topology));
        let mut named = false;
        let complete = ready.all(|hints| {
            named |= names(hints, here);
            hints.as_ref().is_some_and(|hints| !hints.is_empty())
        });
        complete && named
    };
    if !place.ignore_node_hints && usable(|topology| &topology.node_hints, place.node) {
        Reach::SameNode
    } else if place.zone.is_some_and(|zone| usable(|topology| &topology.zone_hints, zone)) {
        Reach::SameZone
    } else {
        Reach::Anywhere
    }
}

fn names(hints: &Hints, here: &str) -> bool {
    hints.as_ref().is_some_and(|hints| hints.iter().any(|hint| &**hint == here))
}

// === impl Candidate ===

impl Candidate<'_> {
    fn is_ready(&self) -> bool {
        self.endpoint.ready
    }

    /// Still serving while it terminates: the last resort.
    fn is_draining(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }
}

// === impl Reach ===

impl Reach {
    fn admits(self, endpoint: &Endpoint, place: Place<'_>) -> bool {
        match self {
            Reach::Anywhere => true,
            Reach::SameNode => names(&endpoint.topology.node_hints, place.node),
            Reach::SameZone => place.zone.is_some_and(|zone| names(&endpoint.topology.zone_hints, zone)),
        }
    }
}

#[cfg(test)]
mod tests;
