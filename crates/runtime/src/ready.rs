//! Readiness: what has to happen once before the process may say that it is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// All conditions of the start. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Name to number of those that wait under it.
    pending: Mutex<BTreeMap<&'static str, usize>>,
    changed: watch::Sender<()>,
}

/// One condition that does not hold yet; dropping it says that it does from now on.
#[must_use = "dropping it at once says that the condition holds"]
pub struct Pending {
    name: &'static str,
    inner: Arc<Inner>,
}

impl Readiness {
    /// Adds a condition, named as an operator would read it: `nftables first sync`.
    pub fn register(&self, name: &'static str) -> Pending {
        *self.inner.lock().entry(name).or_default() += 1;
        Pending { name, inner: self.inner.clone() }
    }

    pub fn is_ready(&self) -> bool {
        self.inner.lock().is_empty()
    }

    /// The names of the conditions that do not hold yet.
    pub fn pending(&self) -> Vec<&'static str> {
        self.inner.lock().keys().copied().collect()
    }

    /// Waits until no condition of this name is left.
    pub async fn wait_for(&self, name: &str) {
        let mut changed = self.inner.changed.subscribe();
        while self.inner.lock().contains_key(name) {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    pub async fn wait(&self) {
        let mut changed = self.inner.changed.subscribe();
        while !self.is_ready() {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }
}

impl Pending {
    /// The condition holds from now on.
    pub fn done(self) {}
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut pending = self.inner.lock();
        if let Some(n) = pending.get_mut(self.name) {
            *n -= 1;
            if *n == 0 {
                pending.remove(self.name);
            }
        }
        drop(pending);
        self.inner.changed.send_replace(());
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // A count cannot be left half written.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_ready_once_every_condition_was_dropped() {
        let readiness = Readiness::default();
        let rules = readiness.register("rules");
        let zones = (readiness.register("zones"), readiness.register("zones"));
        rules.done();
        drop(zones.0);
        assert_eq!(readiness.pending(), ["zones"]);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        drop(zones.1);
        waiting.await.expect("no panic");
        assert!(readiness.is_ready());
    }
}
