//! What one Service wants: its fronts, and the addresses that sets have to know. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use kernel::nft::{Element, Field};
use model::issue::{Issue, Reason};
use model::node::{NodeKey, NodeService, NodeServicePort, Verdict};
use model::{Protocol, Text};

use super::class::{Balance, Class, MAX_SLOTS, N_COUNTERS, Shape, Sticky, Target};
use super::layout::{Lane, ranges};
use super::maglev;

/// Where connections come in: a key of one lane's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Front {
    pub(super) lane: Lane,
    /// `None` for node ports.
    pub(super) address: Option<IpAddr>,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

/// What a front is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Want {
    pub(super) verdict: Verdict,
    pub(super) shape: Shape,
    pub(super) sticky: Option<Sticky>,
    pub(super) balance: Balance,
    /// Who may come; `None`: everyone.
    pub(super) sources: Option<Vec<IpNet>>,
    pub(super) port_name: Text,
}

// === impl Front ===

impl Front {
    pub(super) fn key(&self) -> Vec<Field> {
        let mut key: Vec<Field> = Vec::with_capacity(4);
        key.extend(self.address.map(Field::ip));
        key.extend([Field::Proto(self.protocol), Field::Port(self.port)]);
        key
    }

    pub(super) fn slot_key(&self, slot: usize) -> Vec<Field> {
        let mut key = self.key();
        key.push(Field::Mark(slot as u32));
        key
    }

    /// The front that `key` (without slot) is in `lane`.
    pub(super) fn from_key(lane: Lane, key: &[Field]) -> Option<Self> {
        let (address, rest) = match key {
            [address @ (Field::Ip4(_) | Field::Ip6(_)), rest @ ..] => (address.as_ip(), rest),
            rest => (None, rest),
        };
        let [Field::Proto(protocol), Field::Port(port)] = *rest else { return None };
        Some(Self { lane, address, protocol, port })
    }

    /// The elements of `allowed-sources` for it.
    pub(super) fn source_elements(&self, sources: &[IpNet]) -> Vec<Element> {
        let with = |address: &[Field]| [self.key(), address.to_vec()].concat();
        ranges(sources)
            .into_iter()
            .map(|range| Element::range(with(&range.key), with(range.key_end.as_deref().unwrap_or(&range.key))))
            .collect()
    }
}

// === impl Want ===

impl Want {
    pub(super) fn class(&self) -> Class {
        let target = match &self.verdict {
            Verdict::To(_) if self.balance == Balance::SourceHash => Target::Slots(maglev::SIZE as u16),
            Verdict::To(endpoints) => Target::Slots(endpoints.len().min(MAX_SLOTS) as u16),
            Verdict::Reject => Target::Reject,
            Verdict::Drop => Target::Drop,
        };
        let balanced = matches!(target, Target::Slots(_));
        Class {
            target,
            // Nobody is masqueraded on the way to nowhere.
            shape: if balanced || self.shape == Shape::Local { self.shape } else { Shape::Plain },
            sticky: self.sticky.filter(|_| balanced),
            balance: if balanced { self.balance } else { Balance::Random },
        }
    }

    /// `namespace/name:port`, as kube-proxy's comments have it.
    pub(super) fn comment(&self, owner: &NodeKey) -> String {
        if self.port_name.is_empty() { owner.service.to_string() } else { format!("{}:{}", owner.service, self.port_name) }
    }
}

/// Every front that a Service wants, each once.
///
/// `node_ips` are the own Node's: where source ranges let one of them in, the node reaches the load-balancer address, from which its
/// packets then come (kube-proxy's `allowFromNode`).
pub(super) fn fronts(service: &NodeService, node_ips: &[IpAddr]) -> Vec<(Front, Want)> {
    let mut wanted: Vec<(Front, Want)> = Vec::new();
    let sticky = service.affinity.map(Sticky::new);
    for port in &service.ports {
        let balance = balance(service, port);
        let want = |verdict: &Verdict, shape| Want {
            verdict: verdict.clone(),
            shape,
            sticky,
            balance,
            sources: None,
            port_name: port.name.clone(),
        };
        let front = |lane, address| Front { lane, address, protocol: number(port.protocol), port: port.port };
        wanted.push((front(Lane::Address, Some(service.cluster_ip)), want(&port.internal, Shape::Plain)));
        // An address that is a load balancer's and an external one has the load balancer's ranges.
        for ip in &service.load_balancer_ips {
            let mut outside = external(service, port, &want);
            outside.0.sources = service.source_ranges.as_ref().map(|ranges| with_own(ranges, node_ips, *ip));
            push(&mut wanted, front(Lane::Address, Some(*ip)), outside);
        }
        for ip in &service.external_ips {
            push(&mut wanted, front(Lane::Address, Some(*ip)), external(service, port, &want));
        }
        if let Some(node_port) = port.node_port {
            let front = Front { port: node_port.0, ..front(Lane::NodePort, None) };
            push(&mut wanted, front, external(service, port, &want));
        }
    }
    wanted
}

