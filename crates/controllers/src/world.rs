//! A little world for tests: an API that keeps objects as the real one would, and controllers that act on it until nothing is left to do.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::Kind;
use serde_json::{Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Propagation, Write};
use crate::{Controller, json, kinds};

pub(crate) struct World {
    pub(crate) cache: Cache,
    pub(crate) now: SystemTime,
    pub(crate) events: Vec<String>,
    controllers: Vec<Box<dyn Controller>>,
    keys: Vec<(usize, Key)>,
    revision: u64,
}

impl World {
    pub(crate) fn of(controllers: Vec<Box<dyn Controller>>) -> Self {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { cache: Cache::of(&controllers), now, events: Vec::new(), controllers, keys: Vec::new(), revision: 0 }
    }

    /// Writes an object, given as JSON text, into namespace `default` unless it says another.
    pub(crate) fn apply(&mut self, text: &str) {
        let mut object: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let kind = kind_of(&object);
        if kind.namespaced && json::namespace(&object).is_empty() {
            object["metadata"]["namespace"] = "default".into();
        }
        let known = self.cache.get(kind, &Key::of(&object)).cloned();
        match known {
            Some(known) => {
                let mut merged = Value::clone(&known);
                merge(&mut merged, &object);
                self.store(kind, merged);
            }
            None => self.create(kind, object),
        }
    }

    /// Lets the controllers work until none wants to write any more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2_000 {
            let Some((at, key)) = (!self.keys.is_empty()).then(|| self.keys.remove(0)) else { return };
            let plan = self.controllers[at].reconcile(&key, &self.cache, self.now);
            for write in plan.writes {
                if !self.write(write) {
                    break;
                }
            }
        }
        panic!("the controllers never settle");
    }

    pub(crate) fn get(&self, kind: &Kind, name: &str) -> &Value {
        let namespace = if kind.namespaced { "default" } else { "" };
        self.cache.named(kind, namespace, name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// The names of all objects of a kind.
    pub(crate) fn names(&self, kind: &Kind) -> Vec<String> {
        self.cache.all(kind).map(|object| json::name(object).to_string()).collect()
    }

    /// Makes every Pod that is not on its way out run and be ready.
    pub(crate) fn run_pods(&mut self) {
        let pods: Vec<_> = self.cache.all(&kinds::POD).cloned().collect();
        for (n, pod) in pods.into_iter().enumerate() {
            if json::is_deleting(&pod) || pod["status"]["phase"] == "Running" {
                continue;
            }
            let mut pod = Value::clone(&pod);
            let ip = format!("10.244.0.{}", n + 1);
            pod["status"] = json!({
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": json::timestamp(self.now)}],
            });
            self.store(&kinds::POD, pod);
        }
    }

    pub(crate) fn delete(&mut self, kind: &'static Kind, name: &str, propagation: Propagation) {
        let object = self.get(kind, name).clone();
        self.write(Write::delete(kind, &object, propagation));
    }

    fn create(&mut self, kind: &'static Kind, mut object: Value) {
        self.revision += 1;
        if json::name(&object).is_empty() {
            object["metadata"]["name"] = format!("{}{}", json::text(&object["metadata"]["generateName"]), self.revision).into();
        }
        object["metadata"]["uid"] = format!("uid-{}", self.revision).into();
        object["metadata"]["creationTimestamp"] = json::timestamp(self.now + Duration::from_secs(self.revision));
        object["metadata"]["generation"] = 1.into();
        self.store(kind, object);
    }

    fn store(&mut self, kind: &'static Kind, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let old = self.cache.put(kind, Arc::new(object.clone()));
        self.touch(kind, old.as_deref());
        self.touch(kind, Some(&object));
        let ends = json::is_deleting(&object) && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if ends && object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.drop(kind, &Key::of(&object));
        }
    }

    fn drop(&mut self, kind: &'static Kind, key: &Key) {
        self.revision += 1;
        let old = self.cache.remove(kind, key, self.revision);
        self.touch(kind, old.as_deref());
    }

    fn touch(&mut self, kind: &Kind, object: Option<&Value>) {
        let Some(object) = object else { return };
        for (at, controller) in self.controllers.iter().enumerate() {
            if controller.reads().contains(&kind) {
                for key in controller.touched(kind, object, &self.cache) {
                    if !self.keys.contains(&(at, key.clone())) {
                        self.keys.push((at, key));
                    }
                }
            }
        }
    }

    /// Sends one write; whether it took effect.
    fn write(&mut self, write: Write) -> bool {
        match write {
            Write::Create { kind, object, event } => {
                if self.cache.get(kind, &Key::of(&object)).is_some() {
                    return false;
                }
                self.create(kind, object);
                self.events.extend(event.map(|event| format!("{} {}", event.reason, event.message)));
            }
            Write::Update { kind, object } | Write::UpdateStatus { kind, object } => {
                let Some(known) = self.cache.get(kind, &Key::of(&object)) else { return false };
                if json::resource_version(known) != json::resource_version(&object) {
                    return false;
                }
                self.store(kind, object);
            }
            Write::Patch { kind, namespace, name, patch } => {
                let Some(known) = self.cache.named(kind, &namespace, &name) else { return false };
                let mut object = Value::clone(known);
                // Of a Deployment, annotations count as well.
                let wanted = |it: &Value| (it["spec"].clone(), (*kind == kinds::DEPLOYMENT).then(|| it["metadata"]["annotations"].clone()));
                let before = wanted(&object);
                merge(&mut object, &patch);
                if wanted(&object) != before {
                    object["metadata"]["generation"] = (json::count(&object["metadata"]["generation"]) + 1).into();
                }
                self.store(kind, object);
            }
            Write::Delete { kind, namespace, name, uid, propagation } => {
                let Some(known) = self.cache.named(kind, &namespace, &name).filter(|known| json::uid(known) == uid) else { return false };
                let mut object = Value::clone(known);
                object["metadata"]["deletionTimestamp"] = json::timestamp(self.now);
                let finalizer = match propagation {
                    Propagation::Background => None,
                    Propagation::Foreground => Some("foregroundDeletion"),
                    Propagation::Orphan => Some("orphan"),
                };
                if let Some(finalizer) = finalizer {
                    object["metadata"]["finalizers"] = json!([finalizer]);
                }
                self.store(kind, object);
            }
            Write::DeleteAll { kind, namespace } => {
                let all: Vec<_> = self.cache.in_namespace(kind, &namespace).cloned().collect();
                for object in all {
                    self.write(Write::delete(kind, &object, Propagation::Background));
                }
            }
            Write::Finalize { namespace } => self.store(&kinds::NAMESPACE, namespace),
            Write::CheckAbsent { kind, namespace, name, uid } => {
                return self.cache.named(kind, &namespace, &name).is_none_or(|known| json::uid(known) != uid);
            }
            Write::CheckEmpty { kind, namespace } => return self.cache.in_namespace(kind, &namespace).next().is_none(),
            Write::Event(event) => self.events.push(format!("{} {}", event.reason, event.message)),
        }
        true
    }
}

fn kind_of(object: &Value) -> &'static Kind {
    let unseen = || kinds::UNSEEN.into_iter().find(|kind| object["kind"] == kind.kind);
    kinds::of_reference(object).or_else(unseen).unwrap_or_else(|| panic!("no kind of {object}"))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}
