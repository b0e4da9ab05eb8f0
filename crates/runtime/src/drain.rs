//! Draining: the one who stops waits for all who finish.
//!
//! [`channel`] gives a [`Trigger`] and a [`Drain`]. Each part holds a clone of the `Drain` while it has something to finish;
//! dropping it *is* the acknowledgement.

use tokio::sync::{mpsc, watch};

/// Held by the one who decides to stop.
pub struct Trigger {
    started: watch::Sender<bool>,
    finished: mpsc::Receiver<Never>,
}

/// Held by each part for as long as it has work in hand.
#[derive(Clone)]
pub struct Drain {
    started: watch::Receiver<bool>,
    _unfinished: mpsc::Sender<Never>,
}

enum Never {}

pub fn channel() -> (Trigger, Drain) {
    let (started, watching) = watch::channel(false);
    let (unfinished, finished) = mpsc::channel(1);
    (Trigger { started, finished }, Drain { started: watching, _unfinished: unfinished })
}

impl Trigger {
    /// Tells every holder to finish, without waiting.
    pub fn start(&self) {
        self.started.send_replace(true);
    }

    /// Tells every holder to finish and waits until the last one has.
    pub async fn drain(mut self) {
        self.start();
        // Nothing is ever sent: `recv` ends when the last sender is dropped.
        let _: Option<Never> = self.finished.recv().await;
    }
}

impl Drain {
    /// Waits until draining starts. A trigger that went away without a word counts as start: nobody is left to wait for.
    pub async fn started(&self) {
        let mut started = self.started.clone();
        let _ = started.wait_for(|started| *started).await;
    }

    pub fn has_started(&self) -> bool {
        *self.started.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_holder() {
        let (trigger, drain) = channel();
        let slow = drain.clone();
        let (done, was_done) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            slow.started().await;
            let _ = done.send(());
            drop(slow);
        });
        drop(drain);
        trigger.drain().await;
        was_done.await.expect("the holder finished before drain returned");
    }
}