/// What annotation `rutter.dev/balance` asks for. Session affinity goes first: it promises more.
fn balance(service: &NodeService, port: &NodeServicePort) -> Balance {
    match service.balance.as_deref() {
        _ if service.affinity.is_some() => Balance::Random,
        Some(ROUND_ROBIN) => {
            let mut counter = u64::from(port.port) << 8 | u64::from(number(port.protocol));
            match service.cluster_ip {
                IpAddr::V4(ip) => counter ^= u64::from(u32::from(ip)) << 24,
                IpAddr::V6(ip) => counter ^= (u128::from(ip) as u64) << 24,
            }
            // Fibonacci hashing: neighbours get numbers far apart.
            let spread = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            Balance::RoundRobin((spread % u64::from(N_COUNTERS)) as u16)
        }
        Some(SOURCE_HASH) => Balance::SourceHash,
        _ => Balance::Random,
    }
}

/// What is wrong with a Service as this mode sees it.
pub(super) fn issues(service: &NodeService) -> Vec<Issue> {
    const FIELD: &str = "metadata.annotations[rutter.dev/balance]";
    let mut issues = Vec::new();
    match service.balance.as_deref() {
        None | Some(RANDOM) => {}
        Some(asked @ (ROUND_ROBIN | SOURCE_HASH)) if service.affinity.is_some() => {
            issues.push(Issue::new(FIELD, Reason::Unsupported, format!("session affinity is in force in place of {asked}")));
        }
        Some(ROUND_ROBIN | SOURCE_HASH) => {}
        Some(other) => {
            let message = format!("{other:?} is not one of {RANDOM}, {ROUND_ROBIN}, {SOURCE_HASH}: endpoints are chosen at random");
            issues.push(Issue::new(FIELD, Reason::InvalidValue, message));
        }
    }
    for port in &service.ports {
        let most = if balance(service, port) == Balance::SourceHash { maglev::SIZE } else { MAX_SLOTS };
        let n = [&port.internal, &port.external, &port.external_from_inside].map(|verdict| verdict.endpoints().len()).into_iter().max();
        if let Some(n) = n.filter(|n| *n > most) {
            let message = format!("{n} endpoints are more than the {most} that are used; the rest gets no connections");
            issues.push(Issue::new(format!("spec.ports[{}]", port.at), Reason::Unsupported, message));
        }
    }
    issues
}

const RANDOM: &str = "random";
const ROUND_ROBIN: &str = "round-robin";
const SOURCE_HASH: &str = "source-hash";

/// What an external address wants from outside and, where that differs, from inside.
fn external(service: &NodeService, port: &NodeServicePort, want: &dyn Fn(&Verdict, Shape) -> Want) -> (Want, Option<Want>) {
    if service.masquerade_external {
        return (want(&port.external, Shape::Masquerade), None);
    }
    if port.external.endpoints().is_empty() && port.external == port.external_from_inside {
        return (want(&port.external, Shape::Plain), None);
    }
    (want(&port.external, Shape::Local), Some(want(&port.external_from_inside, Shape::Plain)))
}

fn push(wanted: &mut Vec<(Front, Want)>, front: Front, (outside, inside): (Want, Option<Want>)) {
    if wanted.iter().any(|(other, _)| *other == front) {
        return;
    }
    wanted.push((front, outside));
    wanted.extend(inside.map(|want| (Front { lane: front.lane.inside(), ..front }, want)));
}

fn with_own(ranges: &[IpNet], node_ips: &[IpAddr], balancer: IpAddr) -> Vec<IpNet> {
    let mut ranges = ranges.to_vec();
    if node_ips.iter().any(|ip| ranges.iter().any(|range| range.contains(ip))) {
        ranges.push(balancer.into());
    }
    // As they will be read back from the kernel.
    IpNet::aggregate(&ranges)
}

/// The addresses of every endpoint that a connection may be sent to, as often as they occur.
pub(super) fn endpoint_ips(service: &NodeService) -> impl Iterator<Item = IpAddr> {
    let of = |verdict: &Verdict| verdict.endpoints().iter().map(|e| e.ip()).collect::<Vec<_>>();
    service.ports.iter().flat_map(move |port| {
        let mut ips = of(&port.internal);
        // Mostly the same list.
        if port.external != port.internal {
            ips.extend(of(&port.external));
        }
        if port.external_from_inside != port.internal {
            ips.extend(of(&port.external_from_inside));
        }
        ips
    })
}

/// The protocol's number (IANA).
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
