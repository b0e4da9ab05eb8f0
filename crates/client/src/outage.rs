//! A server that does not answer, as all who ask it see it together: they take turns, and who is answered calls the others.
//!
//! Owns when the next question is due. Must not know what is asked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::backoff::spread;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// However many take turns, each has its own within this: what one is refused may be allowed to another.
const LATEST: Duration = Duration::from_secs(5);
/// Those that are called come within this, not all in one moment.
const CALLED: Duration = Duration::from_millis(200);

/// Shared by the clones of one client.
pub(crate) struct Outage {
    /// When the last of those that wait has its turn.
    last: Mutex<Instant>,
    answered: watch::Sender<()>,
}

/// What the others heard from the server.
pub(crate) struct Answers(watch::Receiver<()>);

// === impl Outage ===

impl Outage {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), answered: watch::Sender::new(()) }
    }

    pub(crate) fn answers(&self) -> Answers {
        Answers(self.answered.subscribe())
    }

    /// The server answered: calls those that wait.
    pub(crate) fn end(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.answered.send_replace(());
    }

    /// Waits for a turn, `delay` after the one before it, or for an answer to others.
    pub(crate) async fn turn(&self, delay: Duration, answers: &mut Answers) {
        let turn = {
            let now = Instant::now();
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = ((*last).max(now) + delay).min(now + LATEST);
            *last
        };
        tokio::select! {
            () = sleep_until(turn) => {}
            Ok(()) = answers.0.changed() => sleep(spread(CALLED)).await,
        }
    }
}

// === impl Answers ===

impl Answers {
    /// From now on only later ones count: a question is about to be asked.
    pub(crate) fn forget(&mut self) {
        self.0.mark_unchanged();
    }
}
