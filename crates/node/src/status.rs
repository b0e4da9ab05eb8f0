//! What the API hears of a pod: its status as JSON, decided from the states of its containers. Pure.
//!
//! Source: kubelet's `kubelet_pods.go` (`getPhase`) and `status/generate.go`; the API documentation of PodStatus.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::time::Rfc3339;
use serde_json::{Map, Value, json};

use crate::shim::Ended;
use crate::spec::{Container, Pod, RestartPolicy};

/// One container as it stands.
#[derive(Clone, Debug, Default)]
pub struct ContainerState {
    /// Of the newest start; empty before the first.
    pub id: String,
    pub now: State,
    pub last: Option<Ended>,
    pub restart_count: u32,
    /// Startup probe passed, or there is none.
    pub started: bool,
    /// Readiness probe passes, or there is none.
    pub ready: bool,
}

#[derive(Clone, Debug)]
pub enum State {
    Waiting { reason: String, message: String },
    Running { since_ms: u64 },
    Ended(Ended),
}

/// What decides a status.
pub struct Scene<'a> {
    pub pod: &'a Pod,
    /// In the order of the spec.
    pub init: &'a [ContainerState],
    pub containers: &'a [ContainerState],
    pub addresses: &'a [IpAddr],
    pub host_ip: Option<IpAddr>,
    pub start_time: SystemTime,
    /// Its `activeDeadlineSeconds` are over.
    pub has_expired: bool,
    pub now: SystemTime,
}

/// kubelet's words.
pub const DEADLINE_EXCEEDED: &str = "Pod was active on the node longer than the specified deadline";

/// The status to be written.
pub fn render(scene: &Scene<'_>) -> Value {
    let pod = scene.pod;
    let phase = phase(scene);
    let initialized = is_initialized(scene);
    let containers_ready = matches!(phase, "Running") && scene.containers.iter().all(ContainerState::is_ready);
    let gates_open = pod
        .spec
        .readiness_gates
        .iter()
        .all(|gate| pod.status.conditions.iter().any(|known| known.condition_type == gate.condition_type && known.status == "True"));
    let over = phase == "Succeeded";
    let unready: Vec<_> = names(&pod.spec.containers, scene.containers, |state| !state.is_ready());
    let why_unready = || ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")));
    let ready_reason = match (over, containers_ready, gates_open) {
        (true, _, _) => Some(("PodCompleted", String::new())),
        (_, false, _) => Some(why_unready()),
        (_, true, false) => Some(("ReadinessGatesNotReady", "the status of a readiness gate is not True".to_string())),
        (_, true, true) => None,
    };
    let ready_of_containers = if over { Some(("PodCompleted", String::new())) } else { (!containers_ready).then(why_unready) };
    let not_initialized = (!initialized).then(|| {
        let left = names(&pod.spec.init_containers, scene.init, |state| !state.has_succeeded());
        ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", left.join(" ")))
    });
    let has_network = !scene.addresses.is_empty();
    let mut status = json!({
        "phase": phase,
        "conditions": [
            condition(scene, "PodReadyToStartContainers", has_network, None),
            condition(scene, "Initialized", initialized, not_initialized),
            condition(scene, "Ready", ready_reason.is_none(), ready_reason),
            condition(scene, "ContainersReady", ready_of_containers.is_none(), ready_of_containers),
            condition(scene, "PodScheduled", true, None),
        ],
        "startTime": pod.status.start_time.clone().unwrap_or_else(|| Rfc3339(scene.start_time).to_string()),
        "containerStatuses": statuses(&pod.spec.containers, scene.containers),
    });
    if pod.metadata.generation > 0 {
        status["observedGeneration"] = pod.metadata.generation.into();
    }
    if scene.has_expired {
        status["reason"] = "DeadlineExceeded".into();
        status["message"] = DEADLINE_EXCEEDED.into();
    }
    keep_gates(pod, &mut status);
    if !pod.spec.init_containers.is_empty() {
        status["initContainerStatuses"] = statuses(&pod.spec.init_containers, scene.init);
    }
    if let Some(host_ip) = scene.host_ip {
        status["hostIP"] = host_ip.to_string().into();
        status["hostIPs"] = json!([{"ip": host_ip.to_string()}]);
    }
    if let Some(first) = scene.addresses.first() {
        status["podIP"] = first.to_string().into();
        status["podIPs"] = scene.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    }
    status
}

