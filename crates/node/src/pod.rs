//! One pod: a task that makes what runs here be what the API says, from its first container to its last.
//!
//! Owns order: network, volumes, init containers, containers, probes, restarts, termination. Everything that happens comes as a
//! [`Message`]; after each, [`Actor::advance`] does what has become due, and the status is written if it changed. Must not know
//! other pods.

mod end;
mod probes;
mod report;
mod slot;
mod start;
mod stop;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use runtime::Backoff;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::folder::Folder;
use crate::host::{Shared, blocking};
use crate::network::Place;
use crate::probe::Probed;
use crate::shim::{self, Ended};
use crate::spec::{Container, Pod, RestartPolicy};
use crate::status::{self, State};
use end::{DRAIN_GRACE, Stopping, Why};
use probes::Kind;
use slot::{Next, Slot};
use start::Tokens;

/// What a pod hears of.
#[derive(Debug)]
pub(crate) enum Message {
    /// The newest from the API.
    Changed(Arc<Pod>),
    /// A ConfigMap, Secret or Service that it refers to changed.
    Refresh,
    /// The API has it no longer: it was deleted by force.
    Gone,
    /// This process is about to end: containers are, too.
    Drain,
    Ended {
        at: usize,
        n: u32,
        ended: Ended,
    },
    /// The postStart hook is over.
    Hooked {
        at: usize,
        n: u32,
        result: Result<(), String>,
    },
    Probed {
        at: usize,
        n: u32,
        kind: Kind,
        holds: bool,
    },
    /// The API took the status, and this is the pod as it has it now.
    Reported(Result<Value, client::Error>),
}

/// Messages that may wait for a pod. Those who send them wait as well, and none of them is waited for.
pub(crate) const MAX_WAITING_MESSAGES: usize = 64;

/// kubelet's default, which the API has filled in.
const DEFAULT_GRACE_SECS: u64 = 30;

pub(crate) struct Actor {
    host: Shared,
    pod: Arc<Pod>,
    folder: Folder,
    place: Option<Place>,
    /// Init containers first.
    slots: Vec<Slot>,
    n_init: usize,
    /// All init containers were done once.
    is_initialized: bool,
    volumes: HashMap<String, PathBuf>,
    /// When the volumes have to be looked at (again).
    volumes_due: Option<Instant>,
    tokens: Tokens,
    stage: Stage,
    /// Past its `activeDeadlineSeconds`: it has failed, whatever its containers say.
    has_expired: bool,
    retry: Backoff,
    /// After a failure, and before the next attempt at network or volumes.
    not_before: Option<Instant>,
    report: report::Report,
    messages: mpsc::Receiver<Message>,
    to_self: mpsc::Sender<Message>,
}

enum Stage {
    Running,
    Stopping(Stopping),
    /// Nothing runs; the API was told to forget it.
    Deleting {
        retry_at: Option<Instant>,
    },
    /// Its time is up and nothing of it runs; it waits to be deleted.
    Expired,
    /// It has finalizers: the API keeps it for somebody else.
    Kept,
    Over,
}

/// Starts the task of a pod, new or found in the data folder. It ends when nothing of the pod is left to do here.
pub(crate) fn start(host: Shared, pod: Arc<Pod>, folder: Folder) -> (mpsc::Sender<Message>, impl Future<Output = ()> + Send + 'static) {
    let (to_self, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
    let n_init = pod.spec.init_containers.len();
    let first = if n_init == 0 { "ContainerCreating" } else { "PodInitializing" };
    let slots = (0..n_init + pod.spec.containers.len()).map(|_| Slot::new(first)).collect();
    let actor = Actor {
        host,
        pod,
        folder,
        place: None,
        slots,
        n_init,
        is_initialized: n_init == 0,
        volumes: HashMap::new(),
        volumes_due: Some(Instant::now()),
        tokens: Tokens::default(),
        stage: Stage::Running,
        has_expired: false,
        retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(20)),
        not_before: None,
        report: report::Report::new(SystemTime::now()),
        messages,
        to_self: to_self.clone(),
    };
    (to_self, actor.run())
}

// === impl Actor ===

