//! What a question went by and the next may go by as well: connections, and UDP sockets.
//!
//! Each serves one question at a time and is back here once that was answered. Must not know what is sent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) struct Idle<T>(Mutex<Vec<Lent<T>>>);

/// One that serves a question; dropped with it where that is not answered, so that a late answer meets nobody.
pub(super) struct Lent<T> {
    pub(super) channel: T,
    opened: Instant,
    /// When its last question was answered.
    used: Instant,
    n_uses: u32,
}

/// How long one may serve.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// That wait, at the most.
    pub(super) waiting: usize,
    pub(super) unused: Duration,
    pub(super) age: Duration,
    pub(super) uses: u32,
}

// === impl Idle ===

impl<T> Idle<T> {
    /// The one that was used last; those that may no longer serve are dropped on the way to it.
    pub(super) fn take(&self, bounds: &Bounds) -> Option<Lent<T>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        loop {
            let lent = waiting.pop()?;
            if now.duration_since(lent.used) < bounds.unused && now.duration_since(lent.opened) < bounds.age {
                return Some(lent);
            }
        }
    }

    /// Has it wait for the next question, if there is room and it may still serve.
    pub(super) fn keep(&self, mut lent: Lent<T>, bounds: &Bounds) {
        lent.used = Instant::now();
        lent.n_uses += 1;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < bounds.waiting && lent.n_uses < bounds.uses {
            waiting.push(lent);
        }
    }
}

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

// === impl Lent ===

impl<T> Lent<T> {
    pub(super) fn new(channel: T) -> Self {
        let now = Instant::now();
        Self { channel, opened: now, used: now, n_uses: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { waiting: 2, unused: Duration::MAX, age: Duration::MAX, uses: 3 };

    #[test]
    fn one_serves_as_often_as_it_may_and_no_more_wait_than_may() {
        let idle = Idle::default();
        assert!(idle.take(&BOUNDS).is_none());
        (0..3).for_each(|channel| idle.keep(Lent::new(channel), &BOUNDS));
        let mut uses = Vec::new();
        while let Some(lent) = idle.take(&BOUNDS) {
            uses.push(lent.channel);
            idle.keep(lent, &BOUNDS);
        }
        // The third found no room; each was used once before it came here.
        assert_eq!(uses, [1, 1, 0, 0]);
    }

    #[test]
    fn what_is_too_old_or_waited_too_long_serves_no_more() {
        for bounds in [Bounds { unused: Duration::ZERO, ..BOUNDS }, Bounds { age: Duration::ZERO, ..BOUNDS }] {
            let idle = Idle::default();
            idle.keep(Lent::new(()), &BOUNDS);
            assert!(idle.take(&bounds).is_none());
            assert!(idle.take(&BOUNDS).is_none(), "it is dropped");
        }
    }
}
