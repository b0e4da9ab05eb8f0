//! Whether the proxy keeps up, as kube-proxy's `/healthz` and `/livez` tell it (KEP-3836).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use runtime::status::Page;
use runtime::time::Rfc3339;

/// The stamp of the sync thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    sync_period: Duration,
    stamp: Arc<Mutex<Stamp>>,
}

#[derive(Debug, Default)]
struct Stamp {
    updated_at: Option<SystemTime>,
    /// When the oldest change that is not in the kernel came.
    queued_at: Option<Instant>,
    leaving: bool,
}

impl Health {
    pub(crate) fn new(sync_period: Duration) -> Self {
        Self { sync_period, stamp: Arc::default() }
    }

    pub(crate) fn queued(&self, at: Instant) {
        self.with(|stamp| {
            stamp.queued_at.get_or_insert(at);
        });
    }

    pub(crate) fn updated(&self, leaving: bool) {
        self.with(|stamp| *stamp = Stamp { updated_at: Some(SystemTime::now()), queued_at: None, leaving });
    }

    /// Updated at least once, and no change has waited for longer than two sync periods.
    pub fn is_live(&self) -> bool {
        self.with(|stamp| stamp.updated_at.is_some() && stamp.queued_at.is_none_or(|at| at.elapsed() <= 2 * self.sync_period))
    }

    /// Live, and the node is not about to go: load balancers send new connections elsewhere otherwise.
    pub fn is_healthy(&self) -> bool {
        self.is_live() && !self.with(|stamp| stamp.leaving)
    }

    pub fn healthz(&self) -> Page {
        let eligible = !self.with(|stamp| stamp.leaving);
        self.page(self.is_healthy(), &format!(r#","nodeEligible": {eligible}"#))
    }

    pub fn livez(&self) -> Page {
        self.page(self.is_live(), "")
    }

    fn page(&self, ok: bool, more: &str) -> Page {
        let now = SystemTime::now();
        // While nothing waits, all is as of now.
        let updated = self.with(|stamp| match (stamp.updated_at, stamp.queued_at) {
            (Some(_), None) => now,
            (Some(at), Some(_)) => at,
            (None, _) => SystemTime::UNIX_EPOCH,
        });
        let body = format!(r#"{{"lastUpdated": "{}","currentTime": "{}"{more}}}"#, Rfc3339(updated), Rfc3339(now));
        Page::json(if ok { 200 } else { 503 }, body).header("X-Content-Type-Options", "nosniff".to_owned())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Stamp) -> T) -> T {
        // A stamp is written whole.
        look(&mut self.stamp.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_ready_before_the_first_sync_nor_behind_for_two_periods() {
        let health = Health::new(Duration::from_secs(30));
        assert_eq!(health.healthz().status, 503);
        health.updated(false);
        assert_eq!(health.healthz().status, 200);
        health.queued(Instant::now());
        assert_eq!(health.healthz().status, 200, "one period is time enough");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(61)).expect("the machine runs for a minute");
        health.updated(false);
        health.queued(long_ago);
        health.queued(Instant::now());
        assert_eq!((health.healthz().status, health.livez().status), (503, 503), "the oldest change counts");
    }

    #[test]
    fn a_leaving_node_is_alive_but_not_healthy() {
        let health = Health::new(Duration::from_secs(30));
        health.updated(true);
        let page = health.healthz();
        assert_eq!((page.status, health.livez().status), (503, 200));
        assert!(String::from_utf8_lossy(&page.body).contains(r#""nodeEligible": false"#));
    }
}
