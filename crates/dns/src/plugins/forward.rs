//! `forward FROM TO...`: names that nobody here knows are asked of other servers.
//!
//! Owns which upstream is asked, in which order, and for how long. Equal questions at the same time are asked once; one whose answer is
//! late is asked of a second upstream as well, and the first good answer wins. The client's OPT record is not passed on: each hop speaks
//! for itself (RFC 6891 section 6.1.1). Must not know why a name came here.

mod exchange;
mod flights;
mod guard;
mod hedge;
mod idle;
mod options;
mod probe;
mod resolve;
mod tls;
mod upstream;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tracing::{debug, warn};

use self::exchange::ExchangeError;
pub(crate) use self::exchange::random_u16;
use self::flights::Flights;
pub(crate) use self::guard::Guard;
use self::hedge::Budget;
pub(crate) use self::options::parse;
pub use self::options::{Options, Policy, Target, Transport};
use self::upstream::Upstream;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::Metrics;
use crate::wire::message::Message;
use crate::wire::{rcode, rcode_name, rtype};

/// For all tries together: a stub waits 5 s, and is better told of a failure than left to wait.
const DEADLINE: Duration = Duration::from_secs(4);
/// Questions in flight at once where the Corefile names no limit: half of the tasks that there are, so that a zone whose upstreams are
/// silent leaves the others room.
const MAX_CONCURRENT: usize = 2_048;

/// Tries for one question without a limit: upstreams that refuse at once are not asked in a loop that only burns the core.
const MANY: usize = 100;

pub(crate) struct Forward {
    options: Options,
    upstreams: Vec<Arc<Upstream>>,
    flights: Flights,
    free: Semaphore,
    turn: AtomicUsize,
    budget: Budget,
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
    /// `ours`: where this server is found, which it must not ask.
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
            budget: Budget::default(),
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

