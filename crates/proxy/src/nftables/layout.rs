//! The table's sets, maps and fixed chains. They depend on the configuration and the own Node, never on a Service.
//!
//! Order of decisions for a connection's first packet (chain `services`): who may come to a load-balancer address; masquerading for
//! cluster IPs; the address's class; the node port's class; a cluster IP's unused port is refused; an unused address of a ServiceCIDR
//! is silent.

use std::net::IpAddr;

use ipnet::IpNet;
use kernel::nft::{self, Chain, Compare, Data, Element, Field, HookKind, HookPoint, Load, Operand, Rule, Set, Statement, Type, Verdict};
use model::{Family, NodeView};

use super::nft_family;
use crate::config::LocalDetector;
use crate::{Config, node_ports};

pub(super) const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";
/// A chain may not be named `reject`.
pub(super) const REFUSE: &str = "refuse";
pub(super) const DROP: &str = "discard";
/// How often a packet looks for its class. One look may miss what is being replaced at that moment: an element, in kernels before 6.17
/// (Linux b2f742c846ca), and in all of them the chain of a class that the address no longer has. Whoever falls through is refused, or
/// remembered as not redirected.
const LOOKS: usize = 2;
const SERVICES: &str = "services";
const MASQUERADING: &str = "masquerading";

/// A pair of maps that lead a connection to an endpoint: one for addresses and one for node ports, each once more for what pods and
/// the node itself get where policy Local binds everyone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lane {
    Address,
    AddressInside,
    NodePort,
    NodePortInside,
}

// === impl Lane ===

impl Lane {
    pub(super) const ALL: [Lane; 4] = [Lane::Address, Lane::AddressInside, Lane::NodePort, Lane::NodePortInside];

    fn is_node_port(self) -> bool {
        matches!(self, Lane::NodePort | Lane::NodePortInside)
    }

    /// The lane of the same key for pods and the node.
    pub(super) fn inside(self) -> Lane {
        if self.is_node_port() { Lane::NodePortInside } else { Lane::AddressInside }
    }

    /// The map from key to class.
    pub(super) fn services(self) -> &'static str {
        match self {
            Lane::Address => "services",
            Lane::AddressInside => "services-inside",
            Lane::NodePort => "nodeports",
            Lane::NodePortInside => "nodeports-inside",
        }
    }

    /// The map from key and slot to endpoint.
    pub(super) fn backends(self) -> &'static str {
        match self {
            Lane::Address => "backends",
            Lane::AddressInside => "backends-inside",
            Lane::NodePort => "nodeport-backends",
            Lane::NodePortInside => "nodeport-backends-inside",
        }
    }

    /// The map from class to chain.
    pub(super) fn verdicts(self) -> &'static str {
        match self {
            Lane::Address => "picks",
            Lane::AddressInside => "picks-inside",
            Lane::NodePort => "nodeport-picks",
            Lane::NodePortInside => "nodeport-picks-inside",
        }
    }

    /// What the names of its picking chains start with.
    pub(super) fn pick(self) -> &'static str {
        match self {
            Lane::Address => "pick",
            Lane::AddressInside => "pick-inside",
            Lane::NodePort => "nodeport-pick",
            Lane::NodePortInside => "nodeport-pick-inside",
        }
    }

    /// The chain that leads pods and the node itself inside.
    pub(super) fn inside_first(self) -> &'static str {
        if self.is_node_port() { "nodeports-inside-first" } else { "services-inside-first" }
    }

    pub(super) fn key(self) -> Vec<Load> {
        let mut key = vec![Load::Destination, Load::L4Proto, Load::DestinationPort];
        if self.is_node_port() {
            key.remove(0);
        }
        key
    }

    fn types(self, family: nft::Family) -> Vec<Type> {
        let mut types = vec![family.address(), Type::InetProto, Type::InetService];
        if self.is_node_port() {
            types.remove(0);
        }
        types
    }

    /// A client of a front: affinity is per client address.
    pub(super) fn client_key(self) -> Vec<Load> {
        [vec![Load::Source], self.key()].concat()
    }

    pub(super) fn client_types(self, family: nft::Family) -> Vec<Type> {
        [vec![family.address()], self.types(family)].concat()
    }

    pub(super) fn services_map(self, family: nft::Family) -> Set {
        Set::map(self.services(), self.types(family), Data::Fields(vec![Type::ClassId]))
    }

    pub(super) fn backends_map(self, family: nft::Family) -> Set {
        // The slot is declared as a mark: nft 1.0.6 aborts a listing of plain integers in a key.
        let key = [self.types(family), vec![Type::Mark]].concat();
        Set::map(self.backends(), key, Data::Fields(vec![family.address(), Type::InetService]))
    }

    pub(super) fn verdicts_map(self) -> Set {
        Set::map(self.verdicts(), [Type::ClassId], Data::Verdict)
    }
}

/// Sets that are not a lane's.
pub(super) fn cluster_ips(family: nft::Family) -> Set {
    Set::new("cluster-ips", [family.address()])
}

