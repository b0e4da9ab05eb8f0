//! A packet to an address and a port: verdict, endpoints, masquerade, and why each endpoint is or is not among them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use model::facts::{Endpoint, Slice, TrafficPolicy};
use model::node::{NodeKey, NodeService, NodeServicePort, Verdict};
use model::{Facts, Family, NodeView, ObjectKind, ObjectRef, Protocol, ServiceName};

use super::Trace;

/// The node that decides, as its service proxy is configured.
pub struct Place<'a> {
    pub facts: &'a Facts,
    pub view: &'a NodeView,
    pub node_name: &'a str,
    /// The addresses that node ports answer on.
    pub node_port_addresses: Vec<IpAddr>,
    /// Which families have their TCP node ports on loopback too.
    pub localhost_node_ports: Vec<Family>,
    /// What the local detector calls a pod of this cluster; empty: no detector.
    pub pod_cidrs: Vec<IpNet>,
    pub masquerade_all: bool,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Node,
    Address(IpAddr),
}

/// Which of a Service's addresses was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    ClusterIp,
    ExternalIp,
    LoadBalancerIp,
    NodePort,
}

struct Hit<'a> {
    key: &'a NodeKey,
    service: &'a NodeService,
    port: &'a NodeServicePort,
    door: Door,
}

/// Follows the first packet of a connection from `from` to `to`.
pub fn trace(place: &Place<'_>, protocol: Protocol, from: From, to: SocketAddr) -> Trace {
    let mut trace = Trace::default();
    trace.say(format!("{to} over {protocol}, from {}", place.describe(from)));
    let Some(hit) = place.find(protocol, to) else { return no_service(place, trace, protocol, to) };
    let object = hit.key.service.object();
    trace.say_by(hit.door.describe(&hit.key.service), &object, hit.door.field());
    trace.say_by(
        format!(
            "port {} is {}",
            to.port(),
            if hit.port.name.is_empty() { "unnamed".to_string() } else { format!("\"{}\"", hit.port.name) }
        ),
        &object,
        format!("spec.ports[{}].{}", hit.port.at, if hit.door == Door::NodePort { "nodePort" } else { "port" }),
    );
    if let Some(end) = source_range(place, &hit, from, to, &mut trace) {
        return trace.end(end);
    }

    let inside = place.is_inside(from);
    let (verdict, policy_field) = match hit.door {
        Door::ClusterIp => (&hit.port.internal, "spec.internalTrafficPolicy"),
        _ if inside => (&hit.port.external_from_inside, "spec.externalTrafficPolicy"),
        _ => (&hit.port.external, "spec.externalTrafficPolicy"),
    };
    let policy = place.policy(&hit);
    let bound = policy == TrafficPolicy::Local && (hit.door == Door::ClusterIp || !inside);
    let words = match (policy, bound) {
        (TrafficPolicy::Cluster, _) => "policy Cluster: endpoints of every node",
        (TrafficPolicy::Local, true) => "policy Local: endpoints of this node only",
        (TrafficPolicy::Local, false) => "policy Local does not bind senders inside the cluster: endpoints of every node",
    };
    trace.say_by(words, &object, policy_field);
    endpoints(place, &hit, verdict, bound, &mut trace);
    if let (Some(affinity), Verdict::To(_)) = (hit.service.affinity, verdict) {
        let words = format!("one client stays with one endpoint for {} s after its last connection", affinity.as_secs());
        trace.say_by(words, &object, "spec.sessionAffinity");
    }
    let end = match verdict {
        Verdict::To(endpoints) => format!("to {}{}", list(endpoints), masquerade(place, &hit, from, &mut trace)),
        Verdict::Reject => "rejected (ICMP port unreachable): no endpoint is ready or serving".to_string(),
        Verdict::Drop => "dropped: there are endpoints, but none on this node, and policy Local forbids the others".to_string(),
    };
    trace.end(end)
}

