//! The probes of a running container, each a task of its own, and the hook that comes before them.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::{Actor, Message, container_at, stop};
use crate::events::Events;
use crate::probe::{self, Answer, Probed, Tally, listening};
use crate::spec::{Pod, Probe};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

/// A postStart hook that never ends would keep the container from being probed for good.
const POST_START_WITHIN: Duration = Duration::from_secs(600);

// === impl Actor ===

impl Actor {
    /// A container was started: its postStart hook first, if it has one.
    pub(super) fn hook_or_startup(&mut self, at: usize, n: u32) {
        let hook = container_at(&self.pod, at).lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        let Some(hook) = hook else { return self.start_startup(at, n) };
        let (probed, to_self) = (self.place_of(at, n), self.to_self.clone());
        let task = tokio::spawn(async move {
            let result = stop::run(&hook, &probed, POST_START_WITHIN).await;
            let _ = to_self.send(Message::Hooked { at, n, result }).await;
        });
        self.slots[at].keep(task.abort_handle());
    }

    /// Nothing else is asked before the startup probe has passed.
    pub(super) fn start_startup(&mut self, at: usize, n: u32) {
        match container_at(&self.pod, at).startup_probe.clone() {
            Some(probe) => self.start_probe(at, n, Kind::Startup, probe),
            None => self.start_probes(at, n),
        }
    }

    /// The container counts as started.
    pub(super) fn start_probes(&mut self, at: usize, n: u32) {
        self.slots[at].state.started = true;
        let container = container_at(&self.pod, at);
        let (liveness, readiness) = (container.liveness_probe.clone(), container.readiness_probe.clone());
        if let Some(probe) = liveness {
            self.start_probe(at, n, Kind::Liveness, probe);
        }
        match readiness {
            Some(probe) => self.start_probe(at, n, Kind::Readiness, probe),
            None => self.start_waiting_for_ports(at, n),
        }
    }

    /// Without a readiness probe: ready once it listens where it says it does.
    fn start_waiting_for_ports(&mut self, at: usize, n: u32) {
        if container_at(&self.pod, at).ports.is_empty() {
            self.slots[at].state.ready = true;
            return;
        }
        let (probed, to_self) = (self.place_of(at, n), self.to_self.clone());
        let task = tokio::spawn(async move {
            listening::wait(&probed.shim, &probed.ports).await;
            // A pod that has ended hears nothing more.
            let _ = to_self.send(Message::Probed { at, n, kind: Kind::Readiness, holds: true }).await;
        });
        self.slots[at].keep(task.abort_handle());
    }

    fn start_probe(&mut self, at: usize, n: u32, kind: Kind, probe: Probe) {
        let (probed, events, pod, to_self) = (self.place_of(at, n), self.host.events.clone(), self.pod.clone(), self.to_self.clone());
        let task = tokio::spawn(async move {
            let message = |holds| Message::Probed { at, n, kind, holds };
            go_on_asking(kind, &probe, &probed, (&events, &pod), &to_self, message).await;
        });
        self.slots[at].keep(task.abort_handle());
    }
}

/// Until the task is aborted, or nobody listens.
async fn go_on_asking(
    kind: Kind,
    probe: &Probe,
    probed: &Probed,
    (events, pod): (&Events, &Pod),
    verdicts: &Sender<Message>,
    message: impl Fn(bool) -> Message,
) {
    sleep(Duration::from_secs(probe.initial_delay_seconds)).await;
    let period = Duration::from_secs(probe.period_seconds.unwrap_or(10).max(1));
    let mut tally = Tally::new(probe);
    let mut last = None;
    loop {
        let answer = probe::ask(probe, probed).await;
        if let Answer::Failure(why) = &answer {
            events.warn(pod, "Unhealthy", format!("{kind:?} probe failed: {why}"));
        }
        if let Some(holds) = tally.count(&answer)
            && last != Some(holds)
        {
            last = Some(holds);
            if verdicts.send(message(holds)).await.is_err() || kind == Kind::Startup {
                return;
            }
        }
        sleep(period).await;
    }
}
