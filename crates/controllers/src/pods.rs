//! What controllers ask of a Pod.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::json;

/// Neither ended nor on its way out: counts as a replica.
pub fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && !json::is_deleting(pod)
}

pub fn has_ended(pod: &Value) -> bool {
    matches!(json::text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}

pub fn is_ready(pod: &Value) -> bool {
    json::condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// When a pod that is ready now will have been so for `min_ready`: `None` if it has been, or is not ready.
pub fn available_in(pod: &Value, min_ready: Duration, now: SystemTime) -> Option<Duration> {
    let since = ready_since(pod)?;
    (since + min_ready).duration_since(now).ok().filter(|left| !left.is_zero())
}

pub fn is_available(pod: &Value, min_ready: Duration, now: SystemTime) -> bool {
    is_ready(pod) && available_in(pod, min_ready, now).is_none()
}

pub fn ready_since(pod: &Value) -> Option<SystemTime> {
    let condition = json::condition(pod, "Ready").filter(|condition| condition["status"] == "True")?;
    json::time(&condition["lastTransitionTime"])
}
