//! Metrics: families of one part, and their text form.
//!
//! Each part makes a [`Registry`], registers what it counts, and serves it on its own `/metrics`. The families themselves are the
//! `prometheus` crate's.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{Encoder, Opts, TextEncoder};

pub use prometheus::{
    DEFAULT_BUCKETS, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

/// The families of one part. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    included: Arc<RwLock<Vec<Registry>>>,
}

impl Registry {
    /// One whose families all get `prefix` and an underscore in front of their names.
    pub fn prefixed(prefix: &str) -> Self {
        let inner = prometheus::Registry::new_custom(Some(prefix.to_owned()), None).expect("BUG: a prefix is empty");
        Self { inner, ..Self::default() }
    }

    /// Shows what `other` holds behind what this one does.
    pub fn include(&self, other: Registry) {
        self.included.write().unwrap_or_else(PoisonError::into_inner).push(other);
    }

    /// Holds a family of another registry as well.
    pub fn share<C: Collector + Clone + 'static>(&self, family: &C) {
        self.keep(Ok(family.clone()));
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge that holds fractions, such as a time stamp in seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.keep(Gauge::new(name, help))
    }

    pub fn float_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    pub fn histogram_vec(&self, name: &str, help: &str, buckets: Vec<f64>, labels: &[&str]) -> HistogramVec {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    /// Everything in the text form of version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        let families = self.inner.gather();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        let included = self.included.read().unwrap_or_else(PoisonError::into_inner).clone();
        included.iter().fold(String::from_utf8(text).unwrap_or_default(), |text, other| text + &other.render())
    }

    /// Families are made by constant names at the start: a clash or a bad name is a mistake in the code.
    fn keep<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect("BUG: a metric family's name or labels are not valid");
        self.inner.register(Box::new(family.clone())).expect("BUG: a metric family was registered twice");
        family
    }
}

/// `n` buckets from `first`, each `factor` times the one before.
pub fn exponential_buckets(first: f64, factor: f64, n: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bucket| Some(bucket * factor)).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are_given() {
        let registry = Registry::default();
        registry.counter_vec("coredns_dns_requests_total", "Requests.", &["proto"]).with_label_values(&["udp"]).inc();
        assert_eq!(
            registry.render(),
            "# HELP coredns_dns_requests_total Requests.\n# TYPE coredns_dns_requests_total counter\ncoredns_dns_requests_total{proto=\"udp\"} 1\n"
        );
    }

    #[test]
    fn a_family_is_shown_under_another_name_beside_its_own() {
        let (registry, renamed) = (Registry::default(), Registry::prefixed("coredns"));
        let asked = registry.counter("asked_total", "Questions.");
        renamed.share(&asked);
        registry.include(renamed);
        asked.inc();
        let lines: Vec<String> = registry.render().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        assert_eq!(lines, ["asked_total 1", "coredns_asked_total 1"]);
    }
}
