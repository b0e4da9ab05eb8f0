//! Pods: what admission adds to them, and how long they may take to end.
//!
//! Source: the admission plugins ServiceAccount, DefaultTolerationSeconds and Priority; pkg/registry/core/pod/strategy.go.

use serde_json::{Map, Value, json};

use super::world::World;
use crate::names;
use crate::quantity::Quantity;
use crate::refusal::Refusal;
use crate::value::Get;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Kubernetes' own: an hour and a few seconds, so that a kubelet can tell its own tokens.
const TOKEN_SECONDS: u32 = 3_607;

pub(super) fn admit(world: &mut World<'_, '_>, pod: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    if old.is_some() {
        return Ok(());
    }
    let name = match pod["metadata"].text("name") {
        "" => pod["metadata"].text("generateName").to_owned(),
        name => name.to_owned(),
    };
    let namespace = pod["metadata"].text("namespace").to_owned();
    let is_mirror = pod["metadata"]["annotations"].has("kubernetes.io/config.mirror");
    take_topology(world, pod);
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if !is_mirror {
        service_account(world, spec, &namespace, &name)?;
    }
    priority(world, spec, &name)?;
    tolerations(spec);
    Ok(())
}

/// A Pod on a node carries the node's zone and region, so that it can tell them itself (KEP-4742).
pub(crate) fn take_topology(world: &World<'_, '_>, pod: &mut Value) {
    let Some(node) = world.core("nodes", "", pod["spec"].text("nodeName")) else { return };
    let labels = node["metadata"].at("labels");
    for label in ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"] {
        if labels.has(label) {
            pod["metadata"]["labels"][label] = labels[label].clone();
        }
    }
}

fn service_account(world: &World<'_, '_>, spec: &mut Map<String, Value>, namespace: &str, pod: &str) -> Result<(), Refusal> {
    let account = match spec.text("serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    let Some(found) = world.core("serviceaccounts", namespace, &account) else {
        let text = format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
        return Err(Refusal::forbidden(world.kind, pod, &text));
    };
    spec.insert("serviceAccountName".to_owned(), account.clone().into());
    spec.insert("serviceAccount".to_owned(), account.into());
    if spec.items("imagePullSecrets").is_empty() && !found.items("imagePullSecrets").is_empty() {
        spec.insert("imagePullSecrets".to_owned(), found["imagePullSecrets"].clone());
    }
    let wanted = spec.at("automountServiceAccountToken").as_bool().or(found["automountServiceAccountToken"].as_bool()).unwrap_or(true);
    if wanted {
        mount_token(spec);
    }
    Ok(())
}

/// Mounts the account's token, root certificate and namespace into every container that has nothing at that path.
fn mount_token(spec: &mut Map<String, Value>) {
    let mounted = spec.items("volumes").iter().find(|volume| volume.text("name").starts_with("kube-api-access-"));
    let (volume, is_new) = match mounted {
        Some(volume) => (volume.text("name").to_owned(), false),
        None => (names::generate("kube-api-access-"), true),
    };
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            let mut mounts = container.items("volumeMounts").to_vec();
            if mounts.iter().any(|mount| mount.text("mountPath") == TOKEN_PATH) {
                continue;
            }
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}));
            container.insert("volumeMounts".to_owned(), mounts.into());
            used = true;
        }
    }
    if used && is_new {
        let sources = json!([
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]);
        let mut volumes = spec.items("volumes").to_vec();
        volumes.push(json!({"name": volume, "projected": {"sources": sources, "defaultMode": 0o644}}));
        spec.insert("volumes".to_owned(), volumes.into());
    }
}

/// No PriorityClass is served but the two that every cluster has.
fn priority(world: &World<'_, '_>, spec: &mut Map<String, Value>, pod: &str) -> Result<(), Refusal> {
    let value = match spec.text("priorityClassName") {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        other => return Err(Refusal::forbidden(world.kind, pod, &format!("no PriorityClass with name {other} was found"))),
    };
    if spec.has("priority") && spec.int("priority") != value {
        let text = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
            spec.int("priority")
        );
        return Err(Refusal::forbidden(world.kind, pod, &text));
    }
    spec.insert("priority".to_owned(), value.into());
    if !spec.has("preemptionPolicy") {
        spec.insert("preemptionPolicy".to_owned(), "PreemptLowerPriority".into());
    }
    Ok(())
}

/// A Pod stays five minutes on a node that is lost.
fn tolerations(spec: &mut Map<String, Value>) {
    let mut tolerations = spec.items("tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            (toleration.text("key") == key || toleration.text("key").is_empty()) && matches!(toleration.text("effect"), "NoExecute" | "")
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    spec.insert("tolerations".to_owned(), tolerations.into());
}

pub(super) fn prepare(pod: &mut Value, old: Option<&Value>) {
    if old.is_none() {
        let mut status = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
        if !pod["spec"].items("schedulingGates").is_empty() {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message, "lastProbeTime": null, "lastTransitionTime": null});
            status["conditions"] = json!([condition]);
        }
        pod["status"] = status;
    }
}

/// Source: pkg/apis/core/v1/helper/qos: of cpu and memory alone.
fn quality(spec: &Value) -> &'static str {
    let containers = || spec.items("containers").iter().chain(spec.items("initContainers"));
    let amount = |container: &Value, list: &str, name: &str| {
        let found = &container["resources"][list][name];
        found.as_str().filter(|text| Quantity::parse(text).is_ok_and(|quantity| quantity.to_string() != "0")).map(str::to_owned)
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in containers() {
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount(container, "requests", name), amount(container, "limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// How many seconds a Pod may take to end: what the deleter says, else what the Pod says; none if it does not run anywhere.
pub(crate) fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    let spec = &pod["spec"];
    let own = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let period = match asked.unwrap_or(own) {
        // Kubernetes reads a negative period as one second.
        negative if negative < 0 => 1,
        period => period,
    };
    let is_over = matches!(pod["status"].text("phase"), "Failed" | "Succeeded");
    if spec.text("nodeName").is_empty() || is_over { 0 } else { period }
}
