//! The driver: when to sync, and what follows from how it went.
//!
//! Owns the sync thread, pacing, retries, the full sync after an error, the health stamp and the metrics, so that a mode holds rules and
//! nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Changed, Family, NodeView, Revision};
use runtime::{Backoff, Drain};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::alone::Alone;
use crate::metrics::{Metrics, NoLocalEndpoints};
use crate::reports::Reports;
use crate::stale_flows::{self, StaleFlows};
use crate::{Applied, ApplyError, Config, Health, Mode, StartError, leftovers};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// How long kube-proxy's rules stay once ours are in force: a packet that came by before ours were there is judged by its, and has to
/// find all of them however often it is interrupted.
const OVERLAP: Duration = Duration::from_secs(1);

/// Who is told what came of a sync, and what is kept for as long as the thread lives.
pub(crate) struct Told {
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) reports: Reports,
    /// The revision of the last applied view whose health-check node ports may be others than before.
    pub(crate) health_checks: watch::Sender<Revision>,
    /// `None` where nobody else can be.
    pub(crate) _alone: Option<Alone>,
}

/// Starts the sync thread. The receiver tells the revision whose rules are in force.
pub(crate) fn start(
    config: Arc<Config>,
    modes: Vec<Box<dyn Mode + Send>>,
    mut views: watch::Receiver<Arc<NodeView>>,
    told: Told,
    drain: Drain,
) -> Result<watch::Receiver<Revision>, StartError> {
    let (applied, receiver) = watch::channel(Revision(0));
    views.mark_changed(); // one that is there already is news to us
    let mut driver = Driver {
        config,
        modes,
        views,
        told,
        stale_flows: StaleFlows::default(),
        applied,
        last: None,
        again_at: None,
        backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
        no_local: Default::default(),
        leftovers: Leftovers::Unseen,
    };
    std::thread::Builder::new().name("proxy-sync".to_owned()).spawn(move || driver.run(&drain)).map_err(StartError::Thread)?;
    Ok(receiver)
}

struct Driver {
    config: Arc<Config>,
    modes: Vec<Box<dyn Mode + Send>>,
    views: watch::Receiver<Arc<NodeView>>,
    told: Told,
    stale_flows: StaleFlows,
    applied: watch::Sender<Revision>,
    /// The view that the kernel holds; `None` if that is not known.
    last: Option<Arc<NodeView>>,
    /// When to call the modes even if nothing changed.
    again_at: Option<Instant>,
    backoff: Backoff,
    no_local: [NoLocalEndpoints; 2],
    leftovers: Leftovers,
}

/// What kube-proxy left.
enum Leftovers {
    Unseen,
    GoAt(Instant),
    Gone,
}

/// How many there are of each family, as in [`Family::BOTH`].
fn count(families: impl Iterator<Item = Family>) -> [usize; 2] {
    families.fold([0; 2], |mut n, family| {
        n[usize::from(family == Family::V6)] += 1;
        n
    })
}

enum Wake {
    Changed,
    /// `again_at` has come.
    Due,
    /// Nothing happened for a sync period.
    Idle,
    Leftovers,
    Stop,
}