/// (endpoint, endpoint): connections that come back to where they started.
pub(super) fn hairpins(family: nft::Family) -> Set {
    Set::new("hairpin", [family.address(), family.address()])
}

/// Load-balancer addresses that not everyone may come to.
pub(super) fn firewalled(family: nft::Family) -> Set {
    Set::new("firewalled", Lane::Address.types(family))
}

/// Who may.
pub(super) fn allowed_sources(family: nft::Family) -> Set {
    Set::new("allowed-sources", [Lane::Address.types(family), vec![family.address()]].concat()).interval()
}

pub(super) fn service_cidrs(family: nft::Family) -> Set {
    Set::new("service-cidrs", [family.address()]).interval()
}

pub(super) fn nodeport_ips(family: nft::Family) -> Set {
    Set::new("nodeport-ips", [family.address()]).interval()
}

/// Every set but those of session affinity.
pub(super) fn sets(family: nft::Family) -> Vec<Set> {
    let mut sets = vec![
        cluster_ips(family),
        service_cidrs(family),
        nodeport_ips(family),
        firewalled(family),
        allowed_sources(family),
        hairpins(family),
    ];
    for lane in Lane::ALL {
        sets.extend([lane.services_map(family), lane.backends_map(family), lane.verdicts_map()]);
    }
    sets
}

/// The chains that the kernel calls. They come last in a new table, so that nothing is judged by half-filled maps.
pub(super) fn base_chains() -> Vec<(Chain, Vec<Rule>)> {
    let to = |chain: &'static str, point, priority, goes: &'static str| {
        (Chain::base(chain, HookKind::Nat, point, priority), vec![Rule::new(chain, [Statement::jump(goes)])])
    };
    vec![
        to("nat-prerouting", HookPoint::Prerouting, -100, SERVICES),
        to("nat-output", HookPoint::Output, -100, SERVICES),
        to("nat-postrouting", HookPoint::Postrouting, 100, MASQUERADING),
    ]
}

/// The chains that only others call, callees first.
pub(super) fn chains(config: &Config, family: Family, view: &NodeView) -> Vec<(Chain, Vec<Rule>)> {
    let pods = Pods::of(config, family, view);
    let mut chains = vec![
        (Chain::new(MARK_FOR_MASQUERADE), vec![Rule::new(MARK_FOR_MASQUERADE, [Statement::SetMarkBits(config.masquerade_mark())])]),
        (Chain::new(REFUSE), vec![Rule::new(REFUSE, [Statement::Reject])]),
        (Chain::new(DROP), vec![Rule::new(DROP, [Statement::Counter, Statement::Verdict(Verdict::Drop)])]),
    ];
    for lane in [Lane::Address, Lane::NodePort] {
        chains.extend(inside_chains(lane, &pods));
    }
    chains.push((Chain::new(SERVICES), services_rules(config, family, &pods)));
    chains.push((Chain::new(MASQUERADING), masquerading_rules(config)));
    chains
}

/// Pods and the node itself are not bound by policy Local: pods reach every endpoint with their own address, the node with a
/// masqueraded one (its address may be one that the endpoint does not answer to).
fn inside_chains(lane: Lane, pods: &Pods) -> Vec<(Chain, Vec<Rule>)> {
    let inside = lane.inside();
    let lookup = inside.services();
    let mut first = Vec::new();
    if let Some(is_pod) = pods.are(Compare::Equal) {
        first.push(Rule::new(lane.inside_first(), [is_pod, Statement::goto(lookup)]));
    }
    let from_node = Statement::Match(Load::SourceType, Compare::Equal, Operand::Local);
    first.push(Rule::new(lane.inside_first(), [from_node.clone(), Statement::jump(MARK_FOR_MASQUERADE)]));
    first.push(Rule::new(lane.inside_first(), [from_node, Statement::goto(lookup)]));
    let mut lead = vec![by_class(lookup, inside, Vec::new()); LOOKS];
    lead.push(Rule::new(lookup, [Statement::Counter, Statement::Verdict(Verdict::Drop)]));
    vec![(Chain::new(lookup), lead), (Chain::new(lane.inside_first()), first)]
}

/// Goes where the class of the packet's key leads; the next rule if it has none.
fn by_class(chain: &'static str, lane: Lane, mut conditions: Vec<Statement>) -> Rule {
    conditions.push(Statement::PriorityFromMap { key: lane.key(), map: lane.services().into() });
    conditions.push(Statement::VerdictMap { key: vec![Load::Priority], map: lane.verdicts().into() });
    Rule::new(chain, conditions)
}

