//! Metrics under ingress-nginx's names, so that its dashboards and alerts go on working.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::http::Method;
use runtime::Registry;
use runtime::metrics::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::table::route::{Labels, Origins};

/// The Prometheus client's default buckets, as ingress-nginx has them.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const LABELS: [&str; 8] = ["status", "method", "path", "namespace", "ingress", "service", "canary", "host"];

#[derive(Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    response_seconds: HistogramVec,
    response_bytes: HistogramVec,
    /// The statuses and methods under which a route was counted: its series, so that they can end with it.
    counted: Arc<Mutex<Counted>>,
    pub connections: IntGauge,
    pub accepted: IntCounter,
    pub handled: IntCounter,
    pub reloads: IntGauge,
    pub bad_certificates: IntGauge,
    pub certificate_expires: IntGaugeVec,
    pub dropped_log_lines: IntCounter,
}

type Counted = HashMap<Origins, HashSet<(u16, &'static str)>>;

/// The series of one route, status and method, found once and kept by the core.
struct Series {
    requests: IntCounter,
    request_seconds: Histogram,
    response_seconds: Histogram,
    response_bytes: Histogram,
}

/// One core's shortcuts to the series that it counts.
pub(crate) struct Counters {
    metrics: Metrics,
    known: RefCell<HashMap<(u64, u16, Method), Series>>,
}

/// More routes, statuses and methods than this in use at once start the shortcuts anew.
const MAX_KNOWN: usize = 4_096;

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let seconds = |name, help| registry.histogram_vec(name, help, SECONDS.to_vec(), &LABELS);
        let connections_total = registry.counter_vec(
            "nginx_ingress_controller_nginx_process_connections_total",
            "total number of connections with state {accepted, handled}",
            &["state"],
        );
        let connections = registry.gauge_vec(
            "nginx_ingress_controller_nginx_process_connections",
            "current number of client connections with state {active, reading, writing, waiting}",
            &["state"],
        );
        Self {
            counted: Arc::default(),
            requests: registry.counter_vec("nginx_ingress_controller_requests", "The total number of client requests", &LABELS),
            request_seconds: seconds("nginx_ingress_controller_request_duration_seconds", "The request processing time in seconds"),
            response_seconds: seconds(
                "nginx_ingress_controller_response_duration_seconds",
                "The time spent on receiving the response from the upstream server",
            ),
            response_bytes: registry.histogram_vec(
                "nginx_ingress_controller_response_size",
                "The response length (including request line, header, and request body)",
                runtime::metrics::exponential_buckets(10.0, 10.0, 7),
                &LABELS,
            ),
            connections: connections.with_label_values(&["active"]),
            accepted: connections_total.with_label_values(&["accepted"]),
            handled: connections_total.with_label_values(&["handled"]),
            reloads: registry.gauge(
                "nginx_ingress_controller_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful",
            ),
            bad_certificates: registry
                .gauge("rutter_ingress_bad_certificates", "Secrets that hosts refer to and that are no certificate for them"),
            certificate_expires: registry.gauge_vec(
                "nginx_ingress_controller_ssl_expire_time_seconds",
                "Number of seconds since 1970 to the SSL Certificate expire",
                &["namespace", "secret_name"],
            ),
            dropped_log_lines: registry.counter("rutter_ingress_access_log_dropped_total", "Lines of the access log that found no room"),
        }
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, known: RefCell::default() }
    }

    /// Counts one request that a route answered.
    pub(crate) fn count(&self, labels: &Arc<Labels>, status: u16, method: &Method, took: Duration, upstream: Option<Duration>, bytes: u64) {
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let series = known.entry((labels.id, status, method.clone())).or_insert_with(|| self.metrics.series(&labels.of, status, method));
        series.requests.inc();
        series.request_seconds.observe(took.as_secs_f64());
        if let Some(upstream) = upstream {
            series.response_seconds.observe(upstream.as_secs_f64());
        }
        series.response_bytes.observe(bytes as f64);
    }
}

impl Metrics {
    /// Ends the series of a route.
    pub(crate) fn forget(&self, origins: &Origins) {
        for (status, method) in self.counted().remove(origins).into_iter().flatten() {
            let status = status.to_string();
            let values = values(origins, &status, method);
            // One that was never there has nothing to be removed.
            let _ = self.requests.remove_label_values(&values);
            for family in [&self.request_seconds, &self.response_seconds, &self.response_bytes] {
                let _ = family.remove_label_values(&values);
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A set cannot be left half written.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn series(&self, origins: &Origins, status: u16, method: &Method) -> Series {
        let method = name(method);
        self.counted().entry(origins.clone()).or_default().insert((status, method));
        let status = status.to_string();
        let values = values(origins, &status, method);
        Series {
            requests: self.requests.with_label_values(&values),
            request_seconds: self.request_seconds.with_label_values(&values),
            response_seconds: self.response_seconds.with_label_values(&values),
            response_bytes: self.response_bytes.with_label_values(&values),
        }
    }
}

/// In the order of `LABELS`.
fn values<'a>(origins: &'a Origins, status: &'a str, method: &'a str) -> [&'a str; 8] {
    [status, method, &origins.path, &origins.namespace, &origins.ingress, &origins.service, "", &origins.host]
}

/// A method that a client made up is no label: it could make as many series as it likes.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_route_end_with_it() {
        let registry = Registry::default();
        let metrics = Metrics::new(&registry);
        let origins = |ingress: &str| Origins {
            namespace: "default".into(),
            ingress: ingress.into(),
            service: "web".into(),
            path: "/".into(),
            host: "a".into(),
        };
        let made_up = Method::from_bytes(b"BREW").expect("a method");
        for ingress in ["one", "two"] {
            metrics.series(&origins(ingress), 200, &Method::GET).requests.inc();
            metrics.series(&origins(ingress), 404, &made_up).requests.inc();
        }
        let count = || registry.render().lines().filter(|line| line.starts_with("nginx_ingress_controller_requests{")).count();
        assert_eq!(count(), 4);
        assert!(registry.render().contains("method=\"OTHER\""));
        metrics.forget(&origins("one"));
        assert_eq!(count(), 2);
        assert!(!registry.render().contains("ingress=\"one\""));
    }
}
