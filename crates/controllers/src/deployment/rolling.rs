//! The rolling update: a step up, a step down, never below what must be available, never above what may exist.

use std::sync::Arc;

use serde_json::Value;

use super::{DESIRED, MAX, Rollout, available, replicas};
use crate::json;
use crate::plan::Plan;

impl Rollout<'_> {
    /// One step of a rolling update.
    pub(super) fn roll(&self, plan: &mut Plan) {
        let Some(new) = &self.new else {
            return self.create_new(self.new_replicas(0), plan);
        };
        self.keep_revision(new, plan);
        let wanted = if replicas(new) > self.replicas { self.replicas } else { self.new_replicas(replicas(new)) };
        if wanted != replicas(new) {
            // The next step follows when this one shows in the ReplicaSet.
            return self.scale_to(new, wanted, plan);
        }
        self.scale_to(new, wanted, plan);
        self.shrink_old(new, plan);
        self.clean_up(plan);
    }

    /// How many Pods the new ReplicaSet may have now, given what all have together.
    fn new_replicas(&self, now: i64) -> i64 {
        let total: i64 = self.all().map(|set| replicas(set)).sum();
        let room = self.replicas + self.max_surge - total;
        now + room.clamp(0, (self.replicas - now).max(0))
    }

    /// Takes Pods from the old ReplicaSets: first those that serve nobody, then as many as the new one has made dispensable.
    fn shrink_old(&self, new: &Value, plan: &mut Plan) {
        let min_available = self.replicas - self.max_unavailable;
        let total: i64 = self.all().map(|set| replicas(set)).sum();
        let new_unavailable = replicas(new) - available(new);
        let mut may_go = total - min_available - new_unavailable;
        if may_go <= 0 {
            return;
        }
        let mut left: Vec<i64> = self.old.iter().map(|set| replicas(set)).collect();
        for (set, left) in self.old.iter().zip(&mut left) {
            let useless = (replicas(set) - available(set)).clamp(0, may_go.max(0));
            *left -= useless;
            may_go -= useless;
        }
        let total_available: i64 = self.all().map(|set| available(set)).sum();
        let mut dispensable = (total_available - min_available).max(0);
        for left in &mut left {
            let step = (*left).min(dispensable);
            *left -= step;
            dispensable -= step;
        }
        for (set, left) in self.old.iter().zip(left) {
            self.scale_to(set, left, plan);
        }
    }

    /// The wanted number changed in the middle of a rollout (or while it is paused): every ReplicaSet grows or shrinks by its share.
    pub(super) fn scale_in_proportion(&self, plan: &mut Plan) {
        let mut active: Vec<&Arc<Value>> = self.all().filter(|set| replicas(set) > 0).collect();
        if let [only] = active[..] {
            return self.scale_to(only, self.replicas, plan);
        }
        if active.is_empty() {
            if let Some(new) = &self.new {
                self.scale_to(new, self.replicas, plan);
            }
            return;
        }
        if self.is_saturated() {
            for set in self.old.iter().filter(|set| replicas(set) > 0) {
                self.scale_to(set, 0, plan);
            }
            return;
        }
        let total: i64 = active.iter().map(|set| replicas(set)).sum();
        let mut to_add = if self.replicas > 0 { self.replicas + self.max_surge } else { 0 } - total;
        // Growing serves the biggest first, shrinking too; among equals the newest grows and the oldest shrinks.
        active.sort_by_key(|set| -replicas(set));
        if to_add > 0 {
            active.reverse();
            active.sort_by_key(|set| -replicas(set));
        }
        let mut sizes: Vec<i64> = active
            .iter()
            .map(|set| {
                let share = self.share(set, to_add);
                to_add -= share;
                replicas(set) + share
            })
            .collect();
        // What rounding left over goes to the first.
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add).max(0);
        }
        for (set, size) in active.into_iter().zip(sizes) {
            self.scale_to(set, size, plan);
        }
    }

    /// What one ReplicaSet gets of `to_add`, never more than is left (negative: never takes more than is to go).
    fn share(&self, set: &Value, to_add: i64) -> i64 {
        if to_add == 0 {
            return 0;
        }
        let noted = |key: &str| json::annotation(set, key).and_then(|n| n.parse::<i64>().ok()).filter(|n| *n > 0);
        let before = noted(MAX).or_else(|| noted(DESIRED)).unwrap_or_else(|| json::count(&self.deployment["status"]["replicas"]).max(1));
        let now = (self.replicas + self.max_surge) as f64;
        let wanted = (replicas(set) as f64 * now / before as f64).round() as i64;
        let share = wanted - replicas(set);
        if to_add > 0 { share.clamp(0, to_add) } else { share.clamp(to_add, 0) }
    }

    /// The new ReplicaSet alone has all that is wanted, and all of it is available.
    fn is_saturated(&self) -> bool {
        self.new.as_ref().is_some_and(|new| {
            let desired = json::annotation(new, DESIRED).and_then(|n| n.parse().ok());
            replicas(new) == self.replicas && desired == Some(self.replicas) && available(new) == self.replicas
        })
    }
}