impl Driver {
    fn run(&mut self, drain: &Drain) {
        let mut synced_at: Option<Instant> = None;
        loop {
            match self.wait(drain) {
                Wake::Stop => return,
                Wake::Idle => {
                    self.look_after();
                    self.told.reports.send();
                }
                Wake::Changed => {
                    // Pacing holds changes only: what is due is due.
                    let rest = synced_at.and_then(|at| self.config.min_sync_period.checked_sub(at.elapsed()));
                    if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                        self.again_at = Some(self.again_at.map_or(Instant::now() + rest, |at| at.min(Instant::now() + rest)));
                        continue;
                    }
                }
                Wake::Due => self.again_at = None,
                Wake::Leftovers => {
                    self.remove_leftovers();
                    continue;
                }
            }
            if self.sync() {
                synced_at = Some(Instant::now());
            }
        }
    }

    fn wait(&mut self, drain: &Drain) -> Wake {
        let leftovers = match self.leftovers {
            Leftovers::GoAt(at) => Some(at),
            Leftovers::Unseen | Leftovers::Gone => None,
        };
        let due = self.again_at.unwrap_or_else(|| Instant::now() + self.config.sync_period);
        let until = leftovers.map_or(due, |at| at.min(due));
        let is_due = leftovers.is_some_and(|at| at <= Instant::now());
        let news = async {
            tokio::select! {
                biased;
                () = drain.started() => Wake::Stop,
                () = std::future::ready(()), if is_due => Wake::Leftovers, // also while changes stream in
                // Where nobody will change anything any more, rules stay.
                Ok(()) = self.views.changed() => Wake::Changed,
            }
        };
        runtime::park::wait(news, until).unwrap_or(match leftovers {
            Some(at) if at == until => Wake::Leftovers,
            _ if self.again_at.is_some() => Wake::Due,
            _ => Wake::Idle,
        })
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
            self.told.health.queued(start);
            let known = last.as_ref().map_or(Revision(0), |last| last.revision);
            self.told.metrics.queued(match view.since(known) {
                Changed::Keys(keys) => count(keys.iter().map(|key| key.family)),
                Changed::All => count(view.services.iter().map(|(key, _)| key.family)),
            });
        }
        let result: Result<Applied, ApplyError> =
            self.modes.iter_mut().try_fold(Applied::default(), |sum, mode| Ok(sum.and(mode.sync(&view, last.as_deref())?)));
        match result {
            Ok(applied) => self.succeeded(view, last, applied, start.elapsed()),
            Err(error) => {
                // The kernel took all of a transaction or nothing, but we no longer know which of several: read it back.
                let delay = self.backoff.delay();
                self.told.metrics.failed();
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
            self.forget_stale_flows(&view, last.as_deref());
            self.told.metrics.synced(last.is_none(), view.revision.0, &applied);
            self.told.metrics.changed(&view, last.as_deref(), &mut self.no_local);
            if concerns_health_checks(&view, last.as_deref()) {
                self.told.health_checks.send_replace(view.revision);
            }
            self.told.health.updated(view.node.as_ref().is_some_and(|node| node.leaving));
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
        if last.is_none() {
            self.told.reports.restart();
        }
        for mode in &mut self.modes {
            mode.take_issues().into_iter().for_each(|(key, issues)| self.told.reports.set(key, issues));
        }
        self.told.reports.send();
        self.last = Some(view);
        if matches!(self.leftovers, Leftovers::Unseen) {
            self.leftovers = Leftovers::GoAt(Instant::now() + OVERLAP);
        }
    }

    fn remove_leftovers(&mut self) {
        self.leftovers = Leftovers::Gone;
        if let Err(error) = leftovers::remove() {
            warn!(%error, "what kube-proxy left could not be removed");
        }
    }

    /// Best effort: a flow that stays is one that kube-proxy of old would have left as well.
    fn forget_stale_flows(&mut self, view: &NodeView, last: Option<&NodeView>) {
        let changes = stale_flows::Changes::between(view, last);
        for family in Family::BOTH {
            let start = Instant::now();
            match self.stale_flows.forget(&changes, family) {
                Ok(None) => {}
                Ok(Some(n)) => self.told.metrics.reconciled(family, n, start.elapsed()),
                Err(error) => warn!(%family, %error, "stale UDP flows were not looked for"),
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

/// Whether a Service changed that has a health-check node port or had one, or where all of them are served.
fn concerns_health_checks(view: &NodeView, last: Option<&NodeView>) -> bool {
    let Some(last) = last else { return true };
    let one_of = |view: &NodeView, key| view.services.get(key).is_some_and(|service| service.health_check.is_some());
    match view.since(last.revision) {
        Changed::Keys(keys) => keys.iter().any(|key| one_of(view, key) || one_of(last, key)),
        Changed::All => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::node::{HealthCheck, NodeKey, NodeService};
    use model::{NodePort, ServiceName};

    use super::*;

    /// Notes what it is asked for, and fails when told to.
    #[derive(Clone, Default)]
    struct Notes {
        said: Arc<Mutex<Vec<String>>>,
        fail_at: Option<u64>,
        drain_at: Option<u64>,
    }

    impl Mode for Notes {
        fn sync(&mut self, view: &NodeView, last: Option<&NodeView>) -> Result<Applied, ApplyError> {
            let from = last.map_or("nothing".to_owned(), |last| last.revision.to_string());
            self.said.lock().expect("no panic").push(format!("{} from {from}", view.revision));
            if self.fail_at.take_if(|at| *at == view.revision.0).is_some() {
                return Err(kernel::nft::CommitError::Socket { errno: kernel::Errno::EBUSY }.into());
            }
            let again = self.drain_at.take_if(|at| *at == view.revision.0);
            Ok(Applied { again_at: again.map(|_| Instant::now()), ..Applied::default() })
        }

        fn cleanup(&mut self) -> Result<(), ApplyError> {
            Ok(())
        }
    }

    /// Shows views of these revisions one after another, each after the last is applied; what the mode was asked for.
    fn check(mode: Notes, revisions: &[u64], expected: &[&str]) {
        let ns = kernel::netns::Netns::new("proxy-driver");
        let said = mode.said.clone();
        ns.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (views, receiver) = watch::channel(Arc::new(NodeView::default()));
                let (trigger, drain) = runtime::drain::channel();
                let health = Health::new(Duration::from_secs(30));
                let told = Told {
                    health: health.clone(),
                    metrics: Metrics::new(&runtime::Registry::default()),
                    reports: Reports::new(tokio::sync::mpsc::channel(1).0),
                    health_checks: watch::channel(Revision(0)).0,
                    _alone: None,
                };
                let mut applied = start(Arc::default(), vec![Box::new(mode)], receiver, told, drain).expect("a thread");
                for revision in revisions {
                    views.send_replace(Arc::new(NodeView { revision: Revision(*revision), ..NodeView::default() }));
                    let done = applied.wait_for(|now| now.0 == *revision);
                    tokio::time::timeout(Duration::from_secs(5), done).await.expect("in time").expect("the thread lives");
                }
                for _ in 0..500 {
                    if said.lock().expect("no panic").len() >= expected.len() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert!(health.is_healthy());
                trigger.drain().await;
            });
        });
        assert_eq!(*said.lock().expect("no panic"), expected);
    }

    #[test]
    fn each_view_is_applied_as_the_difference_to_the_last() {
        check(Notes::default(), &[3, 4, 9], &["3 from nothing", "4 from 3", "9 from 4"]);
    }

    #[test]
    fn after_a_failure_nothing_is_assumed() {
        let mode = Notes { fail_at: Some(4), ..Notes::default() };
        check(mode, &[3, 4, 5], &["3 from nothing", "4 from 3", "4 from nothing", "5 from 4"]);
    }

    #[test]
    fn what_is_due_later_is_done_without_a_change() {
        let mode = Notes { drain_at: Some(3), ..Notes::default() };
        check(mode, &[3], &["3 from nothing", "3 from 3"]);
    }

    #[test]
    fn health_checks_hear_of_changes_that_concern_them_alone() {
        let key = |name: &str| NodeKey { service: ServiceName::new("default", name), family: Family::V4 };
        let service = |health_check| Arc::new(NodeService { health_check, ..NodeService::new("10.96.0.1".parse().expect("an address")) });
        let check = Some(HealthCheck { port: NodePort(30_000), local_endpoints: 1 });
        let mut before = NodeView { revision: Revision(1), ..NodeView::default() };
        before.services.put(Revision(1), key("checked"), Some(service(check)));
        before.services.put(Revision(1), key("plain"), Some(service(None)));
        let told = |name: &str, new: Option<Arc<NodeService>>| {
            let mut view = before.clone();
            view.revision = Revision(2);
            view.services.put(Revision(2), key(name), new);
            concerns_health_checks(&view, Some(&before))
        };
        assert!(!told("plain", Some(service(None))));
        assert!(!told("plain", None));
        assert!(told("plain", Some(service(check))), "it has one now");
        assert!(told("checked", None), "it had one");
        assert!(told("checked", Some(service(check))), "its endpoints may be others");
        assert!(concerns_health_checks(&before, None), "nothing is known");
    }
}
