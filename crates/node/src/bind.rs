//! The scheduler of one node: pods that nobody bound are bound here, or told why not.
//!
//! Source: the words of kube-scheduler's plugins NodeAffinity, TaintToleration, NodeUnschedulable, SchedulingGates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::{Event, EventType, Freshness, Key, Method, Own, Pace, Scope, follow};
use runtime::Backoff;
use runtime::time::Rfc3339;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::host::Shared;
use crate::spec::{Pod, Toleration};

const MAX_WAITING_EVENTS: usize = 256;

/// Whose pods these are: others have a scheduler of their own.
const SCHEDULER: &str = "default-scheduler";

struct Waiting {
    pod: Arc<Pod>,
    /// What it was told last.
    told: Option<String>,
    retry_at: Option<Instant>,
    retry: Backoff,
}

/// Binds pods until it is aborted.
pub(crate) async fn run(host: Shared) {
    let (events, mut unbound) = mpsc::channel(MAX_WAITING_EVENTS);
    let scope = Scope { fields: "spec.nodeName=".to_string(), ..Scope::default() };
    let lower = |pod: Own<Pod>| Arc::new(pod.contents);
    tokio::spawn(follow(host.client.clone(), scope, Pace::default(), Freshness::default(), lower, events));
    let (events, mut nodes) = mpsc::channel(MAX_WAITING_EVENTS);
    let scope = Scope { fields: format!("metadata.name={}", host.name), ..Scope::default() };
    let lower = |node: api::Node| node;
    tokio::spawn(follow(host.client.clone(), scope, Pace::default(), Freshness::default(), lower, events));
    let mut node: Option<api::Node> = None;
    let mut waiting: HashMap<Key, Waiting> = HashMap::new();
    loop {
        let due = waiting.values().filter_map(|waiting| waiting.retry_at).min();
        tokio::select! {
            Some(event) = unbound.recv() => hear(&mut waiting, event),
            Some(event) = nodes.recv() => {
                node = match event {
                    Event::Restarted { objects, .. } => objects.into_iter().next(),
                    Event::Applied(newest) => Some(newest),
                    Event::Deleted(_) => None,
                    Event::Broken(_) | Event::Absent(_) => node,
                };
                waiting.values_mut().for_each(|waiting| waiting.retry_at = Some(Instant::now()));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        for waiting in waiting.values_mut().filter(|waiting| waiting.retry_at.is_some_and(|at| at <= Instant::now())) {
            waiting.retry_at = None;
            try_bind(&host, node.as_ref(), waiting).await;
        }
    }
}

fn hear(waiting: &mut HashMap<Key, Waiting>, event: Event<Arc<Pod>>) {
    let mut put = |pod: Arc<Pod>| {
        if !matches!(pod.spec.scheduler_name.as_str(), SCHEDULER | "") || pod.metadata.deletion_timestamp.is_some() {
            waiting.remove(&key(&pod));
            return;
        }
        let retry = || Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let entry = waiting.entry(key(&pod)).or_insert_with(|| Waiting { pod: pod.clone(), told: None, retry_at: None, retry: retry() });
        entry.pod = pod;
        entry.retry_at = Some(Instant::now());
    };
    match event {
        Event::Restarted { objects, .. } => objects.into_iter().for_each(put),
        Event::Applied(pod) => put(pod),
        Event::Deleted(key) => {
            waiting.remove(&key);
        }
        Event::Broken(error) => warn!(%error, "a pod that waits for a node cannot be read"),
        Event::Absent(absence) => warn!(?absence, "pods that wait for a node cannot be followed"),
    }
}

fn key(pod: &Pod) -> Key {
    Key { namespace: pod.metadata.namespace.as_str().into(), name: pod.metadata.name.as_str().into() }
}

async fn try_bind(host: &Shared, node: Option<&api::Node>, waiting: &mut Waiting) {
    let pod = waiting.pod.clone();
    let meta = &pod.metadata;
    match fit(&pod, node) {
        Ok(()) => {
            let body = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": host.name},
            });
            let path = format!("/api/v1/namespaces/{}/pods/{}/binding", meta.namespace, meta.name);
            match host.client.call(Method::POST, &path, Some(("application/json", &body))).await {
                Ok(_) => {
                    let message = format!("Successfully assigned {}/{} to {}", meta.namespace, meta.name, host.name);
                    host.events.scheduling(&pod, EventType::Normal, "Scheduled", message);
                }
                // Deleted, or bound by somebody else.
                Err(error) if matches!(error.code(), Some(404 | 409)) => {}
                Err(error) => {
                    warn!(pod = %meta.name, namespace = %meta.namespace, %error, "a pod could not be bound, trying again");
                    waiting.retry_at = Some(Instant::now() + waiting.retry.delay());
                }
            }
        }
        Err(unfit) => {
            let message = unfit.to_string();
            if waiting.told.as_ref() == Some(&message) {
                return;
            }
            if !matches!(unfit, Unfit::Gated) {
                host.events.scheduling(&pod, EventType::Warning, "FailedScheduling", message.clone());
            }
            let now = Rfc3339(SystemTime::now()).to_string();
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": unfit.reason(), "message": message,
                "lastProbeTime": null, "lastTransitionTime": now,
            });
            let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
            let path = format!("/api/v1/namespaces/{}/pods/{}/status", meta.namespace, meta.name);
            match host.client.call(Method::PATCH, &path, Some(("application/strategic-merge-patch+json", &patch))).await {
                Ok(_) => waiting.told = Some(message),
                Err(error) if matches!(error.code(), Some(404 | 409)) => {}
                Err(_) => waiting.retry_at = Some(Instant::now() + waiting.retry.delay()),
            }
        }
    }
}

