//! Giving out addresses and ports.
//!
//! Each range has a static band at its start, which is given out by itself only when all the rest is taken, so that numbers that people choose
//! rarely clash with those that the server chooses.
//!
//! Source: KEP-3070 (ClusterIP bands), KEP-3668 (node port bands), KEP-1880 (IPAddress).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::spec::{Spec, claim, needs_cluster_ip, needs_health_check_port, needs_node_port, node_ports_used};
use crate::hooks::service_cidr;
use crate::hooks::world::World;
use crate::names;
use crate::refusal::Refusal;
use crate::schema::Gvk;
use crate::value::Get;

const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// min(max(16, size/32), 128) of 2,768 ports.
const NODE_PORT_BAND: u32 = 86;

const TAKEN: &str = "provided port is already allocated";
const OUT_OF_RANGE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";

pub(super) fn cluster_ips(world: &mut World<'_, '_>, name: &str, spec: &mut Spec, before: Option<&Spec>) -> Result<(), Refusal> {
    let is_headless = spec.texts("clusterIPs").first() == Some(&"None");
    if !needs_cluster_ip(spec) || is_headless {
        return Ok(());
    }
    let held: Vec<&str> = before.filter(|before| needs_cluster_ip(before)).map(|before| before.texts("clusterIPs")).unwrap_or_default();
    // An address may not change once it is set: validation tells.
    if held.first().is_some_and(|held| spec.texts("clusterIPs").first() != Some(held)) {
        return Ok(());
    }
    let families: Vec<String> = spec.texts("ipFamilies").into_iter().map(str::to_owned).collect();
    let asked: Vec<String> = spec.texts("clusterIPs").into_iter().map(str::to_owned).collect();
    let mut given: Vec<String> = Vec::new();
    for (at, family) in families.iter().enumerate() {
        match asked.get(at) {
            Some(ip) if held.contains(&ip.as_str()) => given.push(ip.clone()),
            Some(ip) => {
                check_asked(world, name, &asked, ip)?;
                given.push(ip.clone());
            }
            None => {
                let nets = service_cidr::ranges(world, family == "IPv4");
                let ip = nets.into_iter().find_map(|net| free_ip(world, net, &given));
                let ip = ip.ok_or_else(|| Refusal::internal("failed to allocate a serviceIP: range is full"))?;
                given.push(ip.to_string());
            }
        }
    }
    // More addresses than families: validation tells.
    given.extend(asked.into_iter().skip(given.len()));
    if let Some(first) = given.first() {
        spec.insert("clusterIP".to_owned(), first.clone().into());
        spec.insert("clusterIPs".to_owned(), json!(given));
    }
    Ok(())
}

/// Whether an address that the client chose can be had.
fn check_asked(world: &World<'_, '_>, name: &str, asked: &[String], ip: &str) -> Result<(), Refusal> {
    // What is no address, validation tells.
    let Ok(address) = ip.parse::<IpAddr>() else { return Ok(()) };
    let refuse = |text: String| {
        let message = format!("Invalid value: {}: failed to allocate IP {ip}: {text}", json!(asked));
        Err(Refusal::invalid_field(&Gvk::new("", "v1", "Service"), name, "FieldValueInvalid", "spec.clusterIPs", message))
    };
    let nets = service_cidr::ranges(world, address.is_ipv4());
    let Some(net) = nets.first() else { return Ok(()) };
    if !nets.iter().any(|net| usable(*net).contains(&number(address))) {
        return refuse(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}"));
    }
    if world.txn.get(world.ip_addresses(), &address.to_string()).is_some() {
        return refuse("provided IP is already allocated".to_owned());
    }
    Ok(())
}

/// A free address, of the upper band if there is one.
fn free_ip(world: &World<'_, '_>, net: IpNet, given: &[String]) -> Option<IpAddr> {
    let range = usable(net);
    let size = range.end.saturating_sub(range.start);
    let band = (size / 16).clamp(16, 256).min(size);
    let taken = |number: &u128| {
        let ip = address(net, *number).to_string();
        given.contains(&ip) || world.txn.get(world.ip_addresses(), &ip).is_some()
    };
    let upper = range.start + band..range.end;
    // Likely free at once; the search from there on ends after one round.
    let room = u32::try_from(upper.end - upper.start).unwrap_or(u32::MAX);
    let start = upper.start + u128::from(if room == 0 { 0 } else { names::below(room) });
    let numbers = (start..upper.end).chain(upper.start..start).chain(range.start..upper.start);
    // An IPv6 range never fills: a bound keeps a pathological search short.
    numbers.take(1 << 20).find(|number| !taken(number)).map(|number| address(net, number))
}