    /// Asks one upstream after the other until one answers, and two at once where the first takes long.
    async fn ask(&self, request: &Request) -> Message {
        self.budget.earn();
        let order = self.order();
        let tries = self.tries(&order);
        let mut upcoming = order.iter().copied().cycle().take(tries);
        let deadline = tokio::time::Instant::now() + DEADLINE.max(self.options.read_timeout);
        let mut running: Vec<Try<'_>> = Vec::new();
        let (mut last, mut settled, mut late, mut n_answers) = (None, false, false, 0);
        let mut waits = 1;
        let mut error = None;
        loop {
            if running.is_empty() {
                let Some(upstream) = upcoming.next().filter(|_| !settled) else { break };
                running.push(self.exchange(upstream, request));
            }
            let patience = (waits * running[0].upstream.latency.patience()).saturating_sub(running[0].started.elapsed());
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => break,
                // Once for each question. Where the budget is spent, others bring in what it takes, or an answer comes after all.
                () = tokio::time::sleep(patience), if !late => {
                    late = self.budget.spend();
                    waits *= 2;
                    if late && let Some(upstream) = upcoming.next() {
                        running.push(self.exchange(upstream, request));
                        self.metrics.forward_hedged.inc();
                    }
                }
                (upstream, started, answer) = first_of(&mut running) => {
                    let answer = match self.heard(upstream, request, started, answer) {
                        Ok(answer) => Message { upstream: Some(upstream.address), ..answer },
                        Err(told) => {
                            error = Some(told);
                            continue;
                        }
                    };
                    n_answers += 1;
                    let failed = self.options.failover.contains(&answer.rcode);
                    // Without a second try under way, what an upstream says holds, be it good or bad.
                    let better_may_come = !running.is_empty() && [rcode::SERVFAIL, rcode::REFUSED].contains(&answer.rcode);
                    if !(better_may_come || failed && n_answers < order.len()) {
                        // One that was asked first and is beaten may be down: nobody waited long enough to know.
                        running.iter().for_each(|beaten| self.late(beaten));
                        return answer;
                    }
                    settled = !failed;
                    last = Some(answer);
                }
            }
        }
        for silent in &running {
            error = Some(self.told(silent.upstream, request, &ExchangeError::Silent));
            probe::start(silent.upstream, &self.options, &self.metrics);
        }
        last.unwrap_or_else(|| {
            if let Some(silent) = self.complaints.due() {
                warn!(name = %request.question.name, qtype = request.question.qtype, others = silent, "no upstream answered");
            }
            let error = error.or_else(|| Some("no healthy proxies".to_owned()));
            Message { error, ..request.failed(rcode::SERVFAIL) }
        })
    }

    /// How many times an upstream is asked for one question: by default each twice (CoreDNS's), since a datagram may be lost. If none is
    /// well, one try shows whether the probes are wrong; with `failfast_all_unhealthy_upstreams` not even that.
    fn tries(&self, order: &[&Arc<Upstream>]) -> usize {
        let Some(first) = order.first() else { return 0 };
        if !first.is_healthy(self.options.max_fails) {
            self.metrics.healthcheck_broken.inc();
            return usize::from(!self.options.failfast);
        }
        match self.options.max_connect_attempts {
            None => 2 * order.len(),
            Some(0) => MANY,
            Some(limit) => limit,
        }
    }

    fn exchange<'a>(&'a self, upstream: &'a Arc<Upstream>, request: &'a Request) -> Try<'a> {
        let answer = Box::pin(exchange::ask(upstream, request, &self.options, self.options.read_timeout, &self.metrics));
        Try { upstream, started: Instant::now(), answer }
    }

    /// Takes note of how a try ended; gives the answer, or what `errors` is to say.
    fn heard(
        &self,
        upstream: &Arc<Upstream>,
        request: &Request,
        started: Instant,
        answer: Result<Message, ExchangeError>,
    ) -> Result<Message, String> {
        match answer {
            Ok(answer) => {
                let took = started.elapsed();
                upstream.latency.observe(took);
                let labels = ["forward", &upstream.label, rcode_name(answer.rcode)];
                self.metrics.proxy_duration.with_label_values(&labels).observe(took.as_secs_f64());
                Ok(answer)
            }
            Err(error) => {
                debug!(upstream = %upstream.address, name = %request.question.name, %error, "an upstream failed");
                // What this machine lacks says nothing of the upstream.
                if error.is_theirs() {
                    probe::start(upstream, &self.options, &self.metrics);
                }
                Err(self.told(upstream, request, &error))
            }
        }
    }

    fn told(&self, upstream: &Upstream, request: &Request, error: &ExchangeError) -> String {
        error.told(upstream.address, exchange::by_stream(upstream, &self.options, request.tcp))
    }

    /// Takes note of a try that another one overtook.
    fn late(&self, beaten: &Try<'_>) {
        let waited = beaten.started.elapsed();
        // It takes at least this long; a try that had hardly begun says nothing.
        if waited > beaten.upstream.latency.patience() {
            beaten.upstream.latency.observe(waited);
            probe::start(beaten.upstream, &self.options, &self.metrics);
        }
    }

    /// The upstreams in the order of the policy, the healthy ones first; if none is, all are worth a try.
    fn order(&self) -> Vec<&Arc<Upstream>> {
        let n = self.upstreams.len();
        let first = match self.options.policy {
            Policy::Sequential | Policy::Random => 0,
            Policy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let mut order: Vec<_> = (0..n).map(|at| &self.upstreams[(first + at) % n]).collect();
        if self.options.policy == Policy::Random {
            // Every order alike: one that is down then does not have a neighbour who gets all of its questions.
            (1..n).for_each(|at| order.swap(at, usize::from(exchange::random_u16()) % (at + 1)));
        }
        // One that leads back here answers nothing, however well it is.
        order.retain(|upstream| !upstream.is_looping());
        order.sort_by_key(|upstream| !upstream.is_healthy(self.options.max_fails));
        order
    }

    /// Whether an answer is for the next `forward` to better. Without one behind this it stands (CoreDNS's rule as well).
    fn goes_on(&self, answer: &Message, next: &Next<'_>) -> bool {
        let nodata = self.options.next_on_nodata && answer.rcode == rcode::NOERROR && answer.answers.is_empty();
        next.name() == Some("forward") && (nodata || self.options.next.contains(&answer.rcode))
    }
}

/// One question under way to one upstream.
struct Try<'a> {
    upstream: &'a Arc<Upstream>,
    started: Instant,
    answer: Pin<Box<dyn Future<Output = Result<Message, ExchangeError>> + Send + 'a>>,
}

/// Takes the first of `running` that ends out of it. For ever pending if there is none.
async fn first_of<'a>(running: &mut Vec<Try<'a>>) -> (&'a Arc<Upstream>, Instant, Result<Message, ExchangeError>) {
    poll_fn(|context| {
        for at in 0..running.len() {
            if let Poll::Ready(answer) = running[at].answer.as_mut().poll(context) {
                let Try { upstream, started, .. } = running.remove(at);
                return Poll::Ready((upstream, started, answer));
            }
        }
        Poll::Pending
    })
    .await
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

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            if self.guard.as_ref().is_some_and(|guard| guard.came_back(&request.question)) {
                return request.failed(rcode::NXDOMAIN);
            }
            if !self.options.takes(&request.question.name) {
                return next.run(request).await;
            }
            // A zone takes more messages than one.
            if rtype::is_transfer(request.question.qtype) {
                return request.failed(rcode::REFUSED);
            }
            // Those who wait for another's answer count as well: each holds a task.
            let Ok(_permit) = self.free.try_acquire() else {
                self.metrics.forward_rejects.inc();
                let error = Some(format!("concurrent queries exceeded maximum {}", self.options.max_concurrent));
                return Message { error, ..request.failed(rcode::REFUSED) };
            };
            let mut answer = Message::clone(&*self.flights.join(request, || self.ask(request)).await);
            if self.goes_on(&answer, &next) {
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
