//! EndpointSlices that mirror hand-written Endpoints of Services without a selector, so that proxies need to read slices alone.
//!
//! Source: kubernetes `pkg/controller/endpointslicemirroring`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use api::Kind;
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Plan, Propagation, Write};
use crate::slices::arrange::{self, Group, Owner};
use crate::slices::{self, MANAGED_BY, SERVICE_NAME};
use crate::{Controller, json, kinds};

const OWNER: Owner = Owner { managed_by: "endpointslicemirroring-controller.k8s.io", keeps_placeholder: false, copies_annotations: true };

/// Of each subset this many addresses are mirrored (`--mirroring-max-endpoints-per-subset`), in slices of the same size.
const MAX_ENDPOINTS: usize = 1_000;

/// Says that these Endpoints are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Old leader election kept its record in Endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub struct Mirrors;

impl Controller for Mirrors {
    fn name(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 3] = [&kinds::SERVICE, &kinds::ENDPOINTS, &kinds::ENDPOINT_SLICE];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, _cache: &Cache) -> Vec<Key> {
        if *kind != kinds::ENDPOINT_SLICE {
            return vec![Key::of(object)];
        }
        let service = json::label(object, SERVICE_NAME).filter(|_| json::label(object, MANAGED_BY) == Some(OWNER.managed_by));
        service.map(|service| Key::new(json::namespace(object), service)).into_iter().collect()
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let service = cache.get(&kinds::SERVICE, key).filter(|service| !json::is_deleting(service));
        let endpoints = cache.get(&kinds::ENDPOINTS, key).filter(|endpoints| is_mirrored(endpoints));
        match (service, endpoints) {
            (Some(service), Some(endpoints)) if !slices::has_selector(service) => {
                for family in ["IPv4", "IPv6"] {
                    let existing = arrange::existing(cache, service, OWNER.managed_by, family);
                    let groups = groups(endpoints, family);
                    arrange::write(&OWNER, endpoints, endpoints, family, groups, &existing, MAX_ENDPOINTS, now, &mut plan);
                }
            }
            _ => remove(key, cache, &mut plan),
        }
        plan
    }
}

/// Nothing is mirrored (any more) under `key`.
fn remove(key: &Key, cache: &Cache, plan: &mut Plan) {
    let slices = cache.in_namespace(&kinds::ENDPOINT_SLICE, &key.namespace);
    let own = slices.filter(|slice| json::label(slice, MANAGED_BY) == Some(OWNER.managed_by));
    for slice in own.filter(|slice| json::label(slice, SERVICE_NAME) == Some(&key.name) && !json::is_deleting(slice)) {
        plan.write(Write::delete(&kinds::ENDPOINT_SLICE, slice, Propagation::Background));
    }
}

fn is_mirrored(endpoints: &Value) -> bool {
    json::label(endpoints, SKIP) != Some("true") && json::annotation(endpoints, LEADER).is_none() && !json::is_deleting(endpoints)
}

/// One group for all subsets whose ports are equal.
fn groups(endpoints: &Value, family: &str) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports: Vec<_> = subset["ports"].as_array().into_iter().flatten().map(port).collect();
        let ready = subset["addresses"].as_array().into_iter().flatten().map(|address| (address, true));
        let not_ready = subset["notReadyAddresses"].as_array().into_iter().flatten().map(|address| (address, false));
        let found: Vec<_> = ready
            .chain(not_ready)
            .filter(|(address, _)| slices::is_of(json::text(&address["ip"]), family))
            .take(MAX_ENDPOINTS)
            .map(|(address, ready)| endpoint(address, ready))
            .collect();
        if !found.is_empty() {
            let group = groups.entry(Value::from(ports.clone()).to_string()).or_insert(Group { ports, endpoints: Vec::new() });
            group.endpoints.extend(found);
        }
    }
    groups.into_values().collect()
}

fn port(port: &Value) -> Value {
    let mut mirrored = port.clone();
    mirrored["name"] = json::text(&port["name"]).into();
    mirrored
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = Map::new();
    endpoint.insert("addresses".to_string(), json!([address["ip"]]));
    endpoint.insert("conditions".to_string(), json!({"ready": ready}));
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(field) {
            endpoint.insert(field.to_string(), value.clone());
        }
    }
    Value::Object(endpoint)
}

#[cfg(test)]
mod tests;