fn no_service(place: &Place<'_>, mut trace: Trace, protocol: Protocol, to: SocketAddr) -> Trace {
    let family = Family::of(to.ip());
    let owner = place.view.services.iter().find(|(key, service)| key.family == family && service.cluster_ip == to.ip());
    if let Some((key, service)) = owner {
        let ports: Vec<_> = service.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
        trace.say_by(
            format!("the cluster IP of {}, which has no port {}/{protocol}, only {}", key.service, to.port(), ports.join(", ")),
            &key.service.object(),
            "spec.ports",
        );
        return trace.end("rejected (ICMP port unreachable)");
    }
    if let Some((name, _)) = place.facts.service_cidrs.iter().find(|(_, cidrs)| cidrs.iter().any(|cidr| cidr.contains(&to.ip()))) {
        let object = ObjectRef { kind: ObjectKind::ServiceCidr, namespace: "".into(), name: name.clone() };
        trace.say_by("inside the range of Service addresses, but no Service has it", &object, "spec.cidrs");
        return trace.end("dropped");
    }
    trace.say("no Service has this address and port");
    trace.end("not touched: goes where the routing table says")
}

/// Says whether the sender may use the load balancer's address; the end of the story if not.
fn source_range(place: &Place<'_>, hit: &Hit<'_>, from: From, to: SocketAddr, trace: &mut Trace) -> Option<String> {
    if hit.door != Door::LoadBalancerIp {
        return None;
    }
    let ranges = hit.service.source_ranges.as_ref()?;
    let object = hit.key.service.object();
    let field = "spec.loadBalancerSourceRanges";
    let sources = match from {
        From::Node => place.own_addresses(),
        From::Address(address) => vec![address],
    };
    match ranges.iter().find(|range| sources.iter().any(|source| range.contains(source))) {
        Some(range) => {
            trace.say_by(format!("the sender is in {range}"), &object, field);
            None
        }
        None => {
            trace.say_by(format!("the sender is in none of {}", list(ranges)), &object, field);
            Some(format!("dropped before {to}"))
        }
    }
}

/// One line an endpoint of the port: chosen, or why not.
fn endpoints(place: &Place<'_>, hit: &Hit<'_>, verdict: &Verdict, local_only: bool, trace: &mut Trace) {
    let Some(slices) = place.facts.slices.get(&hit.key.service) else {
        trace.say("no EndpointSlice belongs to it (label kubernetes.io/service-name)");
        return;
    };
    for (name, slice) in slices {
        if slice.family != hit.key.family {
            continue;
        }
        let object = ObjectRef { kind: ObjectKind::EndpointSlice, namespace: hit.key.service.namespace.clone(), name: name.clone() };
        let port = slice.ports.iter().find(|port| port.name == hit.port.name && port.protocol == hit.port.protocol);
        let Some(port) = port else {
            trace.say_by(format!("has no {} port named \"{}\"", hit.port.protocol, hit.port.name), &object, "ports");
            continue;
        };
        for (at, endpoint) in slice.endpoints.iter().enumerate() {
            let address = SocketAddr::new(endpoint.address, port.port);
            let chosen = verdict.endpoints().contains(&address);
            let (words, field) = reason(endpoint, chosen, local_only, place.node_name);
            trace.say_by(
                format!("{address}{}: {}{words}", pod(slice, at), if chosen { "" } else { "left out, " }),
                &object,
                format!("endpoints[{}]{field}", endpoint.at),
            );
        }
    }
}

fn reason(endpoint: &Endpoint, chosen: bool, local_only: bool, node_name: &str) -> (String, &'static str) {
    let here = endpoint.topology.node.as_deref() == Some(node_name);
    let state = match (endpoint.ready, endpoint.serving && endpoint.terminating) {
        (true, _) => "ready",
        (false, true) => "serving while it terminates",
        (false, false) => "not ready",
    };
    if chosen || !(endpoint.ready || endpoint.serving && endpoint.terminating) {
        return (state.to_string(), ".conditions");
    }
    if local_only && !here {
        return (format!("on {}", endpoint.topology.node.as_deref().unwrap_or("no node")), ".nodeName");
    }
    if !endpoint.ready {
        return ("terminating while others are ready".to_string(), ".conditions");
    }
    ("meant for other zones or nodes".to_string(), ".hints")
}

