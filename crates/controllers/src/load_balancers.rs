//! Addresses of Services of type LoadBalancer: the nodes' own, for clusters that have no load balancer but their nodes.
//!
//! Each node's proxy takes up what comes to a granted address (`ipMode: VIP`), so nothing has to run besides: source ranges and traffic
//! policies are the proxy's to judge, for clients outside as for pods. One address serves many Services, told apart by protocol and port; one
//! that wants a taken port waits, and its condition and an Event name who has it. Which ports were granted stands in
//! `status.loadBalancer.ingress[].ports`, so a later Service never drives an earlier one out. A Service with a `loadBalancerClass` is somebody
//! else's.
//!
//! Source: KEP-1959 (loadBalancerClass), KEP-1860 (ipMode), KEP-1864 (ports in the status), k3s' ServiceLB, and
//! kubernetes `staging/src/k8s.io/cloud-provider/controllers/service` for the Events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use api::Kind;
use serde_json::{Value, json};

use crate::cache::{Cache, Key, Words};
use crate::plan::{Event, Plan, Write};
use crate::{Controller, json, kinds, slices};

/// True while a Service waits for its address.
const PENDING: &str = "rutter.dev/LoadBalancerPending";

/// Of a Node whose addresses are not to be used.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

pub struct LoadBalancers {
    /// What listens on the nodes themselves, and how people know it: TCP ports that no Service gets.
    pub taken: Vec<(SocketAddr, &'static str)>,
}

/// An address, a protocol, and a port.
type Claim = (IpAddr, String, u64);

/// Who has what.
type Holders = HashMap<Claim, Key>;

/// What a Service gets.
enum Decision {
    Granted(Vec<IpAddr>),
    Waits {
        reason: &'static str,
        message: String,
    },
    /// There is no node yet.
    TooEarly,
}

impl Controller for LoadBalancers {
    fn name(&self) -> &'static str {
        "service-lb-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 2] = [&kinds::SERVICE, &kinds::NODE];
        &READS
    }

    fn words(&self) -> Option<Words> {
        Some(words)
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        if *kind == kinds::NODE {
            return cache.all(&kinds::SERVICE).filter(|service| is_ours(service)).map(|service| Key::of(service)).collect();
        }
        let mut keys = vec![Key::of(object)];
        if is_ours(object) {
            // What this one gives up, another may wait for. What somebody else holds is not its to give.
            let (is_granted, addresses) = (has_been_granted(object), addresses(object, &node_addresses(cache)));
            let is_held = |claim: &Claim| cache.found_by(&holds(claim)).next().is_some();
            for claim in claims(object, &addresses).filter(|claim| is_granted || !is_held(claim)) {
                keys.extend(cache.found_by(&asks(&claim)).map(|(_, other)| Key::of(other)));
            }
        }
        keys
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let Some(service) = cache.get(&kinds::SERVICE, key).filter(|service| !json::is_deleting(service)) else { return plan };
        if is_ours(service) {
            match self.decide(service, cache) {
                Decision::Granted(addresses) => grant(service, &addresses, &mut plan),
                Decision::Waits { reason, message } => wait(service, reason, message, now, &mut plan),
                Decision::TooEarly => drop(write(service, Vec::new(), None, &mut plan)),
            }
        } else if service["spec"]["type"] != "LoadBalancer" && json::condition(service, PENDING).is_some() {
            write(service, Vec::new(), None, &mut plan);
        }
        plan
    }
}

// === impl LoadBalancers ===

impl LoadBalancers {
    /// Those that have what they want keep it, then the oldest goes first. A Service gets all of its ports or none.
    fn decide(&self, service: &Value, cache: &Cache) -> Decision {
        let nodes = node_addresses(cache);
        if nodes.is_empty() {
            return Decision::TooEarly;
        }
        let mut holders = Holders::new();
        for other in before(service, &nodes, cache) {
            if let Decision::Granted(addresses) = self.decide_next(other, &nodes, &holders) {
                holders.extend(claims(other, &addresses).map(|claim| (claim, Key::of(other))));
            }
        }
        self.decide_next(service, &nodes, &holders)
    }

