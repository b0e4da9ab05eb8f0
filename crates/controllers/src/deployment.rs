//! Deployment: one ReplicaSet for each template it has had, and a walk from the old ones to the new.
//!
//! Owns which ReplicaSet is new, the revisions, how many of each there may be at a time, and the status that `kubectl rollout` reads.
//! Source: kubernetes `pkg/controller/deployment` (`sync.go`, `rolling.go`, `recreate.go`, `progress.go`) and `util`.

mod rolling;
mod status;

use std::sync::Arc;
use std::time::SystemTime;

use api::Kind;
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Event, Plan, Propagation, Write};
use crate::{Controller, json, kinds, pods};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of the Deployment that its ReplicaSets do not take over.
const OWN_ANNOTATIONS: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to"];

pub struct Deployments;

/// A Deployment and its ReplicaSets, oldest first.
struct Rollout<'a> {
    deployment: &'a Arc<Value>,
    replicas: i64,
    max_surge: i64,
    max_unavailable: i64,
    new: Option<Arc<Value>>,
    old: Vec<Arc<Value>>,
    cache: &'a Cache,
    now: SystemTime,
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 3] = [&kinds::DEPLOYMENT, &kinds::REPLICA_SET, &kinds::POD];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key> {
        let namespace = json::namespace(object);
        if *kind == kinds::DEPLOYMENT {
            return vec![Key::of(object)];
        }
        let owner = json::controller(object);
        if *kind == kinds::POD {
            // A Recreate rollout waits for old Pods to be gone; everything else shows in the ReplicaSet.
            let set = owner.filter(|owner| owner["kind"] == "ReplicaSet").map(|owner| json::text(&owner["name"]));
            let set = set.and_then(|set| cache.named(&kinds::REPLICA_SET, namespace, set));
            return set.and_then(|set| json::controller(set)).map(|it| Key::new(namespace, json::text(&it["name"]))).into_iter().collect();
        }
        match owner {
            Some(owner) if owner["kind"] == "Deployment" => vec![Key::new(namespace, json::text(&owner["name"]))],
            Some(_) => Vec::new(),
            None => cache
                .in_namespace(&kinds::DEPLOYMENT, namespace)
                .filter(|deployment| json::selects(&deployment["spec"]["selector"], object))
                .map(|deployment| Key::of(deployment))
                .collect(),
        }
    }

    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        let Some(deployment) = cache.get(&kinds::DEPLOYMENT, key) else { return plan };
        let rollout = Rollout::of(deployment, cache, now, &mut plan);
        if json::is_deleting(deployment) {
            rollout.write_status(&mut plan);
            return plan;
        }
        if deployment["spec"]["paused"] == true || rollout.is_scaling() {
            rollout.scale_in_proportion(&mut plan);
            rollout.write_status(&mut plan);
            return plan;
        }
        match json::text(&deployment["spec"]["strategy"]["type"]) {
            "Recreate" => rollout.recreate(&mut plan),
            _ => rollout.roll(&mut plan),
        }
        rollout.write_status(&mut plan);
        plan
    }
}

// === impl Rollout ===

