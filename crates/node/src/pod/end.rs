//! How a pod ends: why, which of its containers are stopped and in which order, and what is left to do once none runs.
//!
//! How one container is stopped stands in [`super::stop`].

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{Actor, Stage, container_at, stop};
use crate::host::blocking;
use crate::status;

/// How long containers have when this process ends.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// At most this long nobody sends TERM because rules and routes still lead to the pod.
const UNREACHABLE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopping {
    why: Why,
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Expired,
    Drained,
    Deleted,
    Gone,
}

// === impl Actor ===

impl Actor {
    pub(super) fn heed_deletion(&mut self) {
        if self.pod.metadata.deletion_timestamp.is_some() {
            let grace =
                self.pod.metadata.deletion_grace_period_seconds.map_or(self.grace(), |secs| Duration::from_secs(secs.max(0) as u64));
            self.begin_stop(Why::Deleted, grace);
        }
    }

    /// The first reason starts it; a stronger one, or one with less grace, is in more of a hurry.
    pub(super) fn begin_stop(&mut self, why: Why, grace: Duration) {
        let deadline = Instant::now() + grace;
        match self.stage {
            Stage::Running | Stage::Expired => self.stage = Stage::Stopping(Stopping { why, deadline }),
            Stage::Stopping(now) => {
                // The same request comes again with each change of the pod: what counts is what is left of it.
                let is_sooner = deadline + Duration::from_secs(1) < now.deadline;
                self.stage = Stage::Stopping(Stopping { why: why.max(now.why), deadline: now.deadline.min(deadline) });
                if is_sooner {
                    for at in 0..self.slots.len() {
                        if let Some(task) = self.slots[at].stopping.take() {
                            task.abort();
                            self.stop_one(at, grace, false);
                        }
                    }
                }
            }
            Stage::Deleting { .. } | Stage::Kept | Stage::Over => {}
        }
    }

    /// Ends one container for a reason of its own. Its restart policy says what follows.
    pub(super) fn kill(&mut self, at: usize, why: &str) {
        if matches!(self.stage, Stage::Running) && self.slots[at].stopping.is_none() {
            let name = &container_at(&self.pod, at).name;
            self.host.events.normal(&self.pod, "Killing", format!("Container {name} {why}"));
            self.stop_one(at, self.grace(), true);
        }
    }

    pub(super) fn stop_one(&mut self, at: usize, grace: Duration, with_hook: bool) {
        let Some(n) = self.slots[at].n.filter(|_| self.slots[at].is_running()) else { return };
        let container = container_at(&self.pod, at);
        let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()).filter(|_| with_hook);
        let leaves = matches!(self.stage, Stage::Stopping(Stopping { why: Why::Deleted, .. })) && with_hook;
        let gone = leaves.then(|| (self.host.gone)(self.addresses()));
        let unreachable = async move {
            if let Some(gone) = gone {
                let _ = tokio::time::timeout(UNREACHABLE_WITHIN, gone).await;
            }
        };
        let (events, pod) = (self.host.events.clone(), self.pod.clone());
        let failed = move |why: String| events.warn(&pod, "FailedPreStopHook", format!("PreStopHook failed: {why}"));
        let task = tokio::spawn(stop::stop(self.place_of(at, n), pre_stop, unreachable, grace, failed));
        self.slots[at].stopping = Some(task.abort_handle());
    }

    pub(super) async fn advance_stop(&mut self, stopping: Stopping) -> Option<Instant> {
        let grace = stopping.deadline.saturating_duration_since(Instant::now());
        let with_hook = stopping.why != Why::Gone;
        let is_sidecar = |actor: &Self, at: usize| at < actor.n_init && status::is_sidecar(container_at(&actor.pod, at));
        let mut is_waiting = false;
        for at in 0..self.slots.len() {
            if !self.slots[at].is_running() || is_sidecar(self, at) {
                continue;
            }
            is_waiting = true;
            self.stop_once(at, grace, with_hook);
        }
        // Sidecars serve the containers to their end, and go in the order opposite to that in which they came.
        for at in (0..self.n_init).rev() {
            if is_waiting || !self.slots[at].is_running() {
                continue;
            }
            is_waiting = true;
            self.stop_once(at, grace, with_hook);
        }
        if is_waiting {
            return None;
        }
        match stopping.why {
            Why::Expired => self.stage = Stage::Expired,
            Why::Drained => {
                self.tell_status_at_last().await;
                self.stage = Stage::Over;
            }
            Why::Deleted => {
                self.tell_status_at_last().await;
                self.stage = Stage::Deleting { retry_at: None };
                return Some(Instant::now());
            }
            Why::Gone => {
                self.remove().await;
                self.stage = Stage::Over;
            }
        }
        None
    }

    fn stop_once(&mut self, at: usize, grace: Duration, with_hook: bool) {
        if self.slots[at].stopping.is_none() {
            let name = &container_at(&self.pod, at).name;
            self.host.events.normal(&self.pod, "Killing", format!("Stopping container {name}"));
            self.stop_one(at, grace, with_hook);
        }
    }

    pub(super) async fn advance_delete(&mut self, retry_at: Option<Instant>) -> Option<Instant> {
        if retry_at.is_some_and(|retry_at| retry_at > Instant::now()) {
            return retry_at;
        }
        match self.delete_from_api().await {
            Ok(is_gone) => {
                self.remove().await;
                self.stage = if is_gone { Stage::Over } else { Stage::Kept };
                None
            }
            Err(error) => {
                let delay = self.retry.delay();
                warn!(pod = %self.name(), %error, "a pod that ended could not be deleted, trying again");
                let retry_at = Some(Instant::now() + delay);
                self.stage = Stage::Deleting { retry_at };
                retry_at
            }
        }
    }

    /// Removes network and folder. What cannot be removed is found by the next process.
    async fn remove(&mut self) {
        let (host, folder, uid, place) = (self.host.clone(), self.folder.clone(), self.pod.metadata.uid.clone(), self.place.take());
        let removed = blocking(move || {
            if let Some(place) = place {
                host.network.remove(&uid, &place);
            }
            folder.remove()
        });
        if let Err(error) = removed.await {
            warn!(pod = %self.name(), %error, "the folder of a pod could not be removed");
        }
    }
}
