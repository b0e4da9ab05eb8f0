//! The queue of keys: each at most once, none twice at a time, failed ones later, and those that were just written not before the
//! watches have told what came of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use runtime::Backoff;
use tokio::time::Instant;

use super::send::Sent;
use crate::cache::{Cache, Key};

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A watch that has not told of a write by then has other troubles; acting on what is known is better than standing still.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A key of one controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) controller: usize,
    pub(super) key: Key,
}

#[derive(Default)]
pub(super) struct Queue {
    ready: VecDeque<Task>,
    queued: HashSet<Task>,
    /// Being sent; `true` once it was touched meanwhile.
    running: HashMap<Task, bool>,
    /// Written, but not come back yet.
    waiting: HashMap<Task, Waiting>,
    later: Vec<(Instant, Task)>,
    backoffs: HashMap<Task, Backoff>,
}

struct Waiting {
    sent: Vec<Sent>,
    until: Instant,
    touched: bool,
}

// === impl Queue ===

impl Queue {
    pub(super) fn in_flight(&self) -> usize {
        self.running.len()
    }

    pub(super) fn add(&mut self, task: Task) {
        if let Some(touched) = self.running.get_mut(&task) {
            *touched = true;
        } else if let Some(waiting) = self.waiting.get_mut(&task) {
            waiting.touched = true;
        } else if self.queued.insert(task.clone()) {
            self.ready.push_back(task);
        }
    }

    pub(super) fn add_later(&mut self, task: Task, at: Instant) {
        self.later.retain(|(_, other)| *other != task);
        self.later.push((at, task));
    }

    /// The next key to look at; it runs until `done` or `failed`.
    pub(super) fn next(&mut self, cache: &Cache) -> Option<Task> {
        self.recheck(cache);
        let task = self.ready.pop_front()?;
        self.queued.remove(&task);
        self.running.insert(task.clone(), false);
        Some(task)
    }

    /// Its plan was sent whole.
    pub(super) fn done(&mut self, task: &Task, sent: Vec<Sent>, cache: &Cache) {
        self.backoffs.remove(task);
        let touched = self.running.remove(task).unwrap_or(false);
        let sent: Vec<_> = sent.into_iter().filter(|sent| !sent.has_come_back(cache)).collect();
        if !sent.is_empty() {
            let waiting = Waiting { sent, until: Instant::now() + MAX_WAIT, touched };
            self.waiting.insert(task.clone(), waiting);
        } else if touched {
            self.add(task.clone());
        }
    }

    pub(super) fn failed(&mut self, task: Task, now: Instant) {
        self.running.remove(&task);
        let backoff = self.backoffs.entry(task.clone()).or_insert_with(|| Backoff::new(FIRST_RETRY, LAST_RETRY));
        let delay = backoff.delay();
        self.add_later(task, now + delay);
    }

    /// Lets go of the keys whose writes have come back.
    pub(super) fn recheck(&mut self, cache: &Cache) {
        let now = Instant::now();
        let mut touched = Vec::new();
        self.waiting.retain(|task, waiting| {
            waiting.sent.retain(|sent| !sent.has_come_back(cache));
            let goes_on = !waiting.sent.is_empty() && now < waiting.until;
            if !goes_on && waiting.touched {
                touched.push(task.clone());
            }
            goes_on
        });
        touched.into_iter().for_each(|task| self.add(task));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _)| *at).chain(self.waiting.values().map(|waiting| waiting.until)).min()
    }

    pub(super) fn wake_due(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, Task)> = due;
        due.into_iter().for_each(|(_, task)| self.add(task));
        // What waited too long is looked at even if nothing touched it.
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.until <= now) {
            waiting.touched = true;
        }
    }
}
