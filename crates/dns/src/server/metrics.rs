//! What is counted, under CoreDNS's names (dashboards and alerts depend on them).
//!
//! The UDP loops count into a [`Tally`] of their own and hand it over once for each batch, so that threads do not share a cache line
//! for each query.

use std::sync::Arc;
use std::time::Duration;

use runtime::Registry;
use runtime::metrics::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, exponential_buckets};

use super::Route;
use crate::name::Name;
use crate::wire::{HEADER, rcode_name, rtype, skip_name, type_name, u16_at};

pub(crate) struct Metrics {
    requests: IntCounterVec,
    responses: IntCounterVec,
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    pub(crate) panics: IntCounter,
    dropped: IntCounter,
    lost: IntCounter,
    pub(crate) cache_hits: IntCounterVec,
    pub(crate) cache_entries: IntGaugeVec,
    pub(crate) cache_evictions: IntCounterVec,
    cache_requests: IntCounterVec,
    cache_misses: IntCounterVec,
    cache_prefetch: IntCounterVec,
    cache_drops: IntCounterVec,
    served_stale: IntCounterVec,
    pub(crate) health_duration: Histogram,
    pub(crate) health_failures: IntCounter,
    pub(crate) reload_failed: IntCounter,
    reload_version: IntGaugeVec,
    pub(crate) forward_rejects: IntCounter,
    pub(crate) forward_hedged: IntCounter,
    pub(crate) healthcheck_failures: IntCounterVec,
    pub(crate) healthcheck_broken: IntCounter,
    pub(crate) conn_hits: IntCounterVec,
    pub(crate) conn_misses: IntCounterVec,
    pub(crate) proxy_duration: HistogramVec,
    pub(crate) programming: HistogramVec,
    pub(crate) hosts_entries: IntGaugeVec,
    pub(crate) hosts_reloaded: Gauge,
    pub(crate) log_dropped: IntCounter,
    autopath: IntCounterVec,
    acl: AclFamilies,
    template: TemplateFamilies,
    do_requests: IntCounterVec,
    pub(crate) enabled: IntGaugeVec,
}

/// What one cache counts.
pub(crate) struct CacheMetrics {
    pub(crate) requests: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) prefetch: IntCounter,
    pub(crate) served_stale: IntCounter,
}

/// What one `acl` counts.
pub(crate) struct AclMetrics {
    pub(crate) allowed: IntCounter,
    server: String,
    families: AclFamilies,
}

#[derive(Clone)]
struct AclFamilies {
    allowed: IntCounterVec,
    blocked: IntCounterVec,
    filtered: IntCounterVec,
    dropped: IntCounterVec,
}

/// What one `template` counts.
pub(crate) struct TemplateMetrics {
    server: String,
    families: TemplateFamilies,
}

#[derive(Clone)]
struct TemplateFamilies {
    matches: IntCounterVec,
    failures: IntCounterVec,
    no_records: IntCounterVec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) tcp: bool,
    pub(crate) v6: bool,
}

/// What a question asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) qtype: u16,
    pub(crate) dnssec_ok: bool,
}

