//! One container of a pod through all its starts: how it stands, when it may be started again, what runs on its behalf.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::folder::Folder;
use crate::shim::{self, Ended};
use crate::spec::{Container, Pod, RestartPolicy};
use crate::status::{self, ContainerState, State};

/// kubelet's back-off: the first restart is at once, then 10 s doubling to 5 minutes; 10 minutes of running forgive all.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER_MS: u64 = 600_000;

pub(super) struct Slot {
    pub(super) state: ContainerState,
    /// The number of the start that runs or ran last.
    pub(super) n: Option<u32>,
    /// Not to be started before.
    pub(super) not_before: Option<Instant>,
    delay: Duration,
    /// Probes and hooks of the start that runs.
    tasks: Vec<AbortHandle>,
    /// The task that ends it.
    pub(super) stopping: Option<AbortHandle>,
}

/// What follows a container's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    RestartNow,
    RestartAfter(Duration),
}

impl Slot {
    pub(super) fn new(waiting: &str) -> Self {
        let now = State::Waiting { reason: waiting.to_string(), message: String::new() };
        Self {
            state: ContainerState { now, ..ContainerState::default() },
            n: None,
            not_before: None,
            delay: Duration::ZERO,
            tasks: Vec::new(),
            stopping: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.now, State::Running { .. })
    }

    pub(super) fn next_n(&self) -> u32 {
        self.n.map_or(0, |n| n.saturating_add(1))
    }

    /// Takes over what an earlier process left; true if the container may still run.
    pub(super) fn adopt(&mut self, folder: &Folder, container: &Container, pod: &Pod) -> bool {
        let starts = folder.starts(&container.name);
        let Some(n) = starts.last().copied() else { return false };
        self.n = Some(n);
        self.state.id = id(pod, container, n);
        self.state.restart_count = n;
        let end_of = |n: u32| shim::ended(&folder.shim(&container.name, n)).ok().flatten();
        self.state.last = n.checked_sub(1).and_then(end_of);
        if let Some(ended) = end_of(n) {
            self.state.now = State::Ended(ended);
            return false;
        }
        let running = shim::running(&folder.shim(&container.name, n)).ok().flatten();
        self.state.now = State::Running { since_ms: running.map_or(0, |running| running.started_at_ms) };
        // What was known of it holds until a probe says otherwise: a restart of ours takes nobody out of service.
        let known =
            pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses).find(|known| known.name == container.name);
        self.state.started = known.is_some_and(|known| known.started.unwrap_or(false));
        self.state.ready = known.is_some_and(|known| known.ready);
        true
    }

    pub(super) fn started(&mut self, n: u32, id: String, since_ms: u64) {
        if let State::Ended(ended) = &self.state.now {
            self.state.last = Some(ended.clone());
        }
        self.n = Some(n);
        self.state.id = id;
        self.not_before = None;
        self.state.restart_count = n;
        self.state.started = false;
        self.state.ready = false;
        self.state.now = State::Running { since_ms };
    }

    /// Takes note of the end. With a restart to come, the end is the last state and not the present one once it has to wait.
    pub(super) fn ended(&mut self, ended: Ended, may_restart: bool) -> Next {
        self.abort_tasks();
        self.stopping = None;
        self.state.started = false;
        self.state.ready = false;
        if ended.finished_at_ms.saturating_sub(ended.started_at_ms) >= FORGIVEN_AFTER_MS {
            self.delay = Duration::ZERO;
        }
        self.state.now = State::Ended(ended);
        if !may_restart {
            return Next::Stay;
        }
        let delay = self.delay;
        self.delay = (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        if delay.is_zero() {
            return Next::RestartNow;
        }
        self.not_before = Some(Instant::now() + delay);
        Next::RestartAfter(delay)
    }

    /// Says that it waits, and why; the end of the start before becomes the last state.
    pub(super) fn wait(&mut self, reason: &str, message: String) {
        if let State::Ended(ended) = &self.state.now {
            self.state.last = Some(ended.clone());
        }
        self.state.now = State::Waiting { reason: reason.to_string(), message };
    }

    pub(super) fn keep(&mut self, task: AbortHandle) {
        self.tasks.push(task);
    }

    pub(super) fn abort_tasks(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.abort_tasks();
    }
}

/// What the API calls one start of a container.
pub(super) fn id(pod: &Pod, container: &Container, n: u32) -> String {
    format!("process://{}/{}/{n}", pod.metadata.uid, container.name)
}

/// Whether a container that ended so is started again.
pub(super) fn may_restart(policy: RestartPolicy, container: &Container, is_init: bool, ended: &Ended) -> bool {
    let failed = ended.exit_code != 0;
    match policy {
        _ if status::is_sidecar(container) => true,
        // An init container that is done is done.
        RestartPolicy::Always if is_init => failed,
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => failed,
        RestartPolicy::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i32, ran_ms: u64) -> Ended {
        Ended { exit_code, signal: None, message: None, started_at_ms: 0, finished_at_ms: ran_ms }
    }

    #[test]
    fn restarts_come_ever_later_until_a_container_ran_for_long() {
        let mut slot = Slot::new("ContainerCreating");
        let mut check = |ran_ms: u64| match slot.ended(ended(1, ran_ms), true) {
            Next::RestartAfter(delay) => delay.as_secs(),
            Next::RestartNow => 0,
            Next::Stay => 999,
        };
        let delays: Vec<_> = [0, 0, 0, 0, 0, 0, 0, 0].map(&mut check).into();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!((check(600_000), check(0)), (0, 10));
    }

    #[test]
    fn the_restart_policy_decides_except_for_sidecars() {
        let (plain, sidecar) = (Container::default(), Container { restart_policy: Some("Always".to_string()), ..Container::default() });
        let check = |policy, container: &Container, is_init, code| may_restart(policy, container, is_init, &ended(code, 0));
        use RestartPolicy::{Always, Never, OnFailure};
        assert!(check(Always, &plain, false, 0) && !check(Always, &plain, true, 0) && check(Always, &plain, true, 1));
        assert!(check(OnFailure, &plain, false, 1) && !check(OnFailure, &plain, false, 0));
        assert!(!check(Never, &plain, false, 1) && check(Never, &sidecar, true, 0));
    }
}
