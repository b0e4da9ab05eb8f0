//! Following the NameView: each new view becomes the next snapshot.
//!
//! Owns the one order that is promised (architecture.md): where a proxy runs in the same process, no name leads to a new cluster IP
//! before the proxy applied its revision, or 100 ms passed; until then it is answered as before. All other changes are seen at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::{NameView, Revision, ServiceName};
use runtime::Pending;
use tokio::sync::watch;
use tokio::time::Instant;

use super::snapshot::Snapshot;
use super::{Current, Options};
use crate::server::metrics::Metrics;

/// How long a new name waits for the proxy.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks at what is known before all is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Follower {
    pub(crate) options: Options,
    pub(crate) current: Current,
    pub(crate) names: watch::Receiver<Arc<NameView>>,
    /// What is known before all is.
    pub(crate) early: Option<watch::Receiver<Arc<NameView>>>,
    pub(crate) applied: Option<watch::Receiver<Revision>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Dropped with the first snapshot.
    pub(crate) ready: Option<Pending>,
}

/// A Service whose name waits.
struct Held {
    name: ServiceName,
    revision: Revision,
    until: Instant,
}

impl Follower {
    /// Runs until the views end.
    pub(crate) async fn run(mut self) {
        self.fill().await;
        let mut held: Vec<Held> = Vec::new();
        // What the channel was made with is of revision 0 and says nothing; whatever is sent later counts, be it empty.
        let mut published = false;
        loop {
            let view = self.names.borrow_and_update().clone();
            if published || view.revision > Revision(0) {
                if self.ready.is_some() {
                    self.wait_for(view.revision).await;
                }
                self.take_up(&view, &mut held);
                self.ready = None;
            }
            if !self.wait(&mut held).await {
                return;
            }
            published = true;
        }
    }

    /// Answers from what is known already, if the names take longer than their time: until they are there. Each look at what is known
    /// takes it up as a whole, so not every change is looked at.
    async fn fill(&mut self) {
        let Some(mut early) = self.early.take() else { return };
        let mut names = self.names.clone();
        let known = async {
            if names.borrow().revision == Revision(0) {
                let _ = names.changed().await;
            }
        };
        let filling = async {
            // A look ahead of the server, which then answers what has waited for it.
            tokio::time::sleep(self.options.startup_timeout.saturating_sub(LOOK_EVERY)).await;
            loop {
                let view = early.borrow_and_update().clone();
                let mut next = Snapshot::unsynced();
                next.patch(&view, &next.changes(&view), &HashSet::new(), &self.options);
                next.synced = false;
                self.current.store(Arc::new(next));
                tokio::time::sleep(LOOK_EVERY).await;
                if early.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            () = known => {}
            () = filling => {}
        }
    }

    /// Waits for the next view while held names are let go; `false` once there will be none.
    async fn wait(&mut self, held: &mut Vec<Held>) -> bool {
        loop {
            let due = held.iter().map(|held| held.until).min();
            tokio::select! {
                changed = self.names.changed() => return changed.is_ok(),
                () = changes(&mut self.applied), if due.is_some() => {}
                () = sleep_until(due), if due.is_some() => {}
            }
            self.let_go(held);
        }
    }

    fn take_up(&self, view: &Arc<NameView>, held: &mut Vec<Held>) {
        let mut next = Snapshot::clone(&self.current.load());
        let changes = next.changes(view);
        if next.synced && self.applied_up_to().is_some_and(|applied| applied < view.revision) {
            let until = Instant::now() + PATIENCE;
            for name in next.new_virtual(view, &changes) {
                match held.iter_mut().find(|held| held.name == *name) {
                    None => held.push(Held { name: name.clone(), revision: view.revision, until }),
                    Some(held) if !next.has_same_virtual(view, name) => held.revision = view.revision,
                    Some(_) => {}
                }
            }
        }
        let waiting: HashSet<ServiceName> = held.iter().map(|held| held.name.clone()).collect();
        next.patch(view, &changes, &waiting, &self.options);
        tracing::debug!(revision = %view.revision, held = held.len(), "took up names");
        let before = self.current.swap(Arc::new(next));
        if before.synced {
            for (headless, since) in before.triggered(view, &changes) {
                // Whether a Service has a selector is not told here; those without are rare.
                let kind = if headless { "headless_with_selector" } else { "cluster_ip" };
                self.metrics.programming.with_label_values(&[kind]).observe(since.as_secs_f64());
            }
        }
        self.let_go(held);
    }

    fn let_go(&self, held: &mut Vec<Held>) {
        let (now, applied) = (Instant::now(), self.applied_up_to());
        let free: Vec<Held> =
            held.extract_if(.., |held| held.until <= now || applied.is_none_or(|applied| applied >= held.revision)).collect();
        if free.is_empty() {
            return;
        }
        let mut next = Snapshot::clone(&self.current.load());
        for held in free {
            next.release(&held.name, &self.options);
        }
        self.current.store(Arc::new(next));
    }

    /// The start's own wait: its names are all new, and denying them meanwhile would be a lie, so nothing is published.
    async fn wait_for(&mut self, revision: Revision) {
        if let Some(applied) = &mut self.applied {
            let _ = tokio::time::timeout(PATIENCE, applied.wait_for(|applied| *applied >= revision)).await;
        }
    }

    fn applied_up_to(&self) -> Option<Revision> {
        self.applied.as_ref().map(|applied| *applied.borrow())
    }
}

/// Waits for a change; for ever where there is nothing (any more) to change.
async fn changes(applied: &mut Option<watch::Receiver<Revision>>) {
    let changed = match applied {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests;