impl<'a> Rollout<'a> {
    /// Finds (and adopts) the ReplicaSets of `deployment` and tells the new one from the old.
    fn of(deployment: &'a Arc<Value>, cache: &'a Cache, now: SystemTime, plan: &mut Plan) -> Self {
        let mut sets = claim(deployment, cache, plan);
        sets.sort_by_key(|set| (json::time(&set["metadata"]["creationTimestamp"]), json::name(set).to_string()));
        let template = without_hash(&deployment["spec"]["template"]);
        // Of several that fit (which only a race could make) the oldest is it.
        let at = sets.iter().position(|set| without_hash(&set["spec"]["template"]) == template);
        let new = at.map(|at| sets.remove(at));
        let replicas = json::count(&deployment["spec"]["replicas"]);
        let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
        let (max_surge, max_unavailable) = if json::text(&deployment["spec"]["strategy"]["type"]) == "Recreate" {
            (0, 0)
        } else {
            fences(&rolling["maxSurge"], &rolling["maxUnavailable"], replicas)
        };
        Self { deployment, replicas, max_surge, max_unavailable, new, old: sets, cache, now }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    /// The number of Pods wanted was changed since the ReplicaSets were last written.
    fn is_scaling(&self) -> bool {
        let wanted = self.replicas.to_string();
        self.all().filter(|set| replicas(set) > 0).any(|set| json::annotation(set, DESIRED).is_some_and(|desired| desired != wanted))
    }

    fn recreate(&self, plan: &mut Plan) {
        let mut scaled_down = false;
        for set in self.old.iter().filter(|set| replicas(set) > 0) {
            self.scale_to(set, 0, plan);
            scaled_down = true;
        }
        let old_pod_runs = self.old.iter().any(|set| {
            // A Pod on its way out still runs.
            self.cache.controlled_by(&kinds::POD, set).any(|pod| !pods::has_ended(pod))
        });
        if scaled_down || old_pod_runs {
            return;
        }
        match &self.new {
            None => self.create_new(self.replicas, plan),
            Some(new) => {
                self.keep_revision(new, plan);
                self.scale_to(new, self.replicas, plan);
                self.clean_up(plan);
            }
        }
    }

    /// Makes the ReplicaSet of the template as it is now.
    fn create_new(&self, replicas: i64, plan: &mut Plan) {
        let deployment = self.deployment;
        let collisions = json::count(&deployment["status"]["collisionCount"]);
        let hash = template_hash(&deployment["spec"]["template"], collisions);
        let mut template = deployment["spec"]["template"].clone();
        template["metadata"]["labels"][HASH_LABEL] = hash.clone().into();
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH_LABEL] = hash.clone().into();
        let mut annotations = inherited(deployment);
        annotations.insert(REVISION.to_string(), self.next_revision().to_string().into());
        annotations.extend(self.counts());
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", json::name(deployment)),
                "namespace": json::namespace(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [json::controller_reference(deployment)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": deployment["spec"]["minReadySeconds"],
                "selector": selector,
                "template": template,
            },
        });
        let message = format!("Scaled up replica set {} from 0 to {replicas}", json::name(&set));
        let event = Event::new(deployment, "ScalingReplicaSet", message);
        plan.write(Write::Create { kind: &kinds::REPLICA_SET, object: set, event: None });
        plan.write(Write::Event(event));
    }

    /// The new ReplicaSet carries the highest revision: also one that an undo brought back.
    fn keep_revision(&self, new: &Value, plan: &mut Plan) {
        let own = revision(new);
        let wanted = self.next_revision();
        let mut annotations = Map::new();
        if own < wanted {
            annotations.insert(REVISION.to_string(), wanted.to_string().into());
            if own > 0 {
                let history = json::annotation(new, REVISION_HISTORY).filter(|history| !history.is_empty());
                let history = history.map_or_else(|| own.to_string(), |history| format!("{history},{own}"));
                annotations.insert(REVISION_HISTORY.to_string(), history.into());
            }
        }
        for (key, value) in inherited(self.deployment) {
            if new["metadata"]["annotations"].get(&key) != Some(&value) {
                annotations.insert(key, value);
            }
        }
        if !annotations.is_empty() {
            plan.write(Write::patch(&kinds::REPLICA_SET, new, json!({"metadata": {"annotations": annotations}})));
        }
    }

    /// What the Deployment says of itself: the revision of its new ReplicaSet, once there is one.
    fn shown_revision(&self) -> Option<String> {
        Some(revision(self.new.as_ref()?).max(self.next_revision()).to_string())
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
    }

    /// What the ReplicaSets are told of the whole, so that a change of the number is noticed.
    fn counts(&self) -> [(String, Value); 2] {
        [(DESIRED.to_string(), self.replicas.to_string().into()), (MAX.to_string(), (self.replicas + self.max_surge).to_string().into())]
    }

    fn scale_to(&self, set: &Value, wanted: i64, plan: &mut Plan) {
        let now = replicas(set);
        let mut annotations: Map<String, Value> = self.counts().into_iter().collect();
        annotations.retain(|key, value| set["metadata"]["annotations"].get(key) != Some(value));
        if now == wanted && annotations.is_empty() {
            return;
        }
        let mut patch = json!({"metadata": {"annotations": annotations}});
        if now != wanted {
            patch["spec"] = json!({"replicas": wanted});
        }
        plan.write(Write::patch(&kinds::REPLICA_SET, set, patch));
        if now != wanted {
            let way = if wanted > now { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {now} to {wanted}", json::name(set));
            plan.event(self.deployment, "ScalingReplicaSet", message);
        }
    }

    /// Deletes the oldest empty ReplicaSets beyond `revisionHistoryLimit`, once the rollout is done.
    fn clean_up(&self, plan: &mut Plan) {
        let Some(limit) = self.deployment["spec"]["revisionHistoryLimit"].as_u64() else { return };
        if !self.is_complete() {
            return;
        }
        let mut spare: Vec<_> = self.old.iter().filter(|set| !json::is_deleting(set)).collect();
        spare.sort_by_key(|set| revision(set));
        let excess = spare.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for set in spare.into_iter().take(excess) {
            if replicas(set) == 0 && json::count(&set["status"]["replicas"]) == 0 {
                plan.write(Write::delete(&kinds::REPLICA_SET, set, Propagation::Background));
            }
        }
    }
}

