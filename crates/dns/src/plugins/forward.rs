//! `forward FROM TO...`: names that nobody here knows are asked of other servers.
//!
//! Owns which upstream is asked, in which order, and for how long. Equal questions at the same time are asked once. The client's OPT
//! record is not passed on: each hop speaks for itself (RFC 6891 section 6.1.1). Must not know why a name came here.

mod exchange;
mod flights;
mod guard;
mod options;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tracing::{debug, warn};

pub(crate) use self::exchange::random_u16;
use self::flights::Flights;
pub(crate) use self::guard::Guard;
pub(crate) use self::options::parse;
pub use self::options::{Options, Policy, Target, Transport};
use self::upstream::Upstream;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::Metrics;
use crate::wire::message::Message;
use crate::wire::{rcode, rcode_name};

/// For one try; CoreDNS's time to read.
const ATTEMPT: Duration = Duration::from_secs(2);
/// For all tries together: a stub waits 5 s, and is better told of a failure than left to wait.
const DEADLINE: Duration = Duration::from_secs(4);
/// Questions in flight at once where the Corefile names no limit.
const MAX_CONCURRENT: usize = 4_096;

pub(crate) struct Forward {
    options: Options,
    upstreams: Vec<Arc<Upstream>>,
    flights: Flights,
    free: Semaphore,
    turn: AtomicUsize,
    complaints: Complaints,
    /// There with `loop`.
    guard: Option<Arc<Guard>>,
    metrics: Arc<Metrics>,
}

/// At most one line a second about what fails by the thousands.
struct Complaints {
    started: Instant,
    /// Seconds since `started` in which the last line was written.
    last: AtomicU64,
    silent: AtomicU64,
}

impl Forward {
    /// `ours`: the addresses that this server listens on, which it must not ask.
    pub(crate) fn new(options: Options, ours: &[SocketAddr], guard: Option<Arc<Guard>>, metrics: Arc<Metrics>) -> Self {
        let mut upstreams: Vec<Upstream> = Vec::new();
        let plain = |addresses: Vec<SocketAddr>| addresses.into_iter().map(|address| Upstream::new(address, None));
        for target in &options.to {
            match (target, &options.tls) {
                (Target::Address(address), _) => upstreams.push(Upstream::new(*address, None)),
                (Target::Tls(address, name), Some(tls)) => {
                    upstreams.push(Upstream::new(*address, Some((tls.config.clone(), tls.name_of(name.as_deref(), address.ip())))));
                }
                // Refused when the Corefile was read.
                (Target::Tls(..), None) => {}
                (Target::ResolvConf(path), _) => upstreams.extend(plain(upstream::of_resolv_conf(path, ours))),
            }
        }
        if upstreams.is_empty() {
            // Where systemd-resolved rules, its own file names the servers behind its stub.
            upstreams.extend(plain(upstream::of_resolv_conf(Path::new("/run/systemd/resolve/resolv.conf"), ours)));
        }
        if upstreams.is_empty() {
            warn!(to = ?options.to, "no upstream but this server itself: names outside of the cluster will fail");
        }
        let limit = if options.max_concurrent == 0 { MAX_CONCURRENT } else { options.max_concurrent };
        Self {
            upstreams: upstreams.into_iter().map(Arc::new).collect(),
            flights: Flights::default(),
            free: Semaphore::new(limit.min(Semaphore::MAX_PERMITS)),
            turn: AtomicUsize::new(0),
            complaints: Complaints { started: Instant::now(), last: AtomicU64::new(u64::MAX), silent: AtomicU64::new(0) },
            guard,
            options,
            metrics,
        }
    }

    /// Looks for upstreams that lead back here, now and later on (`loop`).
    pub(crate) fn watch_for_loops(&self) {
        if let Some(guard) = &self.guard {
            let upstreams = self.upstreams.iter().map(Arc::downgrade).collect();
            let zone = self.options.from.first().cloned().unwrap_or_else(crate::name::Name::root);
            tokio::spawn(guard::watch(guard.clone(), upstreams, zone, self.options.clone(), self.metrics.clone()));
        }
    }

    fn takes(&self, request: &Request) -> bool {
        let name = &request.question.name;
        self.options.from.iter().any(|zone| name.is_under(zone)) && !self.options.except.iter().any(|zone| name.is_under(zone))
    }

    /// Asks one upstream after the other until one answers.
    async fn ask(&self, request: &Request) -> Message {
        let Ok(_permit) = self.free.try_acquire() else {
            self.metrics.forward_rejects.inc();
            return request.failed(rcode::REFUSED);
        };
        let deadline = Instant::now() + DEADLINE;
        let order = self.order();
        // One that is asked alone gets a second try: a datagram may be lost.
        let tries = order.len().max(2);
        let mut last = None;
        for (n, upstream) in order.iter().cycle().take(if order.is_empty() { 0 } else { tries }).enumerate() {
            let left = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT);
            if left.is_zero() {
                break;
            }
            let started = Instant::now();
            let answer = exchange::ask(upstream, request, &self.options, left, &self.metrics).await;
            match answer {
                Ok(answer) => {
                    upstream.answered();
                    let labels = ["forward", &upstream.label, rcode_name(answer.rcode)];
                    self.metrics.proxy_duration.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
                    let again = self.options.failover.contains(&answer.rcode) && n + 1 < order.len();
                    if !again {
                        return answer;
                    }
                    last = Some(answer);
                }
                Err(error) => {
                    debug!(upstream = %upstream.address, name = %request.question.name, %error, "an upstream failed");
                    // What this machine lacks says nothing of the upstream.
                    if error.is_theirs() {
                        upstream::failed(upstream, &self.options, &self.metrics);
                    }
                }
            }
        }
        last.unwrap_or_else(|| {
            if let Some(silent) = self.complaints.due() {
                warn!(name = %request.question.name, qtype = request.question.qtype, others = silent, "no upstream answered");
            }
            request.failed(rcode::SERVFAIL)
        })
    }

    /// The upstreams in the order of the policy, the healthy ones first; if none is, all are worth a try.
    fn order(&self) -> Vec<&Arc<Upstream>> {
        let n = self.upstreams.len();
        let first = match self.options.policy {
            Policy::Sequential => 0,
            Policy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            Policy::Random => usize::from(exchange::random_u16()),
        };
        let mut order: Vec<_> = (0..n).map(|at| &self.upstreams[(first + at) % n]).collect();
        // One that leads back here answers nothing, however well it is.
        order.retain(|upstream| !upstream.is_looping());
        order.sort_by_key(|upstream| !upstream.is_healthy(self.options.max_fails));
        if order.first().is_some_and(|first| !first.is_healthy(self.options.max_fails)) {
            self.metrics.healthcheck_broken.inc();
        }
        order
    }
}

impl Complaints {
    /// Whether a line is due, and how many were left out since the last.
    fn due(&self) -> Option<u64> {
        let now = self.started.elapsed().as_secs();
        if self.last.swap(now, Ordering::Relaxed) == now {
            self.silent.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.silent.swap(0, Ordering::Relaxed))
    }
}

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            if self.guard.as_ref().is_some_and(|guard| guard.came_back(&request.question)) {
                return request.failed(rcode::NXDOMAIN);
            }
            if !self.takes(request) {
                return next.run(request).await;
            }
            let mut answer = Message::clone(&*self.flights.join(request, || self.ask(request)).await);
            if self.options.next.contains(&answer.rcode) {
                return next.run(request).await;
            }
            // Another client's question differs in letter case at the most.
            answer.question = request.question.clone();
            answer
        })
    }
}

#[cfg(test)]
mod tests;
