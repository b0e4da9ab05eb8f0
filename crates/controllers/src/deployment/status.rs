//! The status of a Deployment: the counts and the conditions that `kubectl rollout status` reads.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{REVISION, Rollout, available, replicas};
use crate::plan::{Plan, Write};
use crate::{json, kinds};

/// A condition that this controller decides.
struct Condition {
    condition_type: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Rollout<'_> {
    pub(super) fn is_complete(&self) -> bool {
        let status = &self.deployment["status"];
        let n = |field: &str| json::count(&status[field]);
        n("updatedReplicas") == self.replicas
            && n("replicas") == self.replicas
            && n("availableReplicas") == self.replicas
            && n("observedGeneration") >= json::count(&self.deployment["metadata"]["generation"])
    }

    pub(super) fn write_status(&self, plan: &mut Plan) {
        let sum = |field: &str| -> i64 { self.all().map(|set| json::count(&set["status"][field])).sum() };
        let total = sum("replicas");
        let updated = self.new.as_ref().map_or(0, |new| json::count(&new["status"]["replicas"]));
        let available: i64 = self.all().map(|set| available(set)).sum();
        let wanted: i64 = self.all().map(|set| replicas(set)).sum();
        let mut status = Map::new();
        let mut say = |field: &str, n: i64| {
            if n > 0 {
                status.insert(field.to_string(), n.into());
            }
        };
        say("observedGeneration", json::count(&self.deployment["metadata"]["generation"]));
        say("replicas", total);
        say("updatedReplicas", updated);
        say("readyReplicas", sum("readyReplicas"));
        say("availableReplicas", available);
        say("unavailableReplicas", (wanted - available).max(0));
        status.insert("terminatingReplicas".to_string(), sum("terminatingReplicas").into());
        if let Some(collisions) = self.deployment["status"].get("collisionCount") {
            status.insert("collisionCount".to_string(), collisions.clone());
        }
        let decided = [Some(self.available_condition(available)), self.progressing_condition(total, updated, available, plan)];
        let conditions = self.merge(decided.into_iter().flatten());
        status.insert("conditions".to_string(), conditions.into());
        let mut object = Value::clone(self.deployment);
        object["status"] = Value::Object(status);
        // An annotation, but written with the status: by itself it would count as a change of what is wanted (`generation`).
        if let Some(revision) = self.shown_revision() {
            object["metadata"]["annotations"][REVISION] = revision.into();
        }
        if object != **self.deployment {
            plan.write(Write::UpdateStatus { kind: &kinds::DEPLOYMENT, object });
        }
    }

    fn available_condition(&self, available: i64) -> Condition {
        let enough = available >= self.replicas - self.max_unavailable;
        let (status, reason, message) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        Condition { condition_type: "Available", status, reason, message: message.to_string() }
    }

    /// Whether the rollout moves, is done, or has stood still for `progressDeadlineSeconds`.
    fn progressing_condition(&self, total: i64, updated: i64, available: i64, plan: &mut Plan) -> Option<Condition> {
        let deadline = self.deployment["spec"]["progressDeadlineSeconds"].as_u64().filter(|secs| *secs < i32::MAX as u64)?;
        let name = |object: &Value| json::name(object).to_string();
        let say = |status, reason, message| Some(Condition { condition_type: "Progressing", status, reason, message });
        if self.deployment["spec"]["paused"] == true {
            return say("Unknown", "DeploymentPaused", "Deployment is paused".to_string());
        }
        let known = json::condition(self.deployment, "Progressing");
        let Some(new) = &self.new else {
            let hash =
                super::template_hash(&self.deployment["spec"]["template"], json::count(&self.deployment["status"]["collisionCount"]));
            return say("True", "NewReplicaSetCreated", format!("Created new replica set \"{}-{hash}\"", name(self.deployment)));
        };
        if updated == self.replicas && total == self.replicas && available == self.replicas {
            return say("True", "NewReplicaSetAvailable", format!("ReplicaSet \"{}\" has successfully progressed.", name(new)));
        }
        let before = &self.deployment["status"];
        let n = |field: &str| json::count(&before[field]);
        let moved = updated > n("updatedReplicas")
            || total - updated < n("replicas") - n("updatedReplicas")
            || available > n("availableReplicas")
            || known.is_none_or(|known| known["reason"] == "NewReplicaSetAvailable" || known["reason"] == "DeploymentPaused");
        let since = known.and_then(|known| json::time(&known["lastUpdateTime"])).unwrap_or(self.now);
        let left = (since + Duration::from_secs(deadline)).duration_since(self.now).unwrap_or_default();
        if moved || !left.is_zero() {
            plan.again_after(if moved { Duration::from_secs(deadline) } else { left } + Duration::from_secs(1));
            if !moved && known.is_some_and(|known| known["reason"] == "NewReplicaSetCreated") {
                return say("True", "NewReplicaSetCreated", json::text(&known?["message"]).to_string());
            }
            return say("True", "ReplicaSetUpdated", format!("ReplicaSet \"{}\" is progressing.", name(new)));
        }
        say("False", "ProgressDeadlineExceeded", format!("ReplicaSet \"{}\" has timed out progressing.", name(new)))
    }

    /// The conditions as they are to be written: others kept, times moved only where something changed.
    fn merge(&self, decided: impl Iterator<Item = Condition>) -> Vec<Value> {
        let mut conditions: Vec<Value> = self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let now = json::timestamp(self.now);
        let progressed = |field: &str, new: i64| json::count(&self.deployment["status"][field]) != new;
        let updated = self.new.as_ref().map_or(0, |new| json::count(&new["status"]["replicas"]));
        let moves = progressed("updatedReplicas", updated) || progressed("availableReplicas", self.all().map(|set| available(set)).sum());
        for Condition { condition_type, status, reason, message } in decided {
            let at = conditions.iter().position(|known| known["type"] == condition_type);
            let known = at.map(|at| conditions.remove(at));
            let same = known.as_ref().filter(|known| known["status"] == status && known["reason"] == reason && known["message"] == message);
            let transition = known.as_ref().filter(|known| known["status"] == status).map(|known| known["lastTransitionTime"].clone());
            let is_progress = condition_type == "Progressing" && reason == "ReplicaSetUpdated" && moves;
            let update = same.filter(|_| !is_progress).map(|known| known["lastUpdateTime"].clone());
            conditions.push(json!({
                "type": condition_type,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": transition.unwrap_or_else(|| now.clone()),
                "lastUpdateTime": update.unwrap_or_else(|| now.clone()),
            }));
        }
        conditions.sort_by(|a, b| json::text(&a["type"]).cmp(json::text(&b["type"])));
        conditions
    }
}