    /// What `service` gets after those before it have got theirs.
    fn decide_next(&self, service: &Value, nodes: &BTreeSet<IpAddr>, holders: &Holders) -> Decision {
        let no_address = |message| Decision::Waits { reason: "NoAddress", message };
        let taken = |ip: &IpAddr, protocol: &str, port: &u64, by: &str| Decision::Waits {
            reason: "PortTaken",
            message: format!("port {port}/{protocol} of {ip} is taken by {by}"),
        };
        let families = slices::families(service);
        if !nodes.iter().any(|ip| families.contains(&family(*ip))) {
            return no_address(format!("no node has an {} address", families.join(" or ")));
        }
        let addresses = addresses(service, nodes);
        if addresses.is_empty() {
            let asked = json::text(&service["spec"]["loadBalancerIP"]);
            return no_address(format!("spec.loadBalancerIP: no node has the address {asked}"));
        }
        for claim in claims(service, &addresses) {
            let (ip, protocol, port) = &claim;
            let listens = |at: &SocketAddr| u64::from(at.port()) == *port && protocol == "TCP" && meets(at.ip(), *ip);
            if let Some((_, what)) = self.taken.iter().find(|(at, _)| listens(at)) {
                return taken(ip, protocol, port, what);
            }
            if let Some(holder) = holders.get(&claim) {
                return taken(ip, protocol, port, &format!("Service {holder}"));
            }
        }
        Decision::Granted(addresses)
    }
}

/// The lesser is served first.
fn standing(service: &Value) -> (bool, &str, &str, &str) {
    let created = json::text(&service["metadata"]["creationTimestamp"]);
    (!has_been_granted(service), created, json::namespace(service), json::name(service))
}

/// Those served before `service` on which it depends what it gets, in the order in which they are served: who has a port that it asks
/// for, or who else asks for one that nobody has, and likewise for each of them.
fn before<'a>(service: &'a Value, nodes: &BTreeSet<IpAddr>, cache: &'a Cache) -> Vec<&'a Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![service];
    while let Some(service) = open.pop() {
        for claim in claims(service, &addresses(service, nodes)) {
            let mut others = cache.found_by(&holds(&claim)).peekable();
            let others: Vec<_> = if others.peek().is_some() { others.collect() } else { cache.found_by(&asks(&claim)).collect() };
            for (_, other) in others {
                if standing(other) < standing(service) && found.insert(standing(other), &**other).is_none() {
                    open.push(other);
                }
            }
        }
    }
    found.into_values().collect()
}

fn words(kind: &Kind, service: &Value) -> Vec<String> {
    if *kind != kinds::SERVICE || !is_ours(service) {
        return Vec::new();
    }
    let asked = ports(service).map(|(protocol, port)| asks_for(protocol, port));
    let granted =
        if has_been_granted(service) { ingress(service).filter_map(|it| json::text(&it["ip"]).parse().ok()).collect() } else { Vec::new() };
    let kept: Vec<IpAddr> = granted.into_iter().filter(|ip| may_have(service, *ip)).collect();
    asked.chain(claims(service, &kept).map(|claim| holds(&claim))).collect()
}

/// The word of a Service whose status says that it has this, and that still asks for it.
fn holds((ip, protocol, port): &Claim) -> String {
    format!("holds {port}/{protocol} of {ip}")
}

/// The word of a Service that may ask for this, at some address.
fn asks((_, protocol, port): &Claim) -> String {
    asks_for(protocol, *port)
}

fn asks_for(protocol: &str, port: u64) -> String {
    format!("asks for {port}/{protocol}")
}

fn is_ours(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer" && service["spec"]["loadBalancerClass"].is_null()
}

/// Whether the address is of a family of the Service, and the one that it names if it names one.
fn may_have(service: &Value, ip: IpAddr) -> bool {
    let asked = json::text(&service["spec"]["loadBalancerIP"]);
    slices::families(service).contains(&family(ip)) && (asked.is_empty() || asked.parse() == Ok(ip))
}

/// Those of the nodes' addresses that the Service may have.
fn addresses(service: &Value, nodes: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    nodes.iter().copied().filter(|ip| may_have(service, *ip)).collect()
}

