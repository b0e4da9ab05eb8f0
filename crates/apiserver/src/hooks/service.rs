//! Services: cluster addresses and node ports, given in the transaction that writes the Service, and what changes with its type.
//!
//! An address is taken if an IPAddress of its name exists; a port if another Service claims it. Both are seen by the transaction, so nothing is
//! given twice and nothing leaks.
//!
//! Source: pkg/registry/core/service (strategy.go, storage/storage.go, storage/alloc.go).

mod allocate;
mod families;
mod spec;

use serde_json::{Value, json};

use self::spec::{Spec, claim, is_external, needs_cluster_ip, needs_health_check_port, needs_node_port, node_ports_used, same};
use super::ip_address;
use super::world::World;
use crate::refusal::Refusal;
use crate::store::key;
use crate::validate;
use crate::value::Get;

/// Node ports that a Service holds; no other may have them.
pub(super) fn claims(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let ports = spec.items("ports").iter().map(|port| port.int("nodePort"));
    let mut ports: Vec<i64> = ports.chain([spec.int("healthCheckNodePort")]).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into_iter().map(claim).collect()
}

/// Fills in what the client left to the server: kept values of the old Service, address families, addresses, ports.
pub(super) fn allocate(world: &mut World<'_, '_>, service: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    let faults = |service: &Value| {
        let causes = validate::cluster_ips(service, old);
        if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(&world.kind.gvk, service["metadata"].text("name"), &causes)) }
    };
    let owner = key(service["metadata"].text("namespace"), service["metadata"].text("name"));
    let name = service["metadata"].text("name").to_owned();
    let empty = Spec::new();
    let before = old.map(|old| old["spec"].as_object().unwrap_or(&empty));
    let Some(spec) = spec_of(service) else { return Ok(()) };
    if let Some(before) = before {
        keep_allocated(spec, before);
    }
    agree_on_cluster_ips(spec, before);
    families::fill(world.cluster, &name, spec, before)?;
    // What is wrong with the addresses that were asked for says more than that they cannot be had.
    faults(service)?;
    let Some(spec) = spec_of(service) else { return Ok(()) };
    allocate::cluster_ips(world, &name, spec, before)?;
    allocate::node_ports(world, &owner, &name, spec, before)?;
    allocate::health_check_port(world, &owner, spec, before)?;
    if let Some(before) = before {
        drop_what_the_type_lacks(spec, before);
    }
    Ok(())
}

fn spec_of(service: &mut Value) -> Option<&mut Spec> {
    service.get_mut("spec").and_then(Value::as_object_mut)
}

pub(super) fn prepare(service: &mut Value, old: Option<&Value>) {
    if old.is_none() {
        service["status"] = json!({"loadBalancer": {}});
    } else if service["spec"].text("type") != "LoadBalancer" && service["status"]["loadBalancer"].has("ingress") {
        service["status"]["loadBalancer"] = json!({});
    }
}

/// IPAddress objects follow the addresses of the Service.
pub(super) fn written(world: &mut World<'_, '_>, service: &Value, old: Option<&Value>) {
    let after = addresses(service);
    for ip in old.map(addresses).unwrap_or_default().iter().filter(|ip| !after.contains(ip)) {
        ip_address::release(world, ip);
    }
    for ip in after {
        ip_address::ensure(world, &ip, service);
    }
}

pub(super) fn removing(world: &mut World<'_, '_>, service: &Value) -> Result<(), Refusal> {
    for ip in addresses(service) {
        ip_address::release(world, &ip);
    }
    Ok(())
}

/// The addresses that a Service has from the pool; headless ones and external names have none.
fn addresses(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    if spec.text("type") == "ExternalName" {
        return Vec::new();
    }
    let ips = spec.texts("clusterIPs").into_iter();
    ips.filter(|ip| ip.parse::<std::net::IpAddr>().is_ok()).map(str::to_owned).collect()
}

/// What a client did not repeat is what it was (`patchAllocatedValues`).
fn keep_allocated(spec: &mut Spec, before: &Spec) {
    if needs_cluster_ip(before) && needs_cluster_ip(spec) {
        if spec.text("clusterIP").is_empty() && before.has("clusterIP") {
            spec.insert("clusterIP".to_owned(), before["clusterIP"].clone());
        }
        if spec.items("clusterIPs").is_empty() && same(spec, before, "clusterIP") && before.has("clusterIPs") {
            spec.insert("clusterIPs".to_owned(), before["clusterIPs"].clone());
        }
    }
    if needs_node_port(before) && needs_node_port(spec) {
        let kept: Vec<i64> = node_ports_used(spec).into_iter().filter(|port| node_ports_used(before).contains(port)).collect();
        let by_name = |name: &str| before.items("ports").iter().rfind(|port| port.text("name") == name).map(|port| port.int("nodePort"));
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let was = by_name(port.text("name")).unwrap_or_default();
            if port.int("nodePort") == 0 && was != 0 && !kept.contains(&was) && port.is_object() {
                port["nodePort"] = was.into();
            }
        }
    }
    if needs_health_check_port(before)
        && needs_health_check_port(spec)
        && spec.int("healthCheckNodePort") == 0
        && before.has("healthCheckNodePort")
    {
        spec.insert("healthCheckNodePort".to_owned(), before["healthCheckNodePort"].clone());
    }
}

/// `clusterIP` is the first of `clusterIPs`; whichever the client changed leads (`normalizeClusterIPs`).
fn agree_on_cluster_ips(spec: &mut Spec, before: Option<&Spec>) {
    let Some(before) = before else {
        if !spec.text("clusterIP").is_empty() && spec.items("clusterIPs").is_empty() {
            spec.insert("clusterIPs".to_owned(), json!([spec["clusterIP"]]));
        }
        return;
    };
    match (same(spec, before, "clusterIP"), same(spec, before, "clusterIPs")) {
        (false, true) if spec.text("clusterIP").is_empty() => {
            spec.remove("clusterIPs");
        }
        (false, true) => {
            spec.insert("clusterIPs".to_owned(), json!([spec["clusterIP"]]));
        }
        (true, false) if spec.items("clusterIPs").is_empty() => {
            spec.remove("clusterIP");
        }
        _ => {}
    }
}

/// A Service that changes its type loses what the new type has no use for, unless the client set it anew (`dropTypeDependentFields`).
fn drop_what_the_type_lacks(spec: &mut Spec, before: &Spec) {
    let drop_same = |spec: &mut Spec, field: &str| {
        if same(spec, before, field) {
            spec.remove(field);
        }
    };
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) {
        if same(spec, before, "clusterIPs") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            drop_same(spec, field);
        }
    }
    let ports = |spec: &Spec| spec.items("ports").iter().map(|port| port.int("nodePort")).collect::<Vec<_>>();
    if needs_node_port(before) && !needs_node_port(spec) && ports(spec) == ports(before) {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if needs_health_check_port(before) && !needs_health_check_port(spec) {
        drop_same(spec, "healthCheckNodePort");
    }
    if before.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        drop_same(spec, "allocateLoadBalancerNodePorts");
        drop_same(spec, "loadBalancerClass");
    }
    if is_external(before) && !is_external(spec) {
        drop_same(spec, "externalTrafficPolicy");
    }
}