fn pod(slice: &Slice, at: usize) -> String {
    slice.pod(at).map(|pod| format!(" (pod {pod})")).unwrap_or_default()
}

/// Whose address the endpoint sees, as the tail of the outcome.
fn masquerade(place: &Place<'_>, hit: &Hit<'_>, from: From, trace: &mut Trace) -> &'static str {
    let outside = !place.pod_cidrs.is_empty() && !place.is_pod(from);
    let because = match hit.door {
        Door::ClusterIp if place.masquerade_all => Some("masqueradeAll is on"),
        Door::ClusterIp if outside => Some("the sender is no pod of this cluster"),
        Door::ClusterIp => None,
        _ if hit.service.masquerade_external => Some("policy Cluster on an external address"),
        _ if from == From::Node => Some("the sender is the node itself"),
        _ => None,
    };
    match because {
        Some(because) => {
            trace.say(format!("masquerade: {because}"));
            ", which sees the node's address"
        }
        None => ", which sees the sender's address",
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

// === impl Place ===

impl<'a> Place<'a> {
    fn find(&self, protocol: Protocol, to: SocketAddr) -> Option<Hit<'a>> {
        let family = Family::of(to.ip());
        let mut hits = self.view.services.iter().filter(|(key, _)| key.family == family).flat_map(|(key, service)| {
            service.ports.iter().filter(move |port| port.protocol == protocol).filter_map(move |port| {
                let here = |addresses: &[IpAddr]| port.port == to.port() && addresses.contains(&to.ip());
                let door = if here(&[service.cluster_ip]) {
                    Door::ClusterIp
                } else if here(&service.external_ips) {
                    Door::ExternalIp
                } else if here(&service.load_balancer_ips) {
                    Door::LoadBalancerIp
                } else if port.node_port.is_some_and(|port| port.0 == to.port()) && self.has_node_ports(protocol, to.ip()) {
                    Door::NodePort
                } else {
                    return None;
                };
                Some(Hit { key, service, port, door })
            })
        });
        hits.next()
    }

    fn has_node_ports(&self, protocol: Protocol, address: IpAddr) -> bool {
        let by_listener = || protocol == Protocol::Tcp && self.localhost_node_ports.contains(&Family::of(address));
        let own_loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        self.node_port_addresses.contains(&address) || own_loopback.contains(&address) && by_listener()
    }

    fn policy(&self, hit: &Hit<'_>) -> TrafficPolicy {
        let service = self.facts.services.get(&hit.key.service);
        service.map_or(TrafficPolicy::Cluster, |service| match hit.door {
            Door::ClusterIp => service.internal_policy,
            _ => service.external_policy,
        })
    }

    fn own_addresses(&self) -> Vec<IpAddr> {
        self.view.node.as_ref().map(|node| [node.internal_ips.as_slice(), &node.external_ips].concat()).unwrap_or_default()
    }

    fn is_pod(&self, from: From) -> bool {
        matches!(from, From::Address(address) if self.pod_cidrs.iter().any(|cidr| cidr.contains(&address)))
    }

    fn is_inside(&self, from: From) -> bool {
        from == From::Node || self.is_pod(from) || matches!(from, From::Address(address) if self.own_addresses().contains(&address))
    }

    fn describe(&self, from: From) -> String {
        match from {
            From::Node => format!("the node {}", self.node_name),
            From::Address(address) if self.is_pod(from) => format!("{address}, a pod of this cluster"),
            From::Address(address) => format!("{address}, outside the cluster"),
        }
    }
}

// === impl Door ===

impl Door {
    fn describe(self, service: &ServiceName) -> String {
        let door = match self {
            Door::ClusterIp => "the cluster IP",
            Door::ExternalIp => "an external IP",
            Door::LoadBalancerIp => "a load balancer's IP",
            Door::NodePort => "a node port",
        };
        format!("{door} of Service {service}")
    }

    fn field(self) -> &'static str {
        match self {
            Door::ClusterIp => "spec.clusterIPs",
            Door::ExternalIp => "spec.externalIPs",
            Door::LoadBalancerIp => "status.loadBalancer.ingress",
            Door::NodePort => "spec.type",
        }
    }
}
