//! How far what we hold may lag behind the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between one [`follow`](crate::follow) and whoever reports on it. Clones are the same value.
#[derive(Debug, Clone, Default)]
pub struct Freshness(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Nothing has been listed yet, or it was given up.
    #[default]
    Unknown,
    /// A watch is open: changes arrive as they happen.
    Current,
    StaleSince(Instant),
}

impl Freshness {
    /// How long ago the contents were last known to be current: zero while a watch is open, `None` before the first list.
    pub fn staleness(&self) -> Option<Duration> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Unknown => None,
            State::Current => Some(Duration::ZERO),
            State::StaleSince(then) => Some(then.elapsed()),
        }
    }

    /// The contents are given up: nobody relies on them. Only for when nothing follows any more.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Unknown;
    }

    pub(crate) fn current(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Current;
    }

    /// The watch is gone. How long it has been gone does not start anew with each failed attempt.
    pub(crate) fn lost(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Current = *state {
            *state = State::StaleSince(Instant::now());
        }
    }

    /// A list was taken, no watch is open yet.
    pub(crate) fn listed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::StaleSince(Instant::now());
    }
}
