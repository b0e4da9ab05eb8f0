//! ReplicaSet: as many Pods of one template as it says.
//!
//! Owns which Pods belong to a ReplicaSet (adopting those that match and have no controller, releasing those that no longer match),
//! how many are missing, and which go first. Source: kubernetes `pkg/controller/replicaset` and `controller_utils.go`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::Kind;
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Event, Plan, Propagation, Write};
use crate::{Controller, json, kinds, pods};

/// At most this many Pods are made or deleted for one look at a ReplicaSet; the next look follows at once.
const BURST: usize = 500;

pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 2] = [&kinds::REPLICA_SET, &kinds::POD];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        if *kind == kinds::REPLICA_SET {
            return vec![Key::of(object)];
        }
        match json::controller(object) {
            Some(owner) if owner["kind"] == "ReplicaSet" => vec![Key::new(json::namespace(object), json::text(&owner["name"]))],
            Some(_) => Vec::new(),
            // Nobody's: whoever would take it.
            None => cache
                .in_namespace(&kinds::REPLICA_SET, json::namespace(object))
                .filter(|set| json::selects(&set["spec"]["selector"], object))
                .map(|set| Key::of(set))
                .collect(),
        }
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let Some(set) = cache.get(&kinds::REPLICA_SET, key) else { return plan };
        let owned = claim(set, cache, &mut plan);
        let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        if !json::is_deleting(set) {
            scale(set, &active, cache, &mut plan);
        }
        status(set, &owned, &active, now, &mut plan);
        plan
    }
}

/// The Pods of `set`, with the writes that make owner references say so.
fn claim(set: &Arc<Value>, cache: &Cache, plan: &mut Plan) -> Vec<Arc<Value>> {
    let selector = &set["spec"]["selector"];
    let mut owned = Vec::new();
    for pod in cache.in_namespace(&kinds::POD, json::namespace(set)) {
        let matches = json::selects(selector, pod);
        match json::controller(pod) {
            Some(owner) if owner["uid"] == json::uid(set) => {
                if matches || json::is_deleting(set) {
                    owned.push(pod.clone());
                } else {
                    plan.write(Write::set_controller(&kinds::POD, pod, None));
                }
            }
            None if matches && pods::is_active(pod) && !json::is_deleting(set) => {
                plan.write(Write::set_controller(&kinds::POD, pod, Some(set)));
                owned.push(pod.clone());
            }
            _ => {}
        }
    }
    owned
}

fn scale(set: &Arc<Value>, active: &[Arc<Value>], cache: &Cache, plan: &mut Plan) {
    let wanted = usize::try_from(json::count(&set["spec"]["replicas"])).unwrap_or(0);
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(BURST);
        for _ in 0..missing {
            let event = Event::new(set, "SuccessfulCreate", "Created pod: ");
            plan.write(Write::Create { kind: &kinds::POD, object: pod_of(set), event: Some(event) });
        }
    } else if active.len() > wanted {
        let mut candidates = active.to_vec();
        let mut on_node: HashMap<&str, usize> = HashMap::new();
        for pod in cache.controlled_by(&kinds::POD, set).filter(|pod| pods::is_active(pod)) {
            *on_node.entry(json::text(&pod["spec"]["nodeName"])).or_default() += 1;
        }
        candidates.sort_by_cached_key(|pod| (deletion_rank(pod, &on_node), json::name(pod).to_string()));
        for pod in candidates.iter().take((active.len() - wanted).min(BURST)) {
            plan.write(Write::delete(&kinds::POD, pod, Propagation::Background));
            plan.event(set, "SuccessfulDelete", format!("Deleted pod: {}", json::name(pod)));
        }
    }
}

/// A Pod of the set's template; the API gives it a name.
fn pod_of(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata.insert(field.to_string(), template["metadata"][field].clone());
        }
    }
    metadata.insert("generateName".to_string(), format!("{}-", json::name(set)).into());
    metadata.insert("namespace".to_string(), json::namespace(set).into());
    metadata.insert("ownerReferences".to_string(), json!([json::controller_reference(set)]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Who goes first: the smaller, the sooner. Unassigned before assigned, pending before running, not ready before ready, lower
/// deletion cost, nodes that hold more of the set's Pods (`on_node` counts them), ready for a shorter time, younger.
fn deletion_rank(pod: &Value, on_node: &HashMap<&str, usize>) -> impl Ord + use<> {
    let phase = match json::text(&pod["status"]["phase"]) {
        "Running" => 2,
        "Pending" | "" => 0,
        _ => 1,
    };
    let cost: i64 = json::annotation(pod, "controller.kubernetes.io/pod-deletion-cost").and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let node = &pod["spec"]["nodeName"];
    let neighbours = on_node.get(json::text(node)).copied().unwrap_or(0);
    let age = |time: Option<SystemTime>| Reverse(time.unwrap_or(SystemTime::UNIX_EPOCH));
    (
        node.is_string(),
        phase,
        pods::is_ready(pod),
        cost,
        Reverse(neighbours),
        age(pods::ready_since(pod)),
        age(json::time(&pod["metadata"]["creationTimestamp"])),
    )
}

fn status(set: &Arc<Value>, owned: &[Arc<Value>], active: &[Arc<Value>], now: SystemTime, plan: &mut Plan) {
    let template_labels = set["spec"]["template"]["metadata"]["labels"].clone();
    let min_ready = Duration::from_secs(set["spec"]["minReadySeconds"].as_u64().unwrap_or(0));
    let count = |what: &dyn Fn(&Value) -> bool| active.iter().filter(|pod| what(pod)).count();
    for wait in active.iter().filter_map(|pod| pods::available_in(pod, min_ready, now)) {
        plan.again_after(wait);
    }
    let mut status = Map::new();
    let mut say = |field: &str, n: usize| {
        if n > 0 {
            status.insert(field.to_string(), n.into());
        }
    };
    say("fullyLabeledReplicas", count(&|pod| template_labels.is_null() || json::covers(&template_labels, pod)));
    say("readyReplicas", count(&pods::is_ready));
    say("availableReplicas", count(&|pod| pods::is_available(pod, min_ready, now)));
    status.insert("replicas".to_string(), active.len().into());
    let terminating = owned.iter().filter(|pod| json::is_deleting(pod) && !pods::has_ended(pod)).count();
    status.insert("terminatingReplicas".to_string(), terminating.into());
    status.insert("observedGeneration".to_string(), set["metadata"]["generation"].clone());
    if let Some(conditions) = set["status"].get("conditions") {
        status.insert("conditions".to_string(), conditions.clone());
    }
    let status = Value::Object(status);
    if status != set["status"] {
        let mut object = Value::clone(set);
        object["status"] = status;
        plan.write(Write::UpdateStatus { kind: &kinds::REPLICA_SET, object });
    }
}

#[cfg(test)]
mod tests;
