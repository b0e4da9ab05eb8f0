//! `cache [TTL] [ZONE...]`: answers from upstreams are kept as long as their records allow.
//!
//! Owns what may be kept and how long (RFC 2308 for denials, RFC 8767 for stale answers), and what is asked for again in time. Holds answers as bytes, so that the UDP loops
//! copy a hit and patch its TTLs. The cluster's own names never come here.

mod cap;
mod options;
mod store;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) use self::cap::Cap;
pub(crate) use self::options::parse;
pub use self::options::{Kind, Options, Prefetch, Stale};
pub(crate) use self::store::Store;
use self::store::{Counts, Stored};
use crate::name::Name;
use crate::server::chain::{Answering, NOWHERE, Next, Plugin, Request};
use crate::server::metrics::{CacheMetrics, Metrics};
use crate::wire::message::Message;
use crate::wire::{self, Folded, HEADER, MAX_TCP, OPT, Query, RecordAt, flag, rcode, rtype};

/// The cache of one server block, in the store of all.
pub(crate) struct Cache {
    options: Options,
    store: Arc<Store>,
    /// Which block: blocks may ask different upstreams about one name.
    block: u32,
    metrics: CacheMetrics,
    /// Of answers and of denials.
    counts: [Arc<Counts>; 2],
    refresher: Box<dyn Refresher>,
    /// `loadbalance`: addresses take turns at standing first.
    rotate: bool,
}

/// Has a question asked again on the cache's own account.
pub(crate) trait Refresher: Send + Sync {
    /// Whether it will be asked.
    fn ask(&self, request: Request) -> bool;
}

/// Name, type, block, DO and CD.
struct Key {
    bytes: [u8; crate::name::MAX_NAME + 7],
    length: usize,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn new(
        options: Options,
        store: Arc<Store>,
        block: u32,
        server: &str,
        metrics: &Metrics,
        refresher: Box<dyn Refresher>,
        rotate: bool,
    ) -> Self {
        let zones = options.zones.iter().map(Name::to_string).collect::<Vec<_>>().join(",");
        let counts = ["success", "denial"].map(|kind| Arc::new(Counts::new(metrics, server, kind, &zones)));
        Self { options, store, block, metrics: metrics.cache(server, &zones), counts, refresher, rotate }
    }

