//! Upstreams that failed a question, probed until they answer.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::upstream::Upstream;
use super::{Options, exchange};
use crate::server::metrics::Metrics;

/// A probe that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(1);

/// Has an upstream probed, now that a question to it failed, until it answers. Only probes that fail count (as CoreDNS's `max_fails` says):
/// a name that nobody can resolve in time says nothing of the server that was asked for it. With `max_fails 0` nothing is probed.
pub(crate) fn start(upstream: &Arc<Upstream>, options: &Options, metrics: &Arc<Metrics>) {
    if options.max_fails == 0 || !upstream.begin_probing() {
        return;
    }
    let (weak, options, metrics) = (Arc::downgrade(upstream), options.clone(), metrics.clone());
    tokio::spawn(async move {
        // Ends with the configuration that names the upstream.
        while let Some(upstream) = weak.upgrade() {
            if exchange::probe(&upstream, &options, LIMIT, &metrics).await {
                if !upstream.is_healthy(options.max_fails) {
                    info!(upstream = %upstream.address, "an upstream answers again");
                }
                upstream.end_probing();
                return;
            }
            metrics.healthcheck_failures.with_label_values(&["forward", &upstream.label]).inc();
            let fails = upstream.failed_probe();
            if fails == options.max_fails {
                warn!(upstream = %upstream.address, fails, "an upstream is left out until it answers a probe");
            }
            drop(upstream);
            tokio::time::sleep(options.health_check).await;
        }
    });
}