fn services_rules(config: &Config, family: Family, pods: &Pods) -> Vec<Rule> {
    let of_family = nft_family(family);
    let rule = |statements: Vec<Statement>| Rule::new(SERVICES, statements);
    let key_and_source = [Lane::Address.key(), vec![Load::Source]].concat();
    let is_cluster_ip = || Statement::is_in([Load::Destination], cluster_ips(of_family).name);
    let mut rules = vec![rule(vec![
        Statement::is_in(Lane::Address.key(), firewalled(of_family).name),
        Statement::not_in(key_and_source, allowed_sources(of_family).name),
        Statement::Counter,
        Statement::Verdict(Verdict::Drop),
    ])];
    if config.masquerade_all {
        rules.push(rule(vec![is_cluster_ip(), Statement::jump(MARK_FOR_MASQUERADE)]));
    } else if let Some(no_pod) = pods.are(Compare::NotEqual) {
        rules.push(rule(vec![is_cluster_ip(), no_pod, Statement::jump(MARK_FOR_MASQUERADE)]));
    }
    for _ in 0..LOOKS {
        rules.push(by_class(SERVICES, Lane::Address, Vec::new()));
        rules.push(by_class(SERVICES, Lane::NodePort, on_node_port_address(config, family)));
    }
    rules.push(rule(vec![is_cluster_ip(), Statement::Reject]));
    rules.push(rule(vec![
        Statement::is_in([Load::Destination], service_cidrs(of_family).name),
        // NodeLocal DNSCache and the like bind a service address on the node itself.
        Statement::Match(Load::DestinationType, Compare::NotEqual, Operand::Local),
        Statement::Counter,
        Statement::Verdict(Verdict::Drop),
    ]));
    rules
}

fn on_node_port_address(config: &Config, family: Family) -> Vec<Statement> {
    let mut conditions = Vec::new();
    if node_ports::ranges(config, family, None).is_some() {
        conditions.push(Statement::is_in([Load::Destination], nodeport_ips(nft_family(family)).name));
    }
    conditions.push(Statement::Match(Load::DestinationType, Compare::Equal, Operand::Local));
    let loopback: (IpAddr, u8) = match family {
        Family::V4 => (IpAddr::from([127, 0, 0, 0]), 8),
        Family::V6 => (IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 128),
    };
    conditions.push(Statement::Match(Load::Destination, Compare::NotEqual, Operand::Net(loopback.0, loopback.1)));
    conditions
}

fn masquerading_rules(config: &Config) -> Vec<Rule> {
    let mark = config.masquerade_mark();
    vec![
        Rule::new(MASQUERADING, [Statement::MarkBits(mark, Compare::Equal), Statement::ClearMarkBits(mark), Statement::Masquerade]),
        // A pod that reaches itself by a Service must not see its own address, else it answers itself past the redirection.
        Rule::new(
            MASQUERADING,
            [Statement::CtStatusDnat, Statement::is_in([Load::Source, Load::Destination], "hairpin"), Statement::Masquerade],
        ),
    ]
}

/// How a pod is told from everyone else, in one family.
enum Pods {
    Unknown,
    From(IpNet),
    Interface(String),
}

impl Pods {
    fn of(config: &Config, family: Family, view: &NodeView) -> Self {
        let first = |nets: &[IpNet]| nets.iter().find(|net| Family::of(net.addr()) == family).copied();
        let net = match &config.detector {
            LocalDetector::None => None,
            LocalDetector::ClusterCidr(cidrs) => first(cidrs),
            LocalDetector::NodeCidr => view.node.as_ref().and_then(|node| first(&node.pod_cidrs)),
            LocalDetector::Bridge(name) => return Pods::Interface(name.clone()),
            LocalDetector::InterfacePrefix(prefix) => return Pods::Interface(format!("{prefix}*")),
        };
        net.map_or(Pods::Unknown, Pods::From)
    }

    /// A condition that holds for pods, or with `NotEqual` for everyone else; `None` if nobody can tell.
    fn are(&self, compare: Compare) -> Option<Statement> {
        match self {
            Pods::Unknown => None,
            Pods::From(net) => Some(Statement::Match(Load::Source, compare, Operand::Net(net.network(), net.prefix_len()))),
            Pods::Interface(name) => Some(Statement::Match(Load::InputInterface, compare, Operand::Interface(name.clone()))),
        }
    }
}

/// The elements of the sets that depend on the Node and the configuration alone.
pub(super) fn global_elements(config: &Config, family: Family, view: &NodeView) -> Vec<(Set, Vec<Element>)> {
    let of_family = nft_family(family);
    // Where node ports are everywhere the rule does not ask.
    let ports = node_ports::ranges(config, family, view.node.as_deref()).unwrap_or_default();
    let cidrs: Vec<IpNet> = view.service_cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == family).copied().collect();
    vec![(service_cidrs(of_family), ranges(&cidrs)), (nodeport_ips(of_family), ranges(&ports))]
}

/// Ranges that do not overlap: the kernel takes no others.
pub(super) fn ranges(nets: &[IpNet]) -> Vec<Element> {
    IpNet::aggregate(&nets.to_vec())
        .into_iter()
        .map(|net| Element::range([Field::ip(net.network())], [Field::ip(net.broadcast())]))
        .collect()
}