    /// Writes what is kept as the reply to `query`. `None`: not there, or longer than the client takes. `turn` moves the first address on
    /// from one call to the next.
    pub(crate) fn hit(&self, query: &Query<'_>, out: &mut [u8], limit: usize, turn: u32) -> Option<(usize, u8)> {
        let key = Key::new(&query.name, query.qtype, self.block, query.edns.is_some_and(|edns| edns.dnssec_ok), query.flags());
        let opt = if query.edns.is_some() { OPT } else { 0 };
        let now = Instant::now();
        let (length, code, denial, served) = self.store.read(key.bytes(), |stored| {
            let length = stored.wire.len();
            let served = self.serve(stored, now)?;
            if length + opt > limit.min(out.len()) {
                return None;
            }
            out[..length].copy_from_slice(&stored.wire);
            self.age(stored, &mut out[..length], now);
            if self.rotate
                && let Some(addresses) = &stored.addresses
            {
                let record = addresses.len() / usize::from(stored.n_addresses);
                out[addresses.clone()].rotate_left(turn as usize % usize::from(stored.n_addresses) * record);
            }
            Some((length, stored.code, stored.denial, served))
        })??;
        self.count(served, denial);
        if served.refresh {
            self.refresh(&key, Request::new(query, (NOWHERE, NOWHERE), false));
        }
        out[..2].copy_from_slice(&query.bytes[..2]);
        let flags = wire::u16_at(out, 2) & !(flag::OPCODE | flag::RD | flag::CD) | query.echoed();
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[HEADER..query.question_end()].copy_from_slice(query.question());
        if let Some(edns) = query.edns {
            let record = &mut out[length..length + OPT];
            record.fill(0);
            record[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
            record[3..5].copy_from_slice(&edns.size.to_be_bytes());
            record[7] = if edns.dnssec_ok { 0x80 } else { 0 };
            let additional = wire::u16_at(out, 10) + 1;
            out[10..12].copy_from_slice(&additional.to_be_bytes());
        }
        Some((length + opt, code))
    }

    /// Whether an entry may be served as it is, and whether that is a reason to ask for a new one.
    fn serve(&self, stored: &Stored, now: Instant) -> Option<Served> {
        if stored.until > now {
            let due = self.options.prefetch.is_some_and(|prefetch| stored.asked(&prefetch, now));
            return Some(Served { stale: false, refresh: due && !stored.refreshing.swap(true, Ordering::Relaxed) });
        }
        let stale = self.options.serve_stale?;
        if !stored.is_usable(now) {
            return None;
        }
        let refresh = stored.may_refresh(now);
        if stale.verify {
            // The next plugin is asked first, unless that was in vain a moment ago or somebody does it already.
            let waits = !stale.recheck.is_zero() && (!refresh || stored.refreshing.load(Ordering::Relaxed));
            return waits.then_some(Served { stale: true, refresh: false });
        }
        Some(Served { stale: true, refresh: refresh && !stored.refreshing.swap(true, Ordering::Relaxed) })
    }

    fn count(&self, served: Served, denial: bool) {
        self.metrics.requests.inc();
        self.counts[usize::from(denial)].hits.inc();
        if served.stale {
            self.metrics.served_stale.inc();
        } else if served.refresh {
            self.metrics.prefetch.inc();
        }
    }

    fn refresh(&self, key: &Key, request: Request) {
        if !self.refresher.ask(request) {
            self.store.read(key.bytes(), |stored| stored.refreshing.store(false, Ordering::Relaxed));
        }
    }

    /// A fresh answer could not be had: the next who asks has it tried again, or the first after the pause that the options ask for.
    fn not_refreshed(&self, key: &Key) {
        let pause = self.options.serve_stale.map(|stale| stale.recheck).unwrap_or_default();
        self.store.read(key.bytes(), |stored| stored.not_refreshed(Instant::now() + pause));
    }

    /// Takes the time since an answer came off its TTLs; one that has none left has the TTL of stale ones (RFC 8767 section 4).
    fn age(&self, stored: &Stored, message: &mut [u8], now: Instant) {
        if self.options.keep_ttl && stored.until > now {
            return;
        }
        let age = now.duration_since(stored.at).as_secs() as u32;
        let stale_ttl = self.options.serve_stale.map_or(0, |stale| stale.ttl);
        for at in &stored.ttls {
            let at = usize::from(*at);
            let left = if stored.until > now { wire::u32_at(message, at).saturating_sub(age) } else { stale_ttl };
            message[at..at + 4].copy_from_slice(&left.to_be_bytes());
        }
    }

    fn applies(&self, name: &Name) -> bool {
        self.options.zones.is_empty() || self.options.zones.iter().any(|zone| name.is_under(zone))
    }

    /// What is kept of `key` and may be served at once.
    fn get(&self, key: &Key) -> Option<(Message, Served, bool)> {
        let now = Instant::now();
        self.store.read(key.bytes(), |stored| {
            let served = self.serve(stored, now)?;
            Some((self.message(stored, now)?, served, stored.denial))
        })?
    }

    /// What is kept of `key` and may stand in for an answer that cannot be had.
    fn stale(&self, key: &Key) -> Option<Message> {
        let now = Instant::now();
        self.store.read(key.bytes(), |stored| if stored.is_usable(now) { self.message(stored, now) } else { None })?
    }

    /// Whether an answer may take the place of what is kept. RFC 8767 section 4: denials as well, but no failures.
    fn is_news(&self, key: &Key, answer: &Message) -> bool {
        let preferred = || self.store.read(key.bytes(), |stored| !stored.denial && stored.is_usable(Instant::now())) == Some(true);
        [rcode::NOERROR, rcode::NXDOMAIN].contains(&answer.rcode)
            && (!self.options.prefer_positive || answers_question(answer) || !preferred())
    }

    fn message(&self, stored: &Stored, now: Instant) -> Option<Message> {
        let mut wire = stored.wire.to_vec();
        self.age(stored, &mut wire, now);
        Message::parse(&wire)
    }

    /// Keeps `answer` if it may be kept; its TTLs are then what it is kept for (CoreDNS's rule as well: no answer of it outlives another).
    fn put(&self, key: &Key, answer: &mut Message) {
        let Some((kind, life)) = self.life(answer) else {
            // News that may not be kept is news: what was kept is no longer true. What was cut tells nothing of the whole.
            if answer.flags & flag::TC == 0 && [rcode::NOERROR, rcode::NXDOMAIN].contains(&answer.rcode) {
                self.store.remove(key.bytes());
            } else {
                self.not_refreshed(key);
            }
            return;
        };
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = life.as_secs() as u32;
        }
        let options = if kind == Answer::Denial { &self.options.denial } else { &self.options.success };
        if answer.rcode != rcode::SERVFAIL && options.disabled.iter().any(|zone| answer.question.name.is_under(zone)) {
            self.store.remove(key.bytes());
            return;
        }
        let wire = Message { flags: answer.flags & !flag::AA, ..answer.clone() }.encode(MAX_TCP, None);
        let at = Instant::now();
        let until = at + life;
        let counts = &self.counts[usize::from(kind == Answer::Denial)];
        let stale = self.options.serve_stale.map(|stale| stale.for_at_most).unwrap_or_default();
        let ttls = ttls(&wire);
        self.store.insert(key.bytes(), Stored::new(wire.into(), ttls, answer.rcode, counts.clone(), at, until, until + stale));
    }

