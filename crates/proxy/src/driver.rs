//! The driver: when to sync, and what follows from how it went.
//!
//! Owns the sync thread, pacing, retries, the full sync after an error, the health stamp and the metrics, so that a mode holds rules and
//! nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Changed, NodeView, Revision};
use runtime::{Backoff, Drain};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::metrics::{Metrics, NoLocalEndpoints};
use crate::{Applied, ApplyError, Config, Health, Mode, StartError, leftovers};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Starts the sync thread. The receiver tells the revision whose rules are in force.
pub(crate) fn start(
    config: Arc<Config>,
    modes: Vec<Box<dyn Mode + Send>>,
    views: watch::Receiver<Arc<NodeView>>,
    health: Health,
    drain: Drain,
    metrics: Metrics,
) -> Result<watch::Receiver<Revision>, StartError> {
    let (applied, receiver) = watch::channel(Revision(0));
    let runtime = tokio::runtime::Handle::current();
    let mut driver = Driver {
        config,
        modes,
        views,
        health,
        metrics,
        applied,
        last: None,
        again_at: None,
        backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
        no_local: Default::default(),
        leftovers_removed: false,
    };
    std::thread::Builder::new().name("proxy-sync".to_owned()).spawn(move || driver.run(&runtime, &drain)).map_err(StartError::Thread)?;
    Ok(receiver)
}

struct Driver {
    config: Arc<Config>,
    modes: Vec<Box<dyn Mode + Send>>,
    views: watch::Receiver<Arc<NodeView>>,
    health: Health,
    metrics: Metrics,
    applied: watch::Sender<Revision>,
    /// The view that the kernel holds; `None` if that is not known.
    last: Option<Arc<NodeView>>,
    /// When to call the modes even if nothing changed.
    again_at: Option<Instant>,
    backoff: Backoff,
    no_local: [NoLocalEndpoints; 2],
    leftovers_removed: bool,
}

enum Wake {
    Changed,
    /// `again_at` has come.
    Due,
    /// Nothing happened for a sync period.
    Idle,
    Stop,
}

impl Driver {
    fn run(&mut self, runtime: &tokio::runtime::Handle, drain: &Drain) {
        let mut synced_at: Option<Instant> = None;
        loop {
            match runtime.block_on(self.wait(drain)) {
                Wake::Stop => return,
                Wake::Idle => self.look_after(),
                Wake::Changed => {
                    // Pacing holds changes only: what is due is due.
                    let rest = synced_at.and_then(|at| self.config.min_sync_period.checked_sub(at.elapsed()));
                    if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                        self.again_at = Some(self.again_at.map_or(Instant::now() + rest, |at| at.min(Instant::now() + rest)));
                        continue;
                    }
                }
                Wake::Due => self.again_at = None,
            }
            if self.sync() {
                synced_at = Some(Instant::now());
            }
        }
    }

    async fn wait(&mut self, drain: &Drain) -> Wake {
        let due = self.again_at.map_or(Instant::now() + self.config.sync_period, |at| at);
        let timer = tokio::time::sleep_until(due.into());
        let no_source = async {
            if self.views.changed().await.is_err() {
                std::future::pending::<()>().await; // nobody will change anything any more; rules stay
            }
        };
        tokio::select! {
            biased;
            () = drain.started() => Wake::Stop,
            () = no_source => Wake::Changed,
            () = timer => if self.again_at.is_some() { Wake::Due } else { Wake::Idle },
        }
    }

    /// One sync; tells whether the modes were called.
    fn sync(&mut self) -> bool {
        let view = self.views.borrow_and_update().clone();
        if view.revision == Revision(0) {
            return false; // not the first full list yet
        }
        let start = Instant::now();
        let last = self.last.take();
        if last.as_ref().is_none_or(|last| last.revision != view.revision) {
            self.health.queued(start);
            self.metrics.queued(match &last {
                Some(last) => match view.since(last.revision) {
                    Changed::Keys(keys) => keys.len(),
                    Changed::All => view.services.len(),
                },
                None => view.services.len(),
            });
        }
        let result: Result<Applied, ApplyError> =
            self.modes.iter_mut().try_fold(Applied::default(), |sum, mode| Ok(sum.and(mode.sync(&view, last.as_deref())?)));
        match result {
            Ok(applied) => self.succeeded(view, last, applied, start.elapsed()),
            Err(error) => {
                // The kernel took all of a transaction or nothing, but we no longer know which of several: read it back.
                let delay = self.backoff.delay();
                self.metrics.failed();
                warn!(%error, retry_in = ?delay, "rules were not applied");
                self.again_at = Some(Instant::now() + delay);
            }
        }
        true
    }

    fn succeeded(&mut self, view: Arc<NodeView>, last: Option<Arc<NodeView>>, applied: Applied, took: Duration) {
        let changed = last.as_ref().is_none_or(|last| last.revision != view.revision);
        self.backoff.reset();
        self.again_at = applied.again_at;
        if changed {
            self.metrics.synced(took, last.is_none(), view.revision.0, &applied);
            self.metrics.changed(&view, last.as_deref(), &mut self.no_local);
            self.health.updated(view.node.as_ref().is_some_and(|node| node.leaving));
            debug!(revision = view.revision.0, elements = applied.n_elements, rules = applied.n_rules, ?took, "rules are in force");
        }
        if last.is_none() {
            info!(
                services = view.services.len(),
                elements = applied.n_elements,
                rules = applied.n_rules,
                ?took,
                "rules are in force after a full sync"
            );
        }
        self.applied.send_if_modified(|now| std::mem::replace(now, view.revision) != view.revision);
        self.last = Some(view);
        if !self.leftovers_removed {
            self.leftovers_removed = true;
            if let Err(error) = leftovers::remove() {
                warn!(%error, "what kube-proxy left could not be removed");
            }
        }
    }

    /// Asks the modes whether the kernel still holds their rules; if not, the next sync is a full one.
    fn look_after(&mut self) {
        for mode in &mut self.modes {
            match mode.intact() {
                Ok(true) => {}
                Ok(false) => {
                    warn!("somebody changed our rules; reading the kernel back");
                    self.last = None;
                }
                Err(error) => {
                    warn!(%error, "the kernel could not be asked for our rules");
                    self.last = None;
                }
            }
        }
    }
}
