//! What is asked of the API server, counted by the names that client-go has for it.

use std::time::Duration;

use hyper::http::Method;
use runtime::Registry;
use runtime::metrics::{DEFAULT_BUCKETS, HistogramVec, IntCounterVec};

use crate::Error;

/// Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    duration: HistogramVec,
    limited: HistogramVec,
    requests: IntCounterVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let buckets = || DEFAULT_BUCKETS.to_vec();
        Self {
            duration: registry.histogram_vec(
                "rest_client_request_duration_seconds",
                "Request latency in seconds. Broken down by verb and host.",
                buckets(),
                &["verb", "host"],
            ),
            limited: registry.histogram_vec(
                "rest_client_rate_limiter_duration_seconds",
                "Client side rate limiter latency in seconds. Broken down by verb and host.",
                buckets(),
                &["verb", "host"],
            ),
            requests: registry.counter_vec(
                "rest_client_requests_total",
                "Number of HTTP requests, partitioned by status code, method, and host.",
                &["code", "method", "host"],
            ),
        }
    }

    /// Shows them in another registry as well.
    pub fn show_in(&self, registry: &Registry) {
        registry.share(&self.duration);
        registry.share(&self.limited);
        registry.share(&self.requests);
    }

    /// Takes note of a request that was answered (a watch: begun to be) or failed.
    pub(crate) fn note(&self, method: &Method, host: &str, took: Duration, status: Result<u16, &Error>) {
        self.duration.with_label_values(&[method.as_str(), host]).observe(took.as_secs_f64());
        // A request waits for no limiter: what keeps the rate down is that each list and watch is one request.
        self.limited.with_label_values(&[method.as_str(), host]).observe(0.0);
        let code = match status {
            Ok(code) => code.to_string(),
            // client-go's word for no answer at all.
            Err(error) => error.code().map_or("<error>".to_owned(), |code| code.to_string()),
        };
        self.requests.with_label_values(&[&code, method.as_str(), host]).inc();
    }
}