/// Counts of one batch.
#[derive(Default)]
pub(crate) struct Tally {
    rows: Vec<(Row, u32)>,
    /// By route: octets asked and answered.
    sizes: Vec<(Option<usize>, u16, u16)>,
    /// Questions that the slow path had no room for.
    pub(crate) dropped: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    route: Option<usize>,
    transport: Transport,
    asked: Asked,
    code: u8,
    by: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Arc<Self> {
        let sizes = || vec![0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3];
        // 250 us to 8 s: CoreDNS's buckets.
        let times = || exponential_buckets(0.000_25, 2.0, 16);
        let cache_labels: &[&str] = &["server", "zones", "view"];
        let metrics = Self {
            requests: registry.counter_vec(
                "coredns_dns_requests_total",
                "Counter of DNS requests made per zone, protocol and family.",
                &["server", "zone", "view", "proto", "family", "type"],
            ),
            responses: registry.counter_vec(
                "coredns_dns_responses_total",
                "Counter of response status codes.",
                &["server", "zone", "view", "rcode", "plugin"],
            ),
            duration: registry.histogram_vec(
                "coredns_dns_request_duration_seconds",
                "Histogram of the time (in seconds) each request took per zone.",
                times(),
                &["server", "zone", "view"],
            ),
            request_size: registry.histogram_vec(
                "coredns_dns_request_size_bytes",
                "Size of the requests in bytes.",
                sizes(),
                &["server", "zone", "view", "proto"],
            ),
            response_size: registry.histogram_vec(
                "coredns_dns_response_size_bytes",
                "Size of the returned response in bytes.",
                sizes(),
                &["server", "zone", "view", "proto"],
            ),
            panics: registry.counter("coredns_panics_total", "A metrics that counts the number of panics."),
            dropped: registry.counter("rutter_dns_dropped_total", "Questions dropped because the slow path had no room for them."),
            lost: registry.counter("rutter_dns_unsent_total", "Replies that the kernel did not take."),
            cache_hits: registry.counter_vec("coredns_cache_hits_total", "The count of cache hits.", &["server", "type", "zones", "view"]),
            cache_misses: registry.counter_vec("coredns_cache_misses_total", "The count of cache misses.", cache_labels),
            cache_requests: registry.counter_vec("coredns_cache_requests_total", "The count of cache requests.", cache_labels),
            cache_prefetch: registry.counter_vec(
                "coredns_cache_prefetch_total",
                "The number of times the cache has prefetched a cached item.",
                cache_labels,
            ),
            cache_drops: registry.counter_vec(
                "coredns_cache_drops_total",
                "The number responses that are not cached, because the reply is malformed.",
                cache_labels,
            ),
            cache_entries: registry.gauge_vec(
                "coredns_cache_entries",
                "The number of elements in the cache.",
                &["server", "type", "zones", "view"],
            ),
            cache_evictions: registry.counter_vec(
                "coredns_cache_evictions_total",
                "The count of cache evictions.",
                &["server", "type", "zones", "view"],
            ),
            served_stale: registry.counter_vec(
                "coredns_cache_served_stale_total",
                "The number of requests served from stale cache entries.",
                cache_labels,
            ),
            health_duration: registry.histogram(
                "coredns_health_request_duration_seconds",
                "Histogram of the time (in seconds) each request took.",
                times(),
            ),
            health_failures: registry.counter("coredns_health_request_failures_total", "The number of times the health check failed."),
            reload_failed: registry.counter("coredns_reload_failed_total", "Counter of the number of failed reload attempts."),
            reload_version: registry.gauge_vec(
                "coredns_reload_version_info",
                "A metric with a constant '1' value labeled by hash, and value which type of hash generated.",
                &["hash", "value"],
            ),
            forward_hedged: registry.counter(
                "rutter_dns_forward_hedged_total",
                "Counter of questions that a second upstream was asked for, because the first was slow.",
            ),
            forward_rejects: registry.counter(
                "coredns_forward_max_concurrent_rejects_total",
                "Counter of the number of queries rejected because the concurrent queries were at maximum.",
            ),
            healthcheck_failures: registry.counter_vec(
                "coredns_proxy_healthcheck_failures_total",
                "Counter of the number of failed healthchecks.",
                &["proxy_name", "to"],
            ),
            healthcheck_broken: registry
                .counter("coredns_forward_healthcheck_broken_total", "Counter of the number of complete failures of the healthchecks."),
            conn_hits: registry.counter_vec(
                "coredns_proxy_conn_cache_hits_total",
                "Counter of connection cache hits per upstream and protocol.",
                &["proxy_name", "to", "proto"],
            ),
            conn_misses: registry.counter_vec(
                "coredns_proxy_conn_cache_misses_total",
                "Counter of connection cache misses per upstream and protocol.",
                &["proxy_name", "to", "proto"],
            ),
            proxy_duration: registry.histogram_vec(
                "coredns_proxy_request_duration_seconds",
                "Histogram of the time each request took.",
                times(),
                &["proxy_name", "to", "rcode"],
            ),
            programming: registry.histogram_vec(
                "coredns_kubernetes_dns_programming_duration_seconds",
                "Histogram of the time (in seconds) it took to program a dns instance.",
                exponential_buckets(0.001, 2.0, 20),
                &["service_kind"],
            ),
            hosts_entries: registry.gauge_vec(
                "coredns_hosts_entries",
                "The combined number of entries in hosts and Corefile.",
                &["hostsfile"],
            ),
            hosts_reloaded: registry
                .float_gauge("coredns_hosts_reload_timestamp_seconds", "The timestamp of the last reload of hosts file."),
            log_dropped: registry.counter("rutter_dns_log_dropped_total", "Lines of the query log that could not be written in time."),
            autopath: registry.counter_vec("coredns_autopath_success_total", "Counter of requests that did autopath.", &["server"]),
            acl: AclFamilies::new(registry),
            template: TemplateFamilies::new(registry),
            do_requests: registry.counter_vec(
                "coredns_dns_do_requests_total",
                "Counter of DNS requests with DO bit set per zone.",
                &["server", "zone", "view"],
            ),
            enabled: registry.gauge_vec(
                "coredns_plugin_enabled",
                "A metric that indicates whether a plugin is enabled on per server and zone basis.",
                &["server", "zone", "view", "name"],
            ),
        };
        let build = registry.gauge_vec("coredns_build_info", "What is running.", &["version", "revision", "goversion"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), "rutter", ""]).set(1);
        Arc::new(metrics)
    }

    pub(crate) fn cache(&self, server: &str, zones: &str) -> CacheMetrics {
        let of = |family: &IntCounterVec| family.with_label_values(&[server, zones, ""]);
        // Its family shows, and nothing is ever counted: what is malformed is not an answer here.
        of(&self.cache_drops);
        CacheMetrics {
            requests: of(&self.cache_requests),
            misses: of(&self.cache_misses),
            prefetch: of(&self.cache_prefetch),
            served_stale: of(&self.served_stale),
        }
    }

    /// A Corefile of this text is in force.
    pub(crate) fn reloaded(&self, text: &str) {
        let digest: String = runtime::tls::sha512(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.reload_version.reset();
        self.reload_version.with_label_values(&["sha512", &digest]).set(1);
    }

    pub(crate) fn autopath(&self, server: &str) -> IntCounter {
        self.autopath.with_label_values(&[server])
    }

    pub(crate) fn acl(&self, server: &str) -> AclMetrics {
        let allowed = self.acl.allowed.with_label_values(&[server, ""]);
        AclMetrics { allowed, server: server.to_owned(), families: self.acl.clone() }
    }

    pub(crate) fn template(&self, server: &str) -> TemplateMetrics {
        TemplateMetrics { server: server.to_owned(), families: self.template.clone() }
    }

    /// Counts a batch and empties the tally.
    pub(crate) fn take(&self, routes: &[Route], tally: &mut Tally, lost: usize, took: Duration) {
        for (row, n) in tally.rows.drain(..) {
            self.count(routes, row, n);
        }
        // A batch has few routes, mostly one.
        while let Some(&(route, ..)) = tally.sizes.first() {
            let (server, zone) = labels(routes, route);
            let duration = self.duration.with_label_values(&[server, zone, ""]).local();
            let asked = self.request_size.with_label_values(&[server, zone, "", "udp"]).local();
            let answered = self.response_size.with_label_values(&[server, zone, "", "udp"]).local();
            tally.sizes.retain(|(other, request, response)| {
                if *other == route {
                    // The time of a batch is that of each of its questions: they were answered together.
                    duration.observe(took.as_secs_f64());
                    asked.observe(f64::from(*request));
                    answered.observe(f64::from(*response));
                }
                *other != route
            });
        }
        self.dropped.inc_by(u64::from(std::mem::take(&mut tally.dropped)));
        self.lost(lost);
    }

    /// Counts one question that was answered apart.
    #[allow(clippy::too_many_arguments, reason = "one for each label")]
    pub(crate) fn one(
        &self,
        routes: &[Route],
        route: Option<usize>,
        transport: Transport,
        kind: Asked,
        (code, by): (u8, &'static str),
        (asked, answered): (usize, usize),
        took: Duration,
    ) {
        self.count(routes, Row { route, transport, asked: kind, code, by }, 1);
        let (server, zone) = labels(routes, route);
        let proto = if transport.tcp { "tcp" } else { "udp" };
        self.duration.with_label_values(&[server, zone, ""]).observe(took.as_secs_f64());
        self.request_size.with_label_values(&[server, zone, "", proto]).observe(asked as f64);
        self.response_size.with_label_values(&[server, zone, "", proto]).observe(answered as f64);
    }

    pub(crate) fn lost(&self, n: usize) {
        if n > 0 {
            self.lost.inc_by(n as u64);
        }
    }

    fn count(&self, routes: &[Route], row: Row, n: u32) {
        let (server, zone) = labels(routes, row.route);
        let proto = if row.transport.tcp { "tcp" } else { "udp" };
        let family = if row.transport.v6 { "2" } else { "1" };
        let labels = [server, zone, "", proto, family, type_name(row.asked.qtype)];
        self.requests.with_label_values(&labels).inc_by(u64::from(n));
        if row.asked.dnssec_ok {
            self.do_requests.with_label_values(&[server, zone, ""]).inc_by(u64::from(n));
        }
        self.responses.with_label_values(&[server, zone, "", rcode_name(row.code), row.by]).inc_by(u64::from(n));
    }
}

// === impl AclFamilies ===

impl AclFamilies {
    fn new(registry: &Registry) -> Self {
        let family = |done: &str, what: &str, labels| {
            registry.counter_vec(&format!("coredns_acl_{done}_requests_total"), &format!("Counter of DNS requests being {what}."), labels)
        };
        let of_zone: &[&str] = &["server", "zone", "view"];
        Self {
            allowed: family("allowed", "allowed", &["server", "view"]),
            blocked: family("blocked", "blocked", of_zone),
            filtered: family("filtered", "filtered", of_zone),
            dropped: family("dropped", "dropped", of_zone),
        }
    }
}

// === impl AclMetrics ===

impl AclMetrics {
    pub(crate) fn blocked(&self, zone: &Name) {
        self.one(&self.families.blocked, zone);
    }

    pub(crate) fn filtered(&self, zone: &Name) {
        self.one(&self.families.filtered, zone);
    }

    pub(crate) fn dropped(&self, zone: &Name) {
        self.one(&self.families.dropped, zone);
    }

    fn one(&self, family: &IntCounterVec, zone: &Name) {
        family.with_label_values(&[&self.server, &zone.to_string(), ""]).inc();
    }
}

// === impl TemplateFamilies ===

impl TemplateFamilies {
    fn new(registry: &Registry) -> Self {
        let of_record = &["server", "zone", "view", "class", "type", "section", "template"];
        Self {
            matches: registry.counter_vec(
                "coredns_template_matches_total",
                "Counter of template regex matches.",
                &["server", "zone", "view", "class", "type"],
            ),
            failures: registry.counter_vec("coredns_template_template_failures_total", "Counter of go template failures.", of_record),
            no_records: registry.counter_vec("coredns_template_rr_failures_total", "Counter of mis-templated RRs.", of_record),
        }
    }
}

// === impl TemplateMetrics ===

/// Of what is counted: zone, class and type.
type Templated<'a> = [&'a str; 3];

