//! The metrics of the driver: kube-proxy's names, and a few of our own.
//!
//! kube-proxy labels by `ip_family` because it runs a proxier for each; ours counts for a family what was done for it: a sync that had
//! nothing to do in one is none of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::node::{NodeService, Verdict};
use model::{Family, NodeView};
use runtime::Registry;
use runtime::metrics::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, exponential_buckets};

/// As in [`model::Family::BOTH`].
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

pub(crate) struct Metrics {
    sync: HistogramVec,
    full_sync: HistogramVec,
    partial_sync: HistogramVec,
    programming: HistogramVec,
    last_sync: GaugeVec,
    last_queued: GaugeVec,
    endpoints_pending: IntGaugeVec,
    services_pending: IntGaugeVec,
    endpoints_changed: IntCounterVec,
    services_changed: IntCounterVec,
    failures: IntCounterVec,
    no_local_endpoints: IntGaugeVec,
    reconciled: HistogramVec,
    flows_deleted: IntCounterVec,
    revision: IntGauge,
    elements: IntCounter,
    rules: IntCounter,
    transactions: IntCounter,
}

/// Service ports whose policy is Local and which have no endpoint here though there are some elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoLocalEndpoints {
    pub(crate) internal: i64,
    pub(crate) external: i64,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let by_family = &["ip_family"][..];
        let durations = || exponential_buckets(0.001, 2.0, 15);
        let histogram = |name: &str, help: &str, buckets| registry.histogram_vec(name, help, buckets, by_family);
        Self {
            sync: histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Time of a sync.", durations()),
            full_sync: histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "Time of a sync that read the kernel back.",
                durations(),
            ),
            partial_sync: histogram("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Time of a sync of the changes.", durations()),
            programming: histogram(
                "kubeproxy_network_programming_duration_seconds",
                "From the cause of a change, as its EndpointSlice says, until the rules were in force.",
                programming_buckets(),
            ),
            last_sync: registry.float_gauge_vec(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When rules were last in force, as Unix time.",
                by_family,
            ),
            last_queued: registry.float_gauge_vec(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change last asked for a sync, as Unix time.",
                by_family,
            ),
            endpoints_pending: registry.gauge_vec(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Services whose change is not in the rules yet.",
                by_family,
            ),
            services_pending: registry.gauge_vec(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Services whose change is not in the rules yet.",
                by_family,
            ),
            endpoints_changed: registry.counter_vec(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "Services taken up with other endpoints.",
                by_family,
            ),
            services_changed: registry.counter_vec(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "Services taken up with other addresses, ports or policies.",
                by_family,
            ),
            failures: registry.counter_vec(
                "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                "Syncs that the kernel refused.",
                by_family,
            ),
            no_local_endpoints: registry.gauge_vec(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Service ports with policy Local and no endpoint on this node.",
                &["ip_family", "traffic_policy"],
            ),
            reconciled: histogram(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                "Time of looking for stale UDP flows.",
                durations(),
            ),
            flows_deleted: registry.counter_vec(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                "Stale UDP flows forgotten, without those that the kernel deleted by filter: it does not count them.",
                by_family,
            ),
            revision: registry.gauge("rutter_proxy_applied_revision", "The revision of the view whose rules are in force."),
            elements: registry.counter("rutter_proxy_elements_total", "Set elements written to or deleted from the kernel."),
            rules: registry.counter("rutter_proxy_rules_total", "Rules written to the kernel."),
            transactions: registry.counter("rutter_proxy_transactions_total", "Transactions committed."),
        }
    }

    /// `n_services` of each family wait.
    pub(crate) fn queued(&self, n_services: [usize; 2]) {
        for (family, n_services) in FAMILIES.into_iter().zip(n_services).filter(|(_, n)| *n > 0) {
            self.last_queued.with_label_values(&[family]).set(unix_now());
            self.services_pending.with_label_values(&[family]).set(n_services as i64);
            self.endpoints_pending.with_label_values(&[family]).set(n_services as i64);
        }
    }

    pub(crate) fn synced(&self, full: bool, revision: u64, applied: &crate::Applied) {
        for (family, took) in FAMILIES.into_iter().zip(applied.took) {
            if let Some(took) = took.map(|took| took.as_secs_f64()) {
                self.sync.with_label_values(&[family]).observe(took);
                let kind = if full { &self.full_sync } else { &self.partial_sync };
                kind.with_label_values(&[family]).observe(took);
            }
            self.last_sync.with_label_values(&[family]).set(unix_now());
            self.services_pending.with_label_values(&[family]).set(0);
            self.endpoints_pending.with_label_values(&[family]).set(0);
        }
        self.revision.set(revision as i64);
        self.elements.inc_by(applied.n_elements as u64);
        self.rules.inc_by(applied.n_rules as u64);
        self.transactions.inc_by(applied.n_transactions as u64);
    }

    pub(crate) fn reconciled(&self, family: Family, n_deleted: usize, took: Duration) {
        let family = &*family.to_string();
        self.reconciled.with_label_values(&[family]).observe(took.as_secs_f64());
        self.flows_deleted.with_label_values(&[family]).inc_by(n_deleted as u64);
    }

    pub(crate) fn failed(&self) {
        for family in FAMILIES {
            self.failures.with_label_values(&[family]).inc();
        }
    }

    /// Counts what changed between two views, and how long it took since its cause. `totals` is kept up by the difference.
    pub(crate) fn changed(&self, view: &NodeView, last: Option<&NodeView>, totals: &mut [NoLocalEndpoints; 2]) {
        let empty = NodeView::default();
        let last = last.unwrap_or_else(|| {
            *totals = Default::default();
            &empty
        });
        let held = last.services.iter().map(|(key, _)| key);
        for key in view.since(last.revision).or_all(&view.services, held) {
            let (old, new) = (last.services.get(&key), view.services.get(&key));
            if old == new {
                continue;
            }
            let family = key.family.to_string();
            let total = &mut totals[usize::from(key.family == Family::V6)];
            total.add(old, -1);
            total.add(new, 1);
            let same_endpoints = old.map(|s| s.triggered_at_ms) == new.map(|s| s.triggered_at_ms) && old.is_some();
            let changed = if same_endpoints { &self.services_changed } else { &self.endpoints_changed };
            changed.with_label_values(&[&family]).inc();
            // Only what happened while we ran says anything: at the start every slice is old.
            if let (Some(old), Some(new)) = (old, new)
                && old.triggered_at_ms < new.triggered_at_ms
                && let Some(at) = new.triggered_at_ms
            {
                let took = (unix_now() - at as f64 / 1000.0).max(0.0);
                self.programming.with_label_values(&[&family]).observe(took);
            }
        }
        for (family, total) in FAMILIES.into_iter().zip(totals.iter()) {
            self.no_local_endpoints.with_label_values(&[family, "internal"]).set(total.internal);
            self.no_local_endpoints.with_label_values(&[family, "external"]).set(total.external);
        }
    }
}

impl NoLocalEndpoints {
    fn add(&mut self, service: Option<&std::sync::Arc<NodeService>>, sign: i64) {
        let Some(service) = service else { return };
        let count = |of: fn(&model::node::NodeServicePort) -> &Verdict| {
            service.ports.iter().filter(|port| matches!(of(port), Verdict::Drop)).count() as i64
        };
        self.internal += sign * count(|port| &port.internal);
        self.external += sign * count(|port| &port.external);
    }
}

/// kube-proxy's: 0.25, 0.5, 1 to 59 by one, 60 to 115 by five, 120 to 300 by thirty.
fn programming_buckets() -> Vec<f64> {
    let steps = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    [0.25, 0.5].into_iter().chain(steps.map(f64::from)).collect()
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