/// The ReplicaSets of `deployment`: adopted where they match and have no controller, released where they no longer match.
fn claim(deployment: &Arc<Value>, cache: &Cache, plan: &mut Plan) -> Vec<Arc<Value>> {
    let selector = &deployment["spec"]["selector"];
    let mut owned = Vec::new();
    for set in cache.in_namespace(&kinds::REPLICA_SET, json::namespace(deployment)) {
        let matches = json::selects(selector, set);
        match json::controller(set) {
            Some(owner) if owner["uid"] == json::uid(deployment) => {
                if matches || json::is_deleting(deployment) {
                    owned.push(set.clone());
                } else {
                    plan.write(Write::set_controller(&kinds::REPLICA_SET, set, None));
                }
            }
            None if matches && !json::is_deleting(set) && !json::is_deleting(deployment) => {
                plan.write(Write::set_controller(&kinds::REPLICA_SET, set, Some(deployment)));
                owned.push(set.clone());
            }
            _ => {}
        }
    }
    owned
}

/// How many Pods may stand above and below the wanted number. Percentages: surge rounded up, unavailable down; both 0 would stand
/// still, so one may then be missing.
fn fences(max_surge: &Value, max_unavailable: &Value, replicas: i64) -> (i64, i64) {
    let share = |value: &Value, round_up: bool| -> i64 {
        if let Some(n) = value.as_i64() {
            return n.max(0);
        }
        let percent: i64 = json::text(value).trim_end_matches('%').parse().unwrap_or(0);
        if round_up { (percent * replicas + 99) / 100 } else { percent * replicas / 100 }
    };
    let (surge, unavailable) = (share(max_surge, true), share(max_unavailable, false).min(replicas));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn replicas(set: &Value) -> i64 {
    json::count(&set["spec"]["replicas"])
}

fn available(set: &Value) -> i64 {
    json::count(&set["status"]["availableReplicas"])
}

fn revision(object: &Value) -> i64 {
    json::annotation(object, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn inherited(deployment: &Value) -> Map<String, Value> {
    let mut annotations = deployment["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    annotations
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH_LABEL);
    }
    template
}

/// A short name for a template, from the letters that `rand.SafeEncodeString` uses (no vowels: no words). kube-controller-manager
/// hashes a dump of Go structs, which nobody else can reproduce; all that matters is that equal templates give equal names.
fn template_hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = format!("{}{collisions}", without_hash(template));
    // FNV-1a, 32 bits, as there.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests;