    /// How long an answer may be kept where the options do not forbid it; `None` for not at all. A TTL of 0 says so (RFC 1035 section
    /// 3.2.1).
    fn life(&self, answer: &Message) -> Option<(Answer, Duration)> {
        // Where nobody can be asked there is nothing to spare.
        if answer.flags & flag::TC != 0 || answer.unasked {
            return None;
        }
        let least = |records: &[wire::message::Record]| records.iter().map(|record| record.ttl).min();
        let (answer_kind, kind, ttl) = match answer.rcode {
            rcode::SERVFAIL => return Some((Answer::Denial, self.options.servfail)).filter(|(_, life)| !life.is_zero()),
            rcode::NOERROR if answers_question(answer) => {
                let others = least(&answer.authorities).into_iter().chain(least(&answer.additionals)).filter(|ttl| *ttl > 0).min();
                (Answer::Success, &self.options.success, least(&answer.answers)?.min(others.unwrap_or(u32::MAX)))
            }
            // Without an SOA a denial says of no time that it holds for it (RFC 2308 section 5).
            rcode::NOERROR | rcode::NXDOMAIN => {
                let soa = answer.authorities.iter().find(|record| record.rtype == rtype::SOA)?;
                let minimum = soa.data.len().checked_sub(4).map(|at| wire::u32_at(&soa.data, at))?;
                let ttl = soa.ttl.min(minimum).min(least(&answer.answers).unwrap_or(u32::MAX));
                (Answer::Denial, &self.options.denial, ttl)
            }
            _ => return None,
        };
        let life = Duration::from_secs(u64::from(ttl)).max(kind.least).min(kind.most);
        (ttl > 0 && !life.is_zero()).then_some((answer_kind, life))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Success,
    Denial,
}

/// How an entry was served.
#[derive(Clone, Copy)]
struct Served {
    stale: bool,
    refresh: bool,
}

impl Plugin for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            if !self.applies(&request.question.name) || rtype::is_transfer(request.question.qtype) {
                return next.run(request).await;
            }
            let key = Key::new(&Folded::of(&request.question.name), request.question.qtype, self.block, request.dnssec_ok, request.flags);
            if !request.refresh {
                if let Some((kept, served, denial)) = self.get(&key) {
                    self.count(served, denial);
                    if served.refresh {
                        self.refresh(&key, request.clone());
                    }
                    return kept;
                }
                self.metrics.requests.inc();
                self.metrics.misses.inc();
            }
            let patience = self.options.serve_stale.filter(|stale| stale.verify && !request.refresh).and_then(|stale| stale.patience);
            let old = if patience.is_some() { self.stale(&key) } else { None };
            let mut answer = match (patience, old) {
                (Some(patience), Some(old)) => match tokio::time::timeout(patience, next.run(request)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        // Whoever comes later finds what the upstream says by then.
                        let first = self.store.read(key.bytes(), |stored| !stored.refreshing.swap(true, Ordering::Relaxed));
                        if first == Some(true) {
                            self.refresh(&key, request.clone());
                        }
                        self.metrics.served_stale.inc();
                        return old;
                    }
                },
                _ => next.run(request).await,
            };
            if !self.is_news(&key, &answer)
                && let Some(old) = self.stale(&key)
            {
                self.not_refreshed(&key);
                if !request.refresh {
                    self.metrics.served_stale.inc();
                }
                return old;
            }
            self.put(&key, &mut answer);
            answer
        })
    }
}