impl TemplateMetrics {
    pub(crate) fn matched(&self, [zone, class, kind]: Templated<'_>) {
        self.families.matches.with_label_values(&[&self.server, zone, "", class, kind]).inc();
    }

    /// A template could not be filled.
    pub(crate) fn failed(&self, of: Templated<'_>, section: &str, template: &str) {
        self.one(&self.families.failures, of, section, template);
    }

    /// What came of it was no record.
    pub(crate) fn no_record(&self, of: Templated<'_>, section: &str, template: &str) {
        self.one(&self.families.no_records, of, section, template);
    }

    fn one(&self, family: &IntCounterVec, [zone, class, kind]: Templated<'_>, section: &str, template: &str) {
        family.with_label_values(&[&self.server, zone, "", class, kind, section, template]).inc();
    }
}

// === impl Tally ===

impl Tally {
    pub(crate) fn add(
        &mut self,
        route: Option<usize>,
        transport: Transport,
        kind: Asked,
        (code, by): (u8, &'static str),
        asked: usize,
        answered: usize,
    ) {
        let row = Row { route, transport, asked: kind, code, by };
        // A batch holds few kinds of questions.
        match self.rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, n)) => *n += 1,
            None => self.rows.push((row, 1)),
        }
        self.sizes.push((route, asked as u16, answered as u16));
    }
}

/// The listener and the zone of a route; CoreDNS's words for what no block took.
fn labels(routes: &[Route], route: Option<usize>) -> (&str, &str) {
    match route.and_then(|at| routes.get(at)) {
        Some(route) => (&route.server, &route.label),
        None => (routes.first().map_or("dns://", |route| &route.server), "dropped"),
    }
}

/// What a packet asks for; type 0 where it cannot be read. Its OPT record is looked for where all clients have it, behind the question.
pub(crate) fn asked(packet: &[u8]) -> Asked {
    let at = if packet.len() > HEADER { skip_name(packet, HEADER) } else { None };
    let Some(at) = at.filter(|at| at + 2 <= packet.len()) else { return Asked::default() };
    let opt = packet.get(at + 4..at + 15).filter(|opt| opt[..3] == [0, 0, rtype::OPT as u8]);
    Asked { qtype: u16_at(packet, at), dnssec_ok: opt.is_some_and(|opt| opt[7] & 0x80 != 0) }
}
