//! Pod: one word for a state that is spread over phase, conditions and containers.

use serde_json::Value;

use super::{Now, name, or};
use crate::value::Get;

pub(super) fn pod(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let State { reason, ready, restarts, last_restart } = State::of(object);
    let restartable = spec.items("initContainers").iter().filter(|container| is_restartable(container)).count();
    let total = spec.items("containers").len() + restartable;
    let restarts = match last_restart {
        Some(time) if restarts != 0 => format!("{restarts} ({} ago)", now.since(time)),
        _ => restarts.to_string(),
    };
    let ip = status.items("podIPs").first().map_or("", |ip| ip.text("ip"));
    let gates = spec.items("readinessGates");
    let open = gates.iter().filter(|gate| condition(status, gate.text("conditionType")) == "True").count();
    vec![
        name(object),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        now.age(object),
        or(ip, "<none>").into(),
        or(spec.text("nodeName"), "<none>").into(),
        or(status.text("nominatedNodeName"), "<none>").into(),
        if gates.is_empty() { "<none>".into() } else { format!("{open}/{}", gates.len()).into() },
    ]
}

struct State<'a> {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<&'a Value>,
}

impl<'a> State<'a> {
    fn of(object: &'a Value) -> State<'a> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let phase = status.text("phase");
        let mut state = State { reason: or(status.text("reason"), phase).to_owned(), ready: 0, restarts: 0, last_restart: None };
        let gated = |condition: &Value| condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated";
        if status.items("conditions").iter().any(gated) {
            state.reason = "SchedulingGated".to_owned();
        }
        // Restarts of init containers count while they run; afterwards only those of init containers that stay.
        let mut staying = State { reason: String::new(), ready: 0, restarts: 0, last_restart: None };
        let init = status.items("initContainerStatuses");
        let initializing = init.iter().enumerate().any(|(index, container)| {
            let restartable =
                spec.items("initContainers").iter().any(|spec| spec.text("name") == container.text("name") && is_restartable(spec));
            state.count_restarts(container);
            if restartable {
                staying.count_restarts(container);
            }
            let (terminated, waiting) = (container.at("state").at("terminated"), container.at("state").at("waiting"));
            if !terminated.is_null() && terminated.int("exitCode") == 0 {
                return false;
            }
            if restartable && container.flag("started") {
                state.ready += usize::from(container.flag("ready"));
                return false;
            }
            state.reason = if !terminated.is_null() {
                format!("Init:{}", ended(terminated))
            } else if !matches!(waiting.text("reason"), "" | "PodInitializing") {
                format!("Init:{}", waiting.text("reason"))
            } else {
                format!("Init:{index}/{}", spec.items("initContainers").len())
            };
            true
        });
        if !initializing || condition(status, "Initialized") == "True" {
            (state.restarts, state.last_restart) = (staying.restarts, staying.last_restart);
            state.containers(status);
        }
        let deleted = object.at("metadata").has("deletionTimestamp");
        if deleted && status.text("reason") == "NodeLost" {
            state.reason = "Unknown".to_owned();
        } else if deleted && !matches!(phase, "Succeeded" | "Failed") {
            state.reason = "Terminating".to_owned();
        }
        state
    }

    fn containers(&mut self, status: &'a Value) {
        let (mut running, mut failure) = (false, None);
        for container in status.items("containerStatuses").iter().rev() {
            self.count_restarts(container);
            let now = container.at("state");
            let terminated = now.at("terminated");
            if !now.at("waiting").text("reason").is_empty() {
                self.reason = now.at("waiting").text("reason").to_owned();
            } else if !terminated.is_null() {
                self.reason = ended(terminated);
                if terminated.int("exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if container.flag("ready") && now.has("running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            match failure {
                _ if running && condition(status, "Ready") == "True" => self.reason = "Running".to_owned(),
                Some(failure) => self.reason = failure,
                None if running => self.reason = "NotReady".to_owned(),
                None => {}
            }
        }
    }

    fn count_restarts(&mut self, container: &'a Value) {
        self.restarts = self.restarts.saturating_add(container.int("restartCount"));
        let finished = container.at("lastState").at("terminated").at("finishedAt");
        let time = |value: &Value| value.as_str().and_then(api::Time::parse).map(|time| time.seconds);
        if time(finished) > self.last_restart.and_then(time) {
            self.last_restart = Some(finished);
        }
    }
}

/// What a container's end is called.
fn ended(terminated: &Value) -> String {
    match (terminated.text("reason"), terminated.int("signal"), terminated.int("exitCode")) {
        ("", 0, code) => format!("ExitCode:{code}"),
        ("", signal, _) => format!("Signal:{signal}"),
        (reason, ..) => reason.to_owned(),
    }
}

fn is_restartable(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn condition<'a>(status: &'a Value, ty: &str) -> &'a str {
    status.items("conditions").iter().find(|condition| condition.text("type") == ty).map_or("", |condition| condition.text("status"))
}