/// Pending until every container has run once, then Running until all have ended for good.
fn phase(scene: &Scene<'_>) -> &'static str {
    let policy = scene.pod.spec.restart_policy;
    if scene.has_expired {
        return "Failed";
    }
    if scene.init.iter().any(|state| state.has_failed() && policy == RestartPolicy::Never) {
        return "Failed";
    }
    if !is_initialized(scene) {
        return "Pending";
    }
    let states = scene.containers;
    if states.iter().any(|state| matches!(state.now, State::Waiting { .. }) && state.last.is_none()) {
        return "Pending";
    }
    let over = states.iter().all(|state| match policy {
        RestartPolicy::Always => false,
        RestartPolicy::OnFailure => state.has_succeeded(),
        RestartPolicy::Never => matches!(state.now, State::Ended(_)),
    });
    match over {
        true if states.iter().all(ContainerState::has_succeeded) => "Succeeded",
        true => "Failed",
        // A pod on its way out is over when its containers are.
        false if scene.pod.metadata.deletion_timestamp.is_some() && states.iter().all(|state| matches!(state.now, State::Ended(_))) => {
            if states.iter().all(ContainerState::has_succeeded) {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        false => "Running",
    }
}

fn is_initialized(scene: &Scene<'_>) -> bool {
    let containers = scene.pod.spec.init_containers.iter().zip(scene.init);
    containers.into_iter().all(|(container, state)| if is_sidecar(container) { state.started } else { state.has_succeeded() })
}

/// An init container that goes on running beside the others (KEP-753).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn names(containers: &[Container], states: &[ContainerState], wanted: impl Fn(&ContainerState) -> bool) -> Vec<String> {
    containers.iter().zip(states).filter(|(_, state)| wanted(state)).map(|(container, _)| container.name.clone()).collect()
}

fn condition(scene: &Scene<'_>, condition_type: &str, holds: bool, reason: Option<(&str, String)>) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = scene.pod.status.conditions.iter().find(|known| known.condition_type == condition_type && known.status == status);
    let since = known.and_then(|known| known.last_transition_time.clone()).unwrap_or_else(|| Rfc3339(scene.now).to_string());
    let mut condition = json!({"type": condition_type, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
    if let Some((reason, message)) = reason {
        condition["reason"] = reason.into();
        if !message.is_empty() {
            condition["message"] = message.into();
        }
    }
    condition
}

/// Conditions that others write (readiness gates) are theirs.
fn keep_gates(pod: &Pod, status: &mut Value) {
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    for known in &pod.status.conditions {
        if !conditions.iter().any(|own| own["type"] == *known.condition_type) {
            conditions.push(json!({
                "type": known.condition_type,
                "status": known.status,
                "lastTransitionTime": known.last_transition_time,
            }));
        }
    }
}

fn statuses(containers: &[Container], states: &[ContainerState]) -> Value {
    containers.iter().zip(states).map(|(container, state)| one(container, state)).collect()
}

fn one(container: &Container, state: &ContainerState) -> Value {
    let running = matches!(state.now, State::Running { .. });
    let mut status = json!({
        "name": container.name,
        "state": match &state.now {
            State::Waiting { reason, message } => {
                let mut waiting = Map::from_iter([("reason".to_string(), Value::from(reason.as_str()))]);
                if !message.is_empty() {
                    waiting.insert("message".to_string(), message.as_str().into());
                }
                json!({"waiting": waiting})
            }
            State::Running { since_ms } => json!({"running": {"startedAt": time(*since_ms)}}),
            State::Ended(ended) => json!({"terminated": terminated(ended)}),
        },
        "lastState": state.last.as_ref().map_or_else(|| json!({}), |last| json!({"terminated": terminated(last)})),
        "ready": running && state.started && state.ready,
        "started": running && state.started,
        "restartCount": state.restart_count,
        "image": container.image,
        "imageID": "",
    });
    if !state.id.is_empty() {
        status["containerID"] = state.id.as_str().into();
    }
    status
}

fn terminated(ended: &Ended) -> Value {
    let reason = match (&ended.message, ended.exit_code) {
        (Some(_), 137) => "ContainerStatusUnknown",
        (Some(_), _) => "StartError",
        (None, 0) => "Completed",
        _ => "Error",
    };
    let mut terminated = json!({
        "exitCode": ended.exit_code,
        "reason": reason,
        "startedAt": time(ended.started_at_ms),
        "finishedAt": time(ended.finished_at_ms),
    });
    if let Some(signal) = ended.signal {
        terminated["signal"] = signal.into();
    }
    if let Some(message) = &ended.message {
        terminated["message"] = message.as_str().into();
    }
    terminated
}

fn time(ms: u64) -> String {
    Rfc3339(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

// === impl ContainerState ===

impl ContainerState {
    pub fn has_succeeded(&self) -> bool {
        matches!(&self.now, State::Ended(ended) if ended.exit_code == 0)
    }

    pub fn has_failed(&self) -> bool {
        matches!(&self.now, State::Ended(ended) if ended.exit_code != 0)
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.now, State::Running { .. }) && self.started && self.ready
    }
}

impl Default for State {
    fn default() -> Self {
        State::Waiting { reason: "ContainerCreating".to_string(), message: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(ready: bool) -> ContainerState {
        ContainerState { now: State::Running { since_ms: 0 }, started: true, ready, ..ContainerState::default() }
    }

    fn ended(exit_code: i32) -> ContainerState {
        let ended = Ended { exit_code, signal: None, message: None, started_at_ms: 0, finished_at_ms: 0 };
        ContainerState { now: State::Ended(ended), ..ContainerState::default() }
    }

    /// `phase Ready=... reason` of a pod given as JSON.
    fn check(pod: &str, init: &[ContainerState], containers: &[ContainerState]) -> String {
        let pod: Pod = serde_json::from_str(pod).expect("a pod");
        let addresses = ["10.244.0.5".parse().expect("address")];
        let scene = Scene {
            pod: &pod,
            init,
            containers,
            addresses: &addresses,
            host_ip: None,
            start_time: UNIX_EPOCH,
            has_expired: false,
            now: UNIX_EPOCH,
        };
        let status = render(&scene);
        let ready = &status["conditions"][2];
        format!("{} {}", status["phase"].as_str().unwrap_or(""), ready["reason"].as_str().unwrap_or("ready"))
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let pod = |policy: &str| format!(r#"{{"spec":{{"restartPolicy":"{policy}","containers":[{{"name":"a"}},{{"name":"b"}}]}}}}"#);
        let always = pod("Always");
        assert_eq!(check(&always, &[], &[running(true), ContainerState::default()]), "Pending ContainersNotReady");
        assert_eq!(check(&always, &[], &[running(true), running(false)]), "Running ContainersNotReady");
        assert_eq!(check(&always, &[], &[running(true), running(true)]), "Running ready");
        assert_eq!(check(&always, &[], &[running(true), ended(0)]), "Running ContainersNotReady");
        assert_eq!(check(&pod("Never"), &[], &[ended(0), ended(0)]), "Succeeded PodCompleted");
        assert_eq!(check(&pod("Never"), &[], &[ended(0), ended(1)]), "Failed ContainersNotReady");
        assert_eq!(check(&pod("OnFailure"), &[], &[ended(0), ended(1)]), "Running ContainersNotReady");
    }

    #[test]
    fn a_pod_whose_time_is_up_has_failed() {
        let pod: Pod = serde_json::from_str(r#"{"spec":{"containers":[{"name":"a"}]}}"#).expect("a pod");
        let containers = [ended(0)];
        let scene = Scene {
            pod: &pod,
            init: &[],
            containers: &containers,
            addresses: &[],
            host_ip: None,
            start_time: UNIX_EPOCH,
            has_expired: true,
            now: UNIX_EPOCH,
        };
        let status = render(&scene);
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    }

    #[test]
    fn containers_wait_for_those_that_come_before_them() {
        let pod = r#"{"spec":{"restartPolicy":"Never","initContainers":[{"name":"i"}],"containers":[{"name":"a"}]}}"#;
        assert_eq!(check(pod, &[running(true)], &[ContainerState::default()]), "Pending ContainersNotReady");
        assert_eq!(check(pod, &[ended(0)], &[running(true)]), "Running ready");
        assert_eq!(check(pod, &[ended(1)], &[ContainerState::default()]), "Failed ContainersNotReady");
    }

    #[test]
    fn a_readiness_gate_keeps_a_pod_from_being_ready() {
        let pod = |status: &str| {
            format!(
                r#"{{"spec":{{"containers":[{{"name":"a"}}],"readinessGates":[{{"conditionType":"x/lb"}}]}},
                "status":{{"conditions":[{{"type":"x/lb","status":"{status}"}}]}}}}"#
            )
        };
        assert_eq!(check(&pod("False"), &[], &[running(true)]), "Running ReadinessGatesNotReady");
        assert_eq!(check(&pod("True"), &[], &[running(true)]), "Running ready");
    }
}