impl Actor {
    async fn run(mut self) {
        self.adopt().await;
        self.heed_deletion();
        loop {
            let due = self.advance().await;
            if matches!(self.stage, Stage::Over) {
                return;
            }
            let wake = due.into_iter().chain(self.tell_status()).min();
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => None,
            };
            if let Some(message) = message {
                self.hear(message);
                while let Ok(message) = self.messages.try_recv() {
                    self.hear(message);
                }
            }
        }
    }

    /// Takes over what an earlier process left of this pod.
    async fn adopt(&mut self) {
        let Ok(text) = std::fs::read(self.folder.place()) else { return };
        let Ok(place) = serde_json::from_slice::<Place>(&text) else { return };
        let (host, uid, known) = (self.host.clone(), self.pod.metadata.uid.clone(), place.clone());
        let shims = self.folder.shims();
        let restored = blocking(move || {
            let pid = shims.iter().find_map(|dir| shim::alive(dir));
            host.network.restore(&uid, &known, pid)
        });
        if let Err(error) = restored.await {
            warn!(pod = %self.name(), %error, "the network of a pod could not be restored");
            return;
        }
        self.place = Some(place);
        for at in 0..self.slots.len() {
            let container = container_at(&self.pod, at).clone();
            if self.slots[at].adopt(&self.folder, &container, &self.pod)
                && let Some(n) = self.slots[at].n
            {
                self.await_end(at, n, None);
                if self.slots[at].state.started {
                    self.start_probes(at, n);
                } else {
                    self.start_startup(at, n);
                }
            }
        }
        self.is_initialized |= self.slots[self.n_init..].iter().any(|slot| slot.n.is_some());
        info!(pod = %self.name(), "found a pod again");
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Changed(pod) => self.change(pod),
            Message::Refresh => {
                self.volumes_due = Some(Instant::now());
                self.not_before = None;
                let waits =
                    |slot: &&mut Slot| matches!(&slot.state.now, State::Waiting { reason, .. } if reason == "CreateContainerConfigError");
                self.slots.iter_mut().filter(waits).for_each(|slot| slot.not_before = None);
            }
            Message::Gone if matches!(self.stage, Stage::Kept) => self.stage = Stage::Over,
            Message::Gone => self.begin_stop(Why::Gone, Duration::ZERO),
            Message::Drain if matches!(self.stage, Stage::Kept) => self.stage = Stage::Over,
            Message::Drain => self.begin_stop(Why::Drained, DRAIN_GRACE),
            Message::Ended { at, n, ended } if self.slots[at].n == Some(n) => self.end(at, ended),
            Message::Hooked { at, n, result } if self.runs(at, n) => match result {
                Ok(()) => self.start_startup(at, n),
                Err(why) => {
                    self.host.events.warn(&self.pod, "FailedPostStartHook", format!("PostStartHook failed: {why}"));
                    self.kill(at, "FailedPostStartHook");
                }
            },
            Message::Probed { at, n, kind, holds } if self.runs(at, n) => self.probed(at, n, kind, holds),
            Message::Reported(result) => self.reported(result),
            Message::Ended { .. } | Message::Hooked { .. } | Message::Probed { .. } => {}
        }
    }

    fn change(&mut self, pod: Arc<Pod>) {
        // The answer to a write of ours may have overtaken the watch.
        let revision = |pod: &Pod| pod.metadata.resource_version.parse::<u64>().ok();
        if pod.metadata.uid != self.pod.metadata.uid || revision(&pod) < revision(&self.pod) {
            return;
        }
        if (&pod.metadata.labels, &pod.metadata.annotations) != (&self.pod.metadata.labels, &self.pod.metadata.annotations) {
            self.volumes_due = Some(Instant::now());
        }
        for at in 0..self.slots.len() {
            let (old, new) = (container_at(&self.pod, at), container_at(&pod, at));
            if old.image != new.image {
                self.slots[at].not_before = None;
                if self.slots[at].is_running() {
                    let message = format!("Container {} definition changed, will be restarted", new.name);
                    self.host.events.normal(&pod, "Killing", message);
                    self.stop_one(at, self.grace(), true);
                }
            }
        }
        self.pod = pod;
        self.doubt_status();
        self.heed_deletion();
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(self.pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECS))
    }

    fn runs(&self, at: usize, n: u32) -> bool {
        self.slots[at].n == Some(n) && self.slots[at].is_running()
    }

    /// A container ended.
    fn end(&mut self, at: usize, ended: Ended) {
        let container = container_at(&self.pod, at);
        let may_restart =
            matches!(self.stage, Stage::Running) && slot::may_restart(self.pod.spec.restart_policy, container, at < self.n_init, &ended);
        if let Some(why) = &ended.message {
            self.host.events.warn(&self.pod, "Failed", format!("Error: {why}"));
        }
        let name = container.name.clone();
        if let Next::RestartAfter(delay) = self.slots[at].ended(ended, may_restart) {
            let meta = &self.pod.metadata;
            let of = format!("{}_{}({})", meta.name, meta.namespace, meta.uid);
            let message = format!("back-off {} restarting failed container={name} pod={of}", go_duration(delay));
            self.host.events.warn(&self.pod, "BackOff", format!("Back-off restarting failed container {name} in pod {of}"));
            self.slots[at].wait("CrashLoopBackOff", message);
        }
    }

    fn probed(&mut self, at: usize, n: u32, kind: Kind, holds: bool) {
        match (kind, holds) {
            (Kind::Readiness, ready) => self.slots[at].state.ready = ready,
            (Kind::Startup, true) => self.start_probes(at, n),
            (Kind::Startup, false) => self.kill(at, "failed startup probe, will be restarted"),
            (Kind::Liveness, false) => self.kill(at, "failed liveness probe, will be restarted"),
            (Kind::Liveness, true) => {}
        }
    }

    /// Does all that has become due; gives when something else will.
    async fn advance(&mut self) -> Option<Instant> {
        match self.stage {
            Stage::Running => {
                if self.expire() {
                    return Some(Instant::now());
                }
                let due = self.advance_run().await;
                due.into_iter().chain(self.expires_at().filter(|_| !self.is_finished())).min()
            }
            Stage::Stopping(stopping) => self.advance_stop(stopping).await,
            Stage::Deleting { retry_at } => self.advance_delete(retry_at).await,
            Stage::Expired | Stage::Kept | Stage::Over => None,
        }
    }

    /// Begins to end the pod if its time is up: it is stopped and never starts again.
    fn expire(&mut self) -> bool {
        let is_due = self.expires_at().is_some_and(|at| at <= Instant::now()) && !self.is_finished();
        if is_due {
            self.has_expired = true;
            self.host.events.normal(&self.pod, "DeadlineExceeded", status::DEADLINE_EXCEEDED);
            self.begin_stop(Why::Expired, self.grace());
        }
        is_due
    }

    fn expires_at(&self) -> Option<Instant> {
        let seconds = self.pod.spec.active_deadline_seconds?;
        let deadline = self.start_time() + Duration::from_secs(seconds);
        Some(Instant::now() + deadline.duration_since(SystemTime::now()).unwrap_or_default())
    }

    async fn advance_run(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.is_finished() {
            return None;
        }
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Some(not_before);
        }
        if self.place.is_none() && !self.set_up_place().await {
            return self.not_before;
        }
        if self.volumes_due.is_some_and(|due| due <= now) && !self.prepare_volumes().await && self.slots.iter().all(|slot| slot.n.is_none())
        {
            return self.not_before;
        }
        let mut wakes: Vec<Instant> = self.volumes_due.into_iter().collect();
        for at in 0..self.slots.len() {
            let is_init = at < self.n_init;
            let is_sidecar = is_init && status::is_sidecar(container_at(&self.pod, at));
            if is_init && !is_sidecar && (self.is_initialized || self.slots[at].state.has_succeeded()) {
                continue;
            }
            wakes.extend(self.start_if_due(at).await);
            let slot = &self.slots[at];
            if is_init && !self.is_initialized && !(is_sidecar && slot.is_running() && slot.state.started) {
                return wakes.into_iter().min();
            }
            self.is_initialized |= at + 1 == self.n_init;
        }
        self.is_initialized = true;
        wakes.into_iter().min()
    }

    /// Starts a container that is not running, if it is to run and its time has come; else gives that time.
    async fn start_if_due(&mut self, at: usize) -> Option<Instant> {
        let (slot, policy) = (&self.slots[at], self.pod.spec.restart_policy);
        let is_due = match &slot.state.now {
            State::Running { .. } => false,
            State::Waiting { .. } => true,
            State::Ended(ended) => slot::may_restart(policy, container_at(&self.pod, at), at < self.n_init, ended),
        };
        if !is_due {
            return None;
        }
        match slot.not_before {
            Some(not_before) if not_before > Instant::now() => Some(not_before),
            _ => self.start(at).await,
        }
    }

    /// Nothing of it will ever run again.
    fn is_finished(&self) -> bool {
        let policy = self.pod.spec.restart_policy;
        let (init, containers) = self.slots.split_at(self.n_init);
        let failed = policy == RestartPolicy::Never
            && init
                .iter()
                .zip(&self.pod.spec.init_containers)
                .any(|(slot, container)| slot.state.has_failed() && !status::is_sidecar(container));
        failed
            || containers.iter().zip(&self.pod.spec.containers).all(|(slot, container)| match &slot.state.now {
                State::Ended(ended) => !slot::may_restart(policy, container, false, ended),
                _ => false,
            })
    }

    /// Where the `n`-th start of a container is found by probes, hooks and signals.
    fn place_of(&self, at: usize, n: u32) -> Probed {
        let container = container_at(&self.pod, at);
        Probed {
            pod_ip: self.addresses().first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1])),
            ports: container.ports.clone(),
            shim: self.folder.shim(&container.name, n),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.place.as_ref().map(|place| place.addresses.clone()).unwrap_or_default()
    }

    fn name(&self) -> String {
        format!("{}/{}", self.pod.metadata.namespace, self.pod.metadata.name)
    }
}

/// Init containers are counted first.
fn container_at(pod: &Pod, at: usize) -> &Container {
    let n_init = pod.spec.init_containers.len();
    if at < n_init { &pod.spec.init_containers[at] } else { &pod.spec.containers[at - n_init] }
}

/// As Go writes it: `10s`, `1m20s`.
fn go_duration(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, secs) => format!("{secs}s"),
        (minutes, secs) => format!("{minutes}m{secs}s"),
    }
}