// === impl Key ===

impl Key {
    fn new(name: &Folded, qtype: u16, block: u32, dnssec_ok: bool, flags: u16) -> Self {
        let wire = name.wire();
        let mut key = Self { bytes: [0; crate::name::MAX_NAME + 7], length: wire.len() + 7 };
        key.bytes[..2].copy_from_slice(&qtype.to_be_bytes());
        key.bytes[2..6].copy_from_slice(&block.to_be_bytes());
        key.bytes[6] = u8::from(dnssec_ok) | u8::from(flags & flag::CD != 0) << 1;
        key.bytes[7..7 + wire.len()].copy_from_slice(wire);
        key
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Whether there are records of what was asked for.
fn answers_question(answer: &Message) -> bool {
    answer.rcode == rcode::NOERROR && answer.answers.iter().any(|record| [record.rtype, rtype::ANY].contains(&answer.question.qtype))
}

/// The last address records of an answer, where they are of one size and so may change places: where they stand, and how many they are.
pub(crate) fn addresses(message: &[u8]) -> Option<(Range<usize>, u16)> {
    let mut at = wire::skip_name(message, HEADER)? + 4;
    let mut found: Option<(Range<usize>, u16, (u16, usize))> = None;
    for _ in 0..wire::u16_at(message, 6) {
        let record = RecordAt::parse(message, at)?;
        at = record.end;
        let kind = (record.rtype, record.end - record.start);
        found = match found {
            Some((range, n, known)) if known == kind && message[range.start..][..2] == message[record.start..][..2] => {
                Some((range.start..record.end, n + 1, known))
            }
            _ if [rtype::A, rtype::AAAA].contains(&record.rtype) => Some((record.start..record.end, 1, kind)),
            _ => None,
        };
    }
    // A name that is written out, and not pointed to, would be torn from the pointers to it.
    found.filter(|(range, n, _)| *n > 1 && message[range.start] >= 0xc0).map(|(range, n, _)| (range, n))
}

/// Where the TTLs of a message stand. Those beyond what an offset can say are not cut, which 64 kB answers may bear.
fn ttls(message: &[u8]) -> Box<[u16]> {
    let Some(question) = wire::skip_name(message, HEADER) else { return Box::default() };
    let mut at = question + 4;
    std::iter::from_fn(|| {
        let record = RecordAt::parse(message, at)?;
        at = record.end;
        u16::try_from(record.data - 6).ok()
    })
    .collect()
}

#[cfg(test)]
mod tests;
