//! What the API is told of a pod: its status whenever it changed, and that it may be forgotten.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::Method;
use runtime::Backoff;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{Actor, Message};
use crate::spec::PodStatus;
use crate::status::{self, Scene};

/// A process that ends does not wait for the API for longer.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(3);

/// What was told, and how it goes.
pub(super) struct Report {
    start_time: SystemTime,
    /// What the API has.
    told: Option<Value>,
    /// What it is being told.
    in_flight: Option<Value>,
    retry: Backoff,
    not_before: Option<Instant>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(start_time: SystemTime) -> Self {
        let retry = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        Self { start_time, told: None, in_flight: None, retry, not_before: None }
    }
}

// === impl Actor ===

impl Actor {
    fn status(&self) -> Value {
        let states: Vec<_> = self.slots.iter().map(|slot| slot.state.clone()).collect();
        let (init, containers) = states.split_at(self.n_init);
        status::render(&Scene {
            pod: &self.pod,
            init,
            containers,
            addresses: &self.addresses(),
            host_ip: self.host.ip(),
            start_time: self.report.start_time,
            has_expired: self.has_expired,
            now: SystemTime::now(),
        })
    }

    /// As the API has it, once it has: another process may have started the pod.
    pub(super) fn start_time(&self) -> SystemTime {
        let told = self.pod.status.start_time.as_deref().and_then(api::Time::parse);
        let told = told.and_then(|time| Some(UNIX_EPOCH + Duration::new(u64::try_from(time.seconds).ok()?, time.nanos)));
        told.unwrap_or(self.report.start_time)
    }

    /// Sends the status if the API has another, one at a time; gives when to try again.
    pub(super) fn tell_status(&mut self) -> Option<Instant> {
        if self.report.in_flight.is_some()
            || !matches!(self.stage, super::Stage::Running | super::Stage::Stopping(_) | super::Stage::Expired)
        {
            return None;
        }
        let status = self.status();
        if self.report.told.as_ref() == Some(&status) {
            return None;
        }
        if let Some(not_before) = self.report.not_before.filter(|not_before| *not_before > Instant::now()) {
            return Some(not_before);
        }
        let (client, path, patch, to_self) = (self.host.client.clone(), self.path("/status"), self.patch(&status), self.to_self.clone());
        self.report.in_flight = Some(status);
        tokio::spawn(async move {
            let result = client.call(Method::PATCH, &path, Some(("application/merge-patch+json", &patch))).await;
            let _ = to_self.send(Message::Reported(result)).await;
        });
        None
    }

    pub(super) fn reported(&mut self, result: Result<Value, client::Error>) {
        let sent = self.report.in_flight.take();
        match result {
            Ok(pod) => {
                self.report.told = sent;
                self.report.retry.reset();
                self.report.not_before = None;
                // Times of transitions are kept from here on, without waiting for the watch.
                if let Ok(status) = PodStatus::deserialize(&pod["status"]) {
                    let mut newest = (*self.pod).clone();
                    newest.status = status;
                    newest.metadata.resource_version = pod["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_string();
                    self.pod = Arc::new(newest);
                }
            }
            // Gone, or another of that name: the watch says so, too.
            Err(error) if matches!(error.code(), Some(404 | 409)) => {
                self.report.not_before = Some(Instant::now() + self.report.retry.delay());
            }
            Err(error) => {
                warn!(pod = %self.name(), %error, "the status of a pod was not written, trying again");
                self.report.not_before = Some(Instant::now() + self.report.retry.delay());
            }
        }
    }

    /// Somebody else wrote into what is ours: it is told again.
    pub(super) fn doubt_status(&mut self) {
        let Some(told) = &self.report.told else { return };
        let known = &self.pod.status;
        let differs =
            |ours: &Value| known.conditions.iter().any(|theirs| ours["type"] == *theirs.condition_type && ours["status"] != *theirs.status);
        if told["phase"] != *known.phase || told["conditions"].as_array().into_iter().flatten().any(differs) {
            self.report.told = None;
        }
    }

    /// The last status, for which nobody waits long.
    pub(super) async fn tell_status_at_last(&mut self) {
        let status = self.status();
        if self.report.told.as_ref() == Some(&status) {
            return;
        }
        let (path, patch) = (self.path("/status"), self.patch(&status));
        let told = self.host.client.call(Method::PATCH, &path, Some(("application/merge-patch+json", &patch)));
        match timeout(LAST_WORD_WITHIN, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if matches!(error.code(), Some(404 | 409)) => {}
            Ok(Err(error)) => warn!(pod = %self.name(), %error, "the last status of a pod was not written"),
            Err(_) => warn!(pod = %self.name(), "the last status of a pod was not written in time"),
        }
    }

    /// Takes the pod out of the API; true if it is gone.
    pub(super) async fn delete_from_api(&self) -> Result<bool, client::Error> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "gracePeriodSeconds": 0, "preconditions": {"uid": self.pod.metadata.uid},
        });
        match self.host.client.call(Method::DELETE, &self.path(""), Some(("application/json", &options))).await {
            Ok(answer) => Ok(answer["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)),
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// With the UID: the status of another pod of that name is none of ours.
    fn patch(&self, status: &Value) -> Value {
        json!({"metadata": {"uid": self.pod.metadata.uid}, "status": status})
    }

    fn path(&self, subresource: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{}{subresource}", self.pod.metadata.namespace, self.pod.metadata.name)
    }
}