/// All addresses but the network's own and, in IPv4, the broadcast address.
fn usable(net: IpNet) -> std::ops::Range<u128> {
    let (first, last) = (number(net.network()), number(net.broadcast()));
    if net.addr().is_ipv4() { first + 1..last } else { first + 1..last.saturating_add(1) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(net: IpNet, number: u128) -> IpAddr {
    match net {
        IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// A node port that a port of the Service at hand has.
struct Given {
    node_port: i64,
    port: i64,
    protocol: String,
}

pub(super) fn node_ports(
    world: &mut World<'_, '_>,
    owner: &str,
    name: &str,
    spec: &mut Spec,
    before: Option<&Spec>,
) -> Result<(), Refusal> {
    if !needs_node_port(spec) {
        return Ok(());
    }
    // What the Service has it may keep.
    let held: Vec<i64> = before.map(node_ports_used).unwrap_or_default();
    let asked_for: Vec<i64> = node_ports_used(spec).into_iter().chain([spec.int("healthCheckNodePort")]).collect();
    let mut given: Vec<Given> = Vec::new();
    for (at, port) in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        if !port.is_object() {
            continue;
        }
        let (number, protocol, asked) = (port.int("port"), port.text("protocol").to_owned(), port.int("nodePort"));
        if asked == 0 {
            // The same port in another protocol has the same number (DNS over UDP and TCP).
            let shared = given.iter().find(|other| other.port == number && other.protocol != protocol).map(|other| other.node_port);
            let taken = |port: i64| held.contains(&port) || asked_for.contains(&port) || given.iter().any(|other| other.node_port == port);
            let free = shared.or_else(|| free_port(world, taken));
            let node_port = free.ok_or_else(|| Refusal::internal("failed to allocate a nodePort: range is full"))?;
            port["nodePort"] = node_port.into();
            given.push(Given { node_port, port: number, protocol });
            continue;
        }
        let twice = given.iter().any(|other| other.node_port == asked && other.protocol == protocol);
        let is_mine = held.contains(&asked) || given.iter().any(|other| other.node_port == asked);
        let problem = if !NODE_PORTS.contains(&asked) && !held.contains(&asked) {
            Some(OUT_OF_RANGE)
        } else if twice || !is_mine && is_taken(world, owner, asked) {
            Some(TAKEN)
        } else {
            None
        };
        if let Some(problem) = problem {
            let (field, message) = (format!("spec.ports[{at}].nodePort"), format!("Invalid value: {asked}: {problem}"));
            return Err(Refusal::invalid_field(&Gvk::new("", "v1", "Service"), name, "FieldValueInvalid", &field, message));
        }
        given.push(Given { node_port: asked, port: number, protocol });
    }
    Ok(())
}

pub(super) fn health_check_port(world: &mut World<'_, '_>, owner: &str, spec: &mut Spec, before: Option<&Spec>) -> Result<(), Refusal> {
    if !needs_health_check_port(spec) {
        return Ok(());
    }
    let held = before.filter(|before| needs_health_check_port(before)).map_or(0, |before| before.int("healthCheckNodePort"));
    let (asked, used) = (spec.int("healthCheckNodePort"), node_ports_used(spec));
    if asked == 0 {
        let free = free_port(world, |port| used.contains(&port));
        let free = free.ok_or_else(|| Refusal::internal("failed to allocate a HealthCheck NodePort: range is full"))?;
        spec.insert("healthCheckNodePort".to_owned(), free.into());
        return Ok(());
    }
    let problem = if asked == held {
        return Ok(());
    } else if !NODE_PORTS.contains(&asked) {
        OUT_OF_RANGE
    } else if is_taken(world, owner, asked) || used.contains(&asked) {
        TAKEN
    } else {
        return Ok(());
    };
    Err(Refusal::internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {problem}")))
}

/// Whether another Service has the port.
fn is_taken(world: &World<'_, '_>, owner: &str, port: i64) -> bool {
    world.txn.holder(&claim(port)).is_some_and(|(_, holder)| **holder != *owner)
}

/// A port that no Service has, of the upper band if there is one.
fn free_port(world: &World<'_, '_>, taken: impl Fn(i64) -> bool) -> Option<i64> {
    let first = *NODE_PORTS.start() + i64::from(NODE_PORT_BAND);
    let start = first + i64::from(names::below((*NODE_PORTS.end() - first + 1) as u32));
    let all = (start..=*NODE_PORTS.end()).chain(first..start).chain(*NODE_PORTS.start()..first);
    all.into_iter().find(|port| !taken(*port) && world.txn.holder(&claim(*port)).is_none())
}