/// Why a pod does not go on this node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error("Scheduling is blocked due to non-empty scheduling gates")]
    Gated,
    #[error("no nodes available to schedule pods")]
    NoNode,
    #[error("0/1 nodes are available: 1 node(s) were unschedulable. {NOT_HELPFUL}")]
    Cordoned,
    #[error("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {NOT_HELPFUL}")]
    Selector,
    #[error("0/1 nodes are available: 1 node(s) had untolerated taint(s). {NOT_HELPFUL}")]
    Taint,
}

const NOT_HELPFUL: &str = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

impl Unfit {
    fn reason(&self) -> &'static str {
        match self {
            Unfit::Gated => "SchedulingGated",
            _ => "Unschedulable",
        }
    }
}

fn fit(pod: &Pod, node: Option<&api::Node>) -> Result<(), Unfit> {
    let spec = &pod.spec;
    if !spec.scheduling_gates.is_empty() {
        return Err(Unfit::Gated);
    }
    let node = node.ok_or(Unfit::NoNode)?;
    let tolerates = |key: &str, value: &str, effect: &str| spec.tolerations.iter().any(|toleration| toleration.covers(key, value, effect));
    if node.spec.unschedulable && !tolerates("node.kubernetes.io/unschedulable", "", "NoSchedule") {
        return Err(Unfit::Cordoned);
    }
    if !spec.node_selector.iter().all(|(key, value)| node.metadata.labels.get(key.as_str()).is_some_and(|label| **label == **value)) {
        return Err(Unfit::Selector);
    }
    let repels = |taint: &&api::core::Taint| &*taint.effect != "PreferNoSchedule" && !tolerates(&taint.key, &taint.value, &taint.effect);
    match node.spec.taints.iter().find(repels) {
        Some(_) => Err(Unfit::Taint),
        None => Ok(()),
    }
}

// === impl Toleration ===

impl Toleration {
    /// An empty key, effect or operator is as the API documentation says: all keys (with `Exists`), all effects, `Equal`.
    fn covers(&self, key: &str, value: &str, effect: &str) -> bool {
        (self.effect.is_empty() || self.effect == effect)
            && (self.key == key || (self.key.is_empty() && self.operator == "Exists"))
            && (self.operator == "Exists" || self.value == value)
    }
}

#[cfg(test)]
mod tests {
    use api::Object as _;

    use super::*;

    /// What becomes of a pod with this spec on a node with that one.
    fn check(pod: &str, node: &str) -> String {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"spec":{pod}}}"#)).expect("a pod");
        let node = format!(r#"{{"metadata":{{"name":"n","labels":{{"disk":"ssd"}}}},"spec":{node}}}"#);
        let node = api::Node::decode_json(&node).expect("a node");
        match fit(&pod, Some(&node)) {
            Ok(()) => "bound".to_string(),
            Err(unfit) => format!("{unfit:?}"),
        }
    }

    #[test]
    fn labels_taints_and_gates_decide() {
        assert_eq!(check("{}", "{}"), "bound");
        assert_eq!(check(r#"{"nodeSelector":{"disk":"ssd"}}"#, "{}"), "bound");
        assert_eq!(check(r#"{"nodeSelector":{"disk":"hdd"}}"#, "{}"), "Selector");
        assert_eq!(check(r#"{"schedulingGates":[{"name":"x"}]}"#, "{}"), "Gated");
        assert_eq!(check("{}", r#"{"unschedulable":true}"#), "Cordoned");
        let taint = |effect: &str| format!(r#"{{"taints":[{{"key":"a","value":"b","effect":"{effect}"}}]}}"#);
        let tolerate = |toleration: &str| format!(r#"{{"tolerations":[{toleration}]}}"#);
        assert_eq!(check("{}", &taint("PreferNoSchedule")), "bound");
        assert_eq!(check("{}", &taint("NoExecute")), "Taint");
        assert_eq!(check(&tolerate(r#"{"key":"a","value":"b"}"#), &taint("NoSchedule")), "bound");
        assert_eq!(check(&tolerate(r#"{"key":"a","value":"c"}"#), &taint("NoSchedule")), "Taint");
        assert_eq!(check(&tolerate(r#"{"key":"a","operator":"Exists","effect":"NoExecute"}"#), &taint("NoSchedule")), "Taint");
        assert_eq!(check(&tolerate(r#"{"operator":"Exists"}"#), &taint("NoSchedule")), "bound");
    }

    #[test]
    fn the_scheduler_s_own_words_are_used() {
        assert_eq!(
            Unfit::Selector.to_string(),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
    }
}
