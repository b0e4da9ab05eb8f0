//! The driver: watches in, keys out, plans to the API.
//!
//! One task owns the cache and hands out keys; plans are sent by tasks of their own. A key is not looked at again before its last
//! writes have come back by the watches: a controller never acts on a state that it changed itself.

mod queue;
mod send;

use std::sync::Arc;
use std::time::SystemTime;

use api::Kind;
use client::{Client, Event};
use runtime::Drain;
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::cache::{Cache, Key};
use crate::{Controller, json, kinds};
use queue::{Queue, Task};
use send::Sent;

/// Events of one kind that may wait for the driver.
const MAX_WAITING_EVENTS: usize = 1_024;

/// Plans that are sent at the same time.
const MAX_IN_FLIGHT: usize = 16;

/// What the loop wakes for.
enum Wake {
    Heard(&'static Kind, Event<Arc<Value>>),
    Sent(Task, Result<Vec<Sent>, client::Error>),
    Due,
    Stop,
}

struct Driver {
    client: Client,
    controllers: Vec<Box<dyn Controller>>,
    cache: Cache,
    queue: Queue,
    /// Kinds whose first list has not come yet: nothing is decided before.
    missing: Vec<&'static Kind>,
    sent: Sender<(Task, Result<Vec<Sent>, client::Error>)>,
}

/// Runs `controllers` against the API of `client` until `drain` starts; holds it until the API is no longer asked for anything.
pub async fn run(client: Client, controllers: Vec<Box<dyn Controller>>, ready: runtime::Pending, drain: Drain) {
    let mut missing: Vec<&'static Kind> = Vec::new();
    for kind in controllers.iter().flat_map(|controller| controller.reads()) {
        if !missing.contains(kind) {
            missing.push(kind);
        }
    }
    let (heard, mut hears) = mpsc::channel(MAX_WAITING_EVENTS);
    for kind in &missing {
        let (events, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        let (follow, held) = (kinds::follow(kind, client.clone(), events), drain.clone());
        tokio::spawn(async move {
            follow.await;
            drop(held);
        });
        tokio::spawn(relay(kind, receiver, heard.clone()));
    }
    let (sent, mut sends) = mpsc::channel(MAX_IN_FLIGHT);
    let cache = Cache::of(&controllers);
    let mut driver = Driver { client, controllers, cache, queue: Queue::default(), missing, sent };
    let mut ready = Some(ready);
    loop {
        if driver.missing.is_empty() {
            ready = None;
            driver.start_plans();
        }
        let due = driver.queue.next_due();
        let wake = tokio::select! {
            Some((kind, event)) = hears.recv() => Wake::Heard(kind, event),
            Some((task, result)) = sends.recv() => Wake::Sent(task, result),
            () = sleep_until(due), if ready.is_none() && due.is_some() => Wake::Due,
            () = drain.started() => Wake::Stop,
        };
        match wake {
            Wake::Heard(kind, event) => driver.hear(kind, event),
            Wake::Sent(task, result) => driver.settle(task, result),
            Wake::Due => driver.queue.wake_due(Instant::now()),
            Wake::Stop => return,
        }
    }
}

async fn relay(kind: &'static Kind, mut from: Receiver<Event<Arc<Value>>>, to: Sender<(&'static Kind, Event<Arc<Value>>)>) {
    let relaying = async {
        while let Some(event) = from.recv().await {
            if to.send((kind, event)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = to.closed() => {}
        () = relaying => {}
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

// === impl Driver ===

impl Driver {
    fn hear(&mut self, kind: &'static Kind, event: Event<Arc<Value>>) {
        match event {
            Event::Restarted { objects, broken } => {
                for error in broken {
                    warn!(%error, "left out an object");
                }
                let listed = objects.clone();
                // Both sides of what changed are looked at; those that are the same as before cost a look that finds nothing to do.
                for old in self.cache.replace(kind, objects, 0) {
                    self.touch(kind, &old);
                }
                for object in listed {
                    self.touch(kind, &object);
                }
                self.missing.retain(|missing| *missing != kind);
            }
            Event::Applied(object) => {
                if let Some(old) = self.cache.put(kind, object.clone()) {
                    self.touch(kind, &old);
                }
                self.touch(kind, &object);
            }
            Event::Deleted(key) => {
                let key = Key::new(String::from(key.namespace), String::from(key.name));
                if let Some(old) = self.cache.remove(kind, &key, 0) {
                    self.touch(kind, &old);
                }
            }
            Event::Broken(error) => warn!(%error, "kept the last readable state of an object"),
            Event::Absent(absence) => {
                info!(%kind, ?absence, "a kind cannot be followed");
                self.missing.retain(|missing| *missing != kind);
            }
        }
        self.queue.recheck(&self.cache);
    }

    fn touch(&mut self, kind: &Kind, object: &Value) {
        for (at, controller) in self.controllers.iter().enumerate() {
            if controller.reads().contains(&kind) {
                for key in controller.touched(kind, object, &self.cache) {
                    self.queue.add(Task { controller: at, key });
                }
            }
        }
    }

    /// Decides and sends as many plans as may be in flight.
    fn start_plans(&mut self) {
        while self.queue.in_flight() < MAX_IN_FLIGHT {
            let Some(task) = self.queue.next(&self.cache) else { return };
            let controller = &self.controllers[task.controller];
            let plan = controller.reconcile(&task.key, &self.cache, SystemTime::now());
            if let Some(delay) = plan.again_after {
                self.queue.add_later(task.clone(), Instant::now() + delay);
            }
            if plan.writes.is_empty() {
                self.queue.done(&task, Vec::new(), &self.cache);
                continue;
            }
            debug!(controller = controller.name(), key = %task.key, n_writes = plan.writes.len(), "writing");
            let (client, name, sent) = (self.client.clone(), controller.name(), self.sent.clone());
            tokio::spawn(async move {
                let result = send::plan(&client, name, plan.writes).await;
                // Nobody waits once the driver has stopped.
                let _ = sent.send((task, result)).await;
            });
        }
    }

    fn settle(&mut self, task: Task, result: Result<Vec<Sent>, client::Error>) {
        match result {
            Ok(sent) => self.queue.done(&task, sent, &self.cache),
            Err(error) if send::is_pointless(&error) => self.queue.done(&task, Vec::new(), &self.cache),
            Err(error) => {
                let controller = self.controllers[task.controller].name();
                if send::is_expected(&error) {
                    debug!(controller, key = %task.key, %error, "will look again");
                } else {
                    warn!(controller, key = %task.key, %error, "could not write");
                }
                self.queue.failed(task, Instant::now());
            }
        }
    }
}

/// What has to come back by the watches before a key is looked at again.
impl Sent {
    fn has_come_back(&self, cache: &Cache) -> bool {
        match self {
            Sent::Written { kind, revision } => cache.seen(kind) >= *revision,
            Sent::Deleted { kind, key, uid } => {
                cache.get(kind, key).is_none_or(|object| json::uid(object) != uid || json::is_deleting(object))
            }
        }
    }
}
