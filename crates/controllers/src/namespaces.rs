//! Namespaces that go away: emptied first, Pods before all else, then let go.
//!
//! Source: kubernetes `pkg/controller/namespace/deletion` and KEP-5080 (ordered deletion).

use std::time::SystemTime;

use api::Kind;
use serde_json::{Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Plan, Write};
use crate::{Controller, json, kinds};

/// The finalizer in `spec` that this controller takes away.
const KUBERNETES: &str = "kubernetes";

pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        &kinds::COLLECTED
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        let name = if *kind == kinds::NAMESPACE { json::name(object) } else { json::namespace(object) };
        let goes = cache.named(&kinds::NAMESPACE, "", name).is_some_and(|namespace| json::is_deleting(namespace));
        if goes { vec![Key::new("", name)] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let Some(namespace) = cache.get(&kinds::NAMESPACE, key).filter(|namespace| json::is_deleting(namespace)) else { return plan };
        let finalizers = namespace["spec"]["finalizers"].as_array();
        if !finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == KUBERNETES)) {
            return plan;
        }
        let holds = |kind: &Kind| cache.in_namespace(kind, &key.name).count();
        let left: Vec<_> = kinds::NAMESPACED.into_iter().map(|kind| (kind, holds(kind))).filter(|(_, n)| *n > 0).collect();
        let pods_left = left.first().is_some_and(|(kind, _)| **kind == kinds::POD);
        let in_turn = if pods_left { &left[..1] } else { &left[..] };
        for (kind, _) in in_turn {
            // Objects on their way out need no second push.
            if cache.in_namespace(kind, &key.name).any(|object| !json::is_deleting(object)) {
                plan.write(Write::DeleteAll { kind, namespace: key.name.clone() });
            }
        }
        if !left.is_empty() {
            tell(namespace, &left, now, &mut plan);
            return plan;
        }
        for kind in kinds::UNSEEN {
            plan.write(Write::DeleteAll { kind, namespace: key.name.clone() });
        }
        for kind in kinds::NAMESPACED.into_iter().chain(kinds::UNSEEN) {
            plan.write(Write::CheckEmpty { kind, namespace: key.name.clone() });
        }
        let mut last = Value::clone(namespace);
        if let Some(finalizers) = last["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|finalizer| finalizer != KUBERNETES);
        }
        plan.write(Write::Finalize { namespace: last });
        plan
    }
}

/// Says in the status what the namespace still holds.
fn tell(namespace: &Value, left: &[(&'static Kind, usize)], now: SystemTime, plan: &mut Plan) {
    let counts: Vec<_> = left.iter().map(|(kind, n)| format!("{} has {n} resource instances", resource(kind))).collect();
    let message = format!("Some resources are remaining: {}", counts.join(", "));
    let known = json::condition(namespace, "NamespaceContentRemaining");
    if known.is_some_and(|known| known["message"] == message) {
        return;
    }
    let others = namespace["status"]["conditions"].as_array().into_iter().flatten();
    let mut conditions: Vec<_> = others.filter(|condition| condition["type"] != "NamespaceContentRemaining").cloned().collect();
    let since = known.map_or_else(|| json::timestamp(now), |known| known["lastTransitionTime"].clone());
    conditions.push(json!({
        "type": "NamespaceContentRemaining",
        "status": "True",
        "reason": "SomeResourcesRemain",
        "message": message,
        "lastTransitionTime": since,
    }));
    let mut object = namespace.clone();
    object["status"]["conditions"] = conditions.into();
    plan.write(Write::UpdateStatus { kind: &kinds::NAMESPACE, object });
}

/// `deployments.apps`, `pods.`: as the real controller writes it.
fn resource(kind: &Kind) -> String {
    format!("{}.{}", kind.plural, kind.group)
}

#[cfg(test)]
mod tests;
