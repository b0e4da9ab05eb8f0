//! Endpoints of Services with a selector: the old form of slices, which old clients still read.
//!
//! One object a Service, of its first family, Pods that are ready and Pods that are not in lists of their own.
//! Source: kubernetes `pkg/controller/endpoint` and `pkg/api/v1/endpoints/util.go` (repacking of subsets).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use api::Kind;
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Plan, Propagation, Write};
use crate::slices::{self, HEADLESS};
use crate::{Controller, json, kinds, pods};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// More addresses are cut off, and an annotation says so: the objects would outgrow what the API stores.
const MAX_ADDRESSES: usize = 1_000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

pub struct EndpointsOfServices;

impl Controller for EndpointsOfServices {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 3] = [&kinds::SERVICE, &kinds::POD, &kinds::ENDPOINTS];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        if *kind == kinds::POD { slices::services_of(object, cache) } else { vec![Key::of(object)] }
    }

    fn reconcile(&self, key: &Key, cache: &Cache, _now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let existing = cache.get(&kinds::ENDPOINTS, key);
        let Some(service) = cache.get(&kinds::SERVICE, key) else {
            // Only its own: hand-written Endpoints outlive a Service that never had a selector.
            if let Some(existing) = existing.filter(|it| json::label(it, MANAGED_BY) == Some(MANAGER)) {
                plan.write(Write::delete(&kinds::ENDPOINTS, existing, Propagation::Background));
            }
            return plan;
        };
        if !slices::has_selector(service) || json::is_deleting(service) {
            return plan;
        }
        let Some(family) = slices::families(service).first().copied() else { return plan };
        let (subsets, cut) = subsets(service, family, cache);
        let wanted = object(service, subsets, cut);
        match existing {
            None => plan.write(Write::Create { kind: &kinds::ENDPOINTS, object: wanted, event: None }),
            Some(existing) => update(existing, wanted, &mut plan),
        }
        plan
    }
}

fn object(service: &Value, subsets: Vec<Value>, cut: bool) -> Value {
    let mut labels = json::labels(service);
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.to_string(), MANAGER.into());
    if service["spec"]["clusterIP"] == "None" {
        labels.insert(HEADLESS.to_string(), "".into());
    }
    let mut metadata = json!({"name": json::name(service), "namespace": json::namespace(service), "labels": labels});
    if cut {
        metadata["annotations"] = json!({(OVER_CAPACITY): "truncated"});
    }
    let mut object = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata});
    if !subsets.is_empty() {
        object["subsets"] = subsets.into();
    }
    object
}

fn update(existing: &Arc<Value>, wanted: Value, plan: &mut Plan) {
    let same = existing["subsets"] == wanted["subsets"] && existing["metadata"]["labels"] == wanted["metadata"]["labels"];
    if same {
        return;
    }
    let mut object = Value::clone(existing);
    let Some(fields) = object.as_object_mut() else { return };
    fields.remove("subsets");
    if let Some(subsets) = wanted.get("subsets") {
        fields.insert("subsets".to_string(), subsets.clone());
    }
    object["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
    if wanted["metadata"].get("annotations").is_some() {
        object["metadata"]["annotations"][OVER_CAPACITY] = "truncated".into();
    }
    plan.write(Write::Update { kind: &kinds::ENDPOINTS, object });
}

/// Addresses by the ports that they have in common, ready and not ready apart.
#[derive(Default)]
struct Subset {
    ready: Vec<Value>,
    not_ready: Vec<Value>,
}

fn subsets(service: &Value, family: &str, cache: &Cache) -> (Vec<Value>, bool) {
    let takes_unready = service["spec"]["publishNotReadyAddresses"] == true;
    let mut by_ports: BTreeMap<String, (Vec<Value>, Subset)> = BTreeMap::new();
    let mut members: Vec<_> = slices::members(service, family, cache).filter(|(pod, _)| takes_unready || !json::is_deleting(pod)).collect();
    members.sort_by(|a, b| a.1.cmp(&b.1));
    let cut = members.len() > MAX_ADDRESSES;
    members.truncate(MAX_ADDRESSES);
    for (pod, ip) in members {
        let mut ports = slices::ports(service, pod);
        ports.iter_mut().for_each(without_empty_name);
        // A Pod without any of the named ports can serve nothing; a headless Service may have no ports at all.
        if ports.is_empty() && service["spec"]["ports"].as_array().is_some_and(|ports| !ports.is_empty()) {
            continue;
        }
        let (_, subset) = by_ports.entry(Value::from(ports.clone()).to_string()).or_insert_with(|| (ports, Subset::default()));
        let list = if takes_unready || pods::is_ready(pod) { &mut subset.ready } else { &mut subset.not_ready };
        list.push(address(service, pod, ip));
    }
    let subsets = by_ports.into_values().map(|(ports, subset)| {
        let mut object = Map::new();
        let mut say = |field: &str, list: Vec<Value>| {
            if !list.is_empty() {
                object.insert(field.to_string(), list.into());
            }
        };
        say("addresses", subset.ready);
        say("notReadyAddresses", subset.not_ready);
        say("ports", ports);
        Value::Object(object)
    });
    (subsets.collect(), cut)
}

fn without_empty_name(port: &mut Value) {
    if let Some(fields) = port.as_object_mut().filter(|fields| fields["name"] == "") {
        fields.remove("name");
    }
}

fn address(service: &Value, pod: &Value, ip: String) -> Value {
    let mut address = json!({
        "ip": ip,
        "targetRef": {"kind": "Pod", "namespace": json::namespace(pod), "name": json::name(pod), "uid": json::uid(pod)},
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        address["nodeName"] = node.into();
    }
    if let Some(hostname) = slices::hostname(service, pod) {
        address["hostname"] = hostname.into();
    }
    address
}

#[cfg(test)]
mod tests;
