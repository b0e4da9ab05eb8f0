//! EndpointSlices of Services with a selector: one endpoint for each Pod that it covers.
//!
//! Owns what a Pod looks like as an endpoint. How endpoints are dealt out to slices stands in `arrange`, which mirroring uses as
//! well. Source: kubernetes `staging/src/k8s.io/endpointslice` and KEP-0752, KEP-2433, KEP-3015.

pub(crate) mod arrange;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use api::Kind;
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Key};
use crate::plan::Plan;
use crate::{Controller, json, kinds, pods};
use arrange::{Group, Owner};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A slice of this controller holds at most this many endpoints (`--max-endpoints-per-slice`).
const MAX_ENDPOINTS: usize = 100;

pub struct Slices;

impl Controller for Slices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 4] = [&kinds::SERVICE, &kinds::POD, &kinds::NODE, &kinds::ENDPOINT_SLICE];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        if *kind == kinds::SERVICE {
            return vec![Key::of(object)];
        }
        if *kind == kinds::ENDPOINT_SLICE {
            let service = json::label(object, SERVICE_NAME).filter(|_| json::label(object, MANAGED_BY) == Some(OWNER.managed_by));
            return service.map(|service| Key::new(json::namespace(object), service)).into_iter().collect();
        }
        if *kind == kinds::POD {
            return services_of(object, cache);
        }
        // A Node's zone shows in the slices of everything that runs there.
        let mut keys: Vec<_> = cache
            .all(&kinds::POD)
            .filter(|pod| pod["spec"]["nodeName"] == json::name(object))
            .flat_map(|pod| services_of(pod, cache))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let service = cache.get(&kinds::SERVICE, key).filter(|service| !json::is_deleting(service));
        // Without its Service a slice goes by its owner reference.
        let Some(service) = service.filter(|service| has_selector(service)) else { return plan };
        for family in families(service) {
            let existing = arrange::existing(cache, service, OWNER.managed_by, family);
            let groups = groups(service, family, cache);
            arrange::write(&OWNER, service, service, family, groups, &existing, MAX_ENDPOINTS, now, &mut plan);
        }
        plan
    }
}

const OWNER: Owner = Owner { managed_by: "endpointslice-controller.k8s.io", keeps_placeholder: true, copies_annotations: false };

/// The Services whose selector covers `pod`.
pub(crate) fn services_of(pod: &Value, cache: &Cache) -> Vec<Key> {
    cache
        .in_namespace(&kinds::SERVICE, json::namespace(pod))
        .filter(|service| has_selector(service) && json::covers(&service["spec"]["selector"], pod))
        .map(|service| Key::of(service))
        .collect()
}

pub(crate) fn has_selector(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName" && service["spec"]["selector"].as_object().is_some_and(|it| !it.is_empty())
}

/// `IPv4` or `IPv6`, the Service's first family first.
pub(crate) fn families(service: &Value) -> Vec<&str> {
    let families = service["spec"]["ipFamilies"].as_array().into_iter().flatten();
    families.map(json::text).collect()
}

/// The Pods that a Service covers and that can be endpoints: not ended, with an address of `family`.
pub(crate) fn members<'a>(service: &'a Value, family: &'a str, cache: &'a Cache) -> impl Iterator<Item = (&'a Arc<Value>, String)> {
    cache
        .in_namespace(&kinds::POD, json::namespace(service))
        .filter(|pod| json::covers(&service["spec"]["selector"], pod) && !pods::has_ended(pod))
        .filter_map(move |pod| Some((pod, address(pod, family)?)))
}

fn address(pod: &Value, family: &str) -> Option<String> {
    let addresses = pod["status"]["podIPs"].as_array()?.iter().map(|ip| json::text(&ip["ip"]));
    addresses.filter(|ip| is_of(ip, family)).map(str::to_string).next()
}

pub(crate) fn is_of(address: &str, family: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(_)) => family == "IPv4",
        Ok(IpAddr::V6(_)) => family == "IPv6",
        Err(_) => false,
    }
}

/// The ports of `service` as `pod` has them: a named target port may be another number in each Pod, or be missing.
pub(crate) fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let wanted = service["spec"]["ports"].as_array().into_iter().flatten();
    wanted
        .filter_map(|port| {
            let number = match &port["targetPort"] {
                Value::String(name) => named_port(pod, name, &port["protocol"])?,
                Value::Number(number) if number.as_u64() != Some(0) => number.as_u64()?,
                _ => port["port"].as_u64()?,
            };
            let mut found = Map::new();
            found.insert("name".to_string(), json::text(&port["name"]).into());
            found.insert("protocol".to_string(), port["protocol"].clone());
            found.insert("port".to_string(), number.into());
            if let Some(protocol) = port.get("appProtocol") {
                found.insert("appProtocol".to_string(), protocol.clone());
            }
            Some(Value::Object(found))
        })
        .collect()
}

fn named_port(pod: &Value, name: &str, protocol: &Value) -> Option<u64> {
    let init = pod["spec"]["initContainers"].as_array().into_iter().flatten().filter(|container| container["restartPolicy"] == "Always");
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten().chain(init);
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.find(|port| port["name"] == name && port["protocol"] == *protocol)?["containerPort"].as_u64()
}

/// What the slices of one family should hold: Pods with equal ports stand together.
fn groups(service: &Value, family: &str, cache: &Cache) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (pod, address) in members(service, family, cache) {
        let ports = ports(service, pod);
        let group = groups.entry(Value::from(ports.clone()).to_string()).or_insert_with(|| Group { ports, endpoints: Vec::new() });
        group.endpoints.push(endpoint(service, pod, address, cache));
    }
    groups.into_values().collect()
}

fn endpoint(service: &Value, pod: &Value, address: String, cache: &Cache) -> Value {
    let terminating = json::is_deleting(pod);
    let serving = pods::is_ready(pod);
    let ready = service["spec"]["publishNotReadyAddresses"] == true || serving && !terminating;
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": json::namespace(pod), "name": json::name(pod), "uid": json::uid(pod)},
    });
    if let Some(hostname) = hostname(service, pod) {
        endpoint["hostname"] = hostname.into();
    }
    let node_name = json::text(&pod["spec"]["nodeName"]);
    if !node_name.is_empty() {
        endpoint["nodeName"] = node_name.into();
        let zone = cache.named(&kinds::NODE, "", node_name).and_then(|node| json::label(node, ZONE)).filter(|zone| !zone.is_empty());
        if let Some(zone) = zone {
            endpoint["zone"] = zone.into();
        }
        // KEP-3015: the endpoint's own zone (and node) is the hint; the proxy falls back by itself where none is near.
        let hints = match (json::text(&service["spec"]["trafficDistribution"]), zone) {
            ("PreferSameNode", Some(zone)) => json!({"forNodes": [{"name": node_name}], "forZones": [{"name": zone}]}),
            ("PreferSameNode", None) => json!({"forNodes": [{"name": node_name}]}),
            ("PreferClose" | "PreferSameZone", Some(zone)) => json!({"forZones": [{"name": zone}]}),
            _ => Value::Null,
        };
        if ready && !hints.is_null() {
            endpoint["hints"] = hints;
        }
    }
    endpoint
}

/// A Pod that names the Service as its subdomain has a name of its own under it.
pub(crate) fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let named = pod["spec"]["subdomain"] == json::name(service);
    Some(json::text(&pod["spec"]["hostname"])).filter(|hostname| named && !hostname.is_empty())
}

#[cfg(test)]
mod tests;