/// The addresses by which nodes are reached from outside, else those by which they reach one another.
fn node_addresses(cache: &Cache) -> BTreeSet<IpAddr> {
    let of = |node: &Value, address_type: &str| -> Vec<IpAddr> {
        let all = node["status"]["addresses"].as_array().into_iter().flatten();
        all.filter(|it| it["type"] == address_type).filter_map(|it| json::text(&it["address"]).parse().ok()).collect()
    };
    let nodes = cache.all(&kinds::NODE).filter(|node| json::label(node, EXCLUDED).is_none());
    let addresses = nodes.flat_map(|node| {
        let external = of(node, "ExternalIP");
        if external.is_empty() { of(node, "InternalIP") } else { external }
    });
    addresses.collect()
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Protocol and port of each port.
fn ports(service: &Value) -> impl Iterator<Item = (&str, u64)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| Some((port["protocol"].as_str().unwrap_or("TCP"), port["port"].as_u64()?)))
}

fn claims<'a>(service: &'a Value, addresses: &'a [IpAddr]) -> impl Iterator<Item = Claim> + 'a {
    addresses.iter().flat_map(|ip| ports(service).map(|(protocol, port)| (*ip, protocol.to_string(), port)))
}

/// Whether the status says that it has all the ports it wants.
fn has_been_granted(service: &Value) -> bool {
    let mut entries = ingress(service).peekable();
    let granted = |entry: &Value, (protocol, port): (&str, u64)| {
        entry["ports"].as_array().into_iter().flatten().any(|it| it["port"] == port && it["protocol"] == protocol)
    };
    entries.peek().is_some() && entries.all(|entry| ports(service).all(|port| granted(entry, port)))
}

fn ingress(service: &Value) -> impl Iterator<Item = &Value> {
    service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten()
}

/// Whether what listens at `at` listens on `address`.
fn meets(at: IpAddr, address: IpAddr) -> bool {
    match at {
        // A wildcard of IPv6 takes IPv4 as well (ipv6(7), IPV6_V6ONLY).
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => address.is_ipv4(),
        at => at == address,
    }
}

fn grant(service: &Value, addresses: &[IpAddr], plan: &mut Plan) {
    let ports: Vec<_> = ports(service).map(|(protocol, port)| json!({"port": port, "protocol": protocol})).collect();
    let wanted = addresses.iter().map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP", "ports": ports})).collect();
    let at = |ip: &Value| json::text(&ip["ip"]).to_string();
    let (before, after): (Vec<_>, Vec<_>) = (ingress(service).map(at).collect(), addresses.iter().map(IpAddr::to_string).collect());
    if write(service, wanted, None, plan) && before != after {
        plan.event(service, "EnsuredLoadBalancer", format!("Ensured load balancer at {}", after.join(", ")));
    }
}

fn wait(service: &Value, reason: &'static str, message: String, now: SystemTime, plan: &mut Plan) {
    let known = json::condition(service, PENDING);
    let is_told = known.is_some_and(|known| known["message"] == message);
    let since = known.map_or_else(|| json::timestamp(now), |known| known["lastTransitionTime"].clone());
    let condition = json!({"type": PENDING, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    if write(service, Vec::new(), Some(condition), plan) && !is_told {
        let event = Event::new(service, "SyncLoadBalancerFailed", format!("Error syncing load balancer: {message}"));
        plan.write(Write::Event(Event { warning: true, ..event }));
    }
}

/// Writes the status if it is another; whether it is.
fn write(service: &Value, wanted: Vec<Value>, pending: Option<Value>, plan: &mut Plan) -> bool {
    let known = service["status"]["conditions"].as_array().into_iter().flatten();
    let conditions: Vec<_> = known.filter(|it| it["type"] != PENDING).cloned().chain(pending).collect();
    let is_same = ingress(service).eq(&wanted)
        && service["status"]["conditions"].as_array().map_or(conditions.is_empty(), |known| *known == conditions);
    if is_same {
        return false;
    }
    let mut object = service.clone();
    object["status"]["loadBalancer"] = if wanted.is_empty() { json!({}) } else { json!({"ingress": wanted}) };
    object["status"]["conditions"] = conditions.into();
    plan.write(Write::UpdateStatus { kind: &kinds::SERVICE, object });
    true
}

#[cfg(test)]
mod tests;
