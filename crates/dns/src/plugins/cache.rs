//! `cache [TTL] [ZONE...]`: answers from upstreams are kept as long as their records allow.
//!
//! Owns what may be kept and how long (RFC 2308 for denials, RFC 8767 for stale answers). Holds answers as bytes, so that the UDP loops
//! copy a hit and patch its TTLs. The cluster's own names never come here.

mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::store::Store;
use self::store::Stored;
use crate::config::{Directive, Mistakes};
use crate::name::Name;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::Metrics;
use crate::wire::message::Message;
use crate::wire::{self, Folded, HEADER, MAX_TCP, OPT, Query, RecordAt, flag, rcode, rtype};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub success: Kind,
    pub denial: Kind,
    /// How long a failure of the upstream is remembered (RFC 2308 section 7 allows five minutes at the most).
    pub servfail: Duration,
    pub serve_stale: Option<Duration>,
    pub keep_ttl: bool,
}

/// What holds for one kind of answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub most: Duration,
    pub least: Duration,
    /// Zones for which it is off.
    pub disabled: Vec<Name>,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    const KNOWN: &[&str] = &["success", "denial", "prefetch", "serve_stale", "servfail", "disable", "keepttl"];
    // 3,600 s, 1,800 s and 5 s: CoreDNS's defaults.
    let kind = |most| Kind { most: Duration::from_secs(most), least: Duration::from_secs(5), disabled: Vec::new() };
    let mut options = Options {
        zones: Vec::new(),
        success: kind(3_600),
        denial: kind(1_800),
        servfail: Duration::from_secs(5),
        serve_stale: None,
        keep_ttl: false,
    };
    let mut zones = directive.args.as_slice();
    if let Some((first, rest)) = zones.split_first()
        && let Ok(secs) = first.parse()
    {
        let ttl = Duration::from_secs(secs);
        (options.success.most, options.denial.most) = (ttl, ttl);
        zones = rest;
    }
    options.zones = zones.iter().flat_map(|zone| crate::config::zones(directive.line, zone, mistakes)).collect();
    for property in &directive.body {
        match property.name.as_str() {
            "success" => capacity(property, &mut options.success, mistakes),
            "denial" => capacity(property, &mut options.denial, mistakes),
            // Entries that are asked for often are never let run out anyway: the first to miss asks, the others wait with it.
            "prefetch" => {}
            "serve_stale" => options.serve_stale = Some(stale(property, mistakes)),
            "servfail" => {
                let most = Duration::from_secs(300);
                match property.duration(mistakes) {
                    Some(duration) if duration > most => mistakes.add(property.line, "`servfail` is 5m at the most"),
                    Some(duration) => options.servfail = duration,
                    None => {}
                }
            }
            "keepttl" => options.keep_ttl = true,
            "disable" => {
                let Some((what, zones)) = property.args.split_first() else {
                    mistakes.add(property.line, "`disable` takes `success` or `denial`, and zones");
                    continue;
                };
                let mut disabled: Vec<Name> = zones.iter().flat_map(|zone| crate::config::zones(property.line, zone, mistakes)).collect();
                if zones.is_empty() {
                    disabled.push(Name::root());
                }
                match what.as_str() {
                    "success" => options.success.disabled.extend(disabled),
                    "denial" => options.denial.disabled.extend(disabled),
                    _ => mistakes.add(property.line, format!("`disable {what}`: neither success nor denial")),
                }
            }
            _ => mistakes.unknown(property, "cache", KNOWN),
        }
    }
    Some(options)
}

/// `CAPACITY [TTL [MINTTL]]`. The capacity counts entries; ours is bounded in bytes for all zones together, so it is read and let be.
fn capacity(property: &Directive, kind: &mut Kind, mistakes: &mut Mistakes) {
    let numbers: Result<Vec<u64>, _> = property.args.iter().map(|arg| arg.parse()).collect();
    match numbers.as_deref() {
        Ok([_]) => {}
        Ok([_, most]) => kind.most = Duration::from_secs(*most),
        Ok([_, most, least]) => (kind.most, kind.least) = (Duration::from_secs(*most), Duration::from_secs(*least)),
        _ => mistakes.add(property.line, format!("`{}` takes a capacity, a TTL and a least TTL, all numbers", property.name)),
    }
}

/// `[DURATION [immediate|verify]]`: ours asks the upstream first (`verify`), whatever is written.
fn stale(property: &Directive, mistakes: &mut Mistakes) -> Duration {
    let hour = Duration::from_secs(3_600);
    match property.args.first() {
        None => hour,
        Some(text) => crate::config::duration(text).unwrap_or_else(|| {
            mistakes.add(property.line, format!("`serve_stale {text}`: not a duration such as 1h"));
            hour
        }),
    }
}

/// The cache of one server block, in the store of all.
pub(crate) struct Cache {
    options: Options,
    store: Arc<Store>,
    /// Which block: blocks may ask different upstreams about one name.
    block: u32,
    metrics: Arc<Metrics>,
    hits: [runtime::metrics::IntCounter; 2],
}

/// Name, type, block, DO and CD.
struct Key {
    bytes: [u8; crate::name::MAX_NAME + 7],
    length: usize,
}

/// Answers that say they may be used no longer than this say so of themselves (RFC 8767 section 4: a short time for stale ones).
const STALE_TTL: u32 = 0;

// === impl Cache ===

impl Cache {
    pub(crate) fn new(options: Options, store: Arc<Store>, block: u32, server: &str, metrics: Arc<Metrics>) -> Self {
        let zones = options.zones.first().map_or_else(|| ".".to_owned(), Name::to_string);
        let hits = ["success", "denial"].map(|kind| metrics.cache_hits.with_label_values(&[server, kind, &zones, ""]));
        Self { options, store, block, metrics, hits }
    }

    /// Writes a fresh answer as the reply to `query`. `None`: not there, or longer than the client takes.
    pub(crate) fn hit(&self, query: &Query<'_>, out: &mut [u8], limit: usize) -> Option<(usize, u8)> {
        let key = Key::new(&query.name, query.qtype, self.block, query.edns.is_some_and(|edns| edns.dnssec_ok), query.flags());
        let opt = if query.edns.is_some() { OPT } else { 0 };
        let now = Instant::now();
        let (length, code, denial) = self.store.read(key.bytes(), |stored| {
            let length = stored.wire.len();
            if stored.until <= now || length + opt > limit.min(out.len()) {
                return None;
            }
            out[..length].copy_from_slice(&stored.wire);
            self.age(stored, &mut out[..length], now);
            Some((length, stored.code, stored.denial))
        })??;
        self.hits[usize::from(denial)].inc();
        out[..2].copy_from_slice(&query.bytes[..2]);
        let flags = wire::u16_at(out, 2) & !(flag::OPCODE | flag::RD | flag::CD) | query.flags() & (flag::OPCODE | flag::RD | flag::CD);
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

    /// Takes the time since an answer came off its TTLs.
    fn age(&self, stored: &Stored, message: &mut [u8], now: Instant) {
        if self.options.keep_ttl {
            return;
        }
        let age = now.duration_since(stored.at).as_secs() as u32;
        for at in &stored.ttls {
            let at = usize::from(*at);
            let left = wire::u32_at(message, at).saturating_sub(age);
            message[at..at + 4].copy_from_slice(&left.to_be_bytes());
        }
    }

    fn applies(&self, name: &Name) -> bool {
        self.options.zones.is_empty() || self.options.zones.iter().any(|zone| name.is_under(zone))
    }

    /// What is kept of `key`: fresh, or (`stale`) as old as the options allow.
    fn get(&self, key: &Key, stale: bool) -> Option<Message> {
        let now = Instant::now();
        let mut message = self.store.read(key.bytes(), |stored| {
            if if stale { stored.stale_until <= now } else { stored.until <= now } {
                return None;
            }
            let mut wire = stored.wire.to_vec();
            self.age(stored, &mut wire, now);
            Message::parse(&wire)
        })??;
        if stale {
            let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
            sections.into_iter().flatten().for_each(|record| record.ttl = STALE_TTL);
        }
        Some(message)
    }

    /// Keeps `answer` if it may be kept, its TTLs cut to what it is kept for.
    fn put(&self, key: &Key, answer: &mut Message) {
        let Some((kind, life)) = self.life(answer) else { return };
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = record.ttl.min(life.as_secs() as u32);
        }
        let wire = Message { flags: answer.flags & !flag::AA, ..answer.clone() }.encode(MAX_TCP, None);
        let at = Instant::now();
        let until = at + life;
        let stored = Stored {
            ttls: ttls(&wire),
            wire: wire.into(),
            code: answer.rcode,
            denial: kind == Answer::Denial,
            at,
            until,
            stale_until: until + self.options.serve_stale.unwrap_or_default(),
        };
        let evicted = self.store.insert(key.bytes(), stored);
        self.metrics.cache_evictions.inc_by(evicted as u64);
        self.metrics.cache_entries.with_label_values(&["dns://", "all", ".", ""]).set(self.store.len() as i64);
    }

    /// How long an answer may be kept; `None` for not at all. A TTL of 0 forbids it (RFC 1035 section 3.2.1).
    fn life(&self, answer: &Message) -> Option<(Answer, Duration)> {
        let name = &answer.question.name;
        if answer.flags & flag::TC != 0 {
            return None;
        }
        let least = |records: &[wire::message::Record]| records.iter().map(|record| record.ttl).min();
        let (answer_kind, kind, ttl) = match answer.rcode {
            rcode::SERVFAIL => return Some((Answer::Denial, self.options.servfail)).filter(|(_, life)| !life.is_zero()),
            rcode::NOERROR if answer.answers.iter().any(|record| record.rtype == answer.question.qtype) => {
                (Answer::Success, &self.options.success, least(&answer.answers)?)
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
        if ttl == 0 || kind.disabled.iter().any(|zone| name.is_under(zone)) {
            return None;
        }
        let life = Duration::from_secs(u64::from(ttl)).max(kind.least).min(kind.most);
        (!life.is_zero()).then_some((answer_kind, life))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Success,
    Denial,
}

impl Plugin for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            if !self.applies(&request.question.name) {
                return next.run(request).await;
            }
            let folded = Folded::of(&request.question.name);
            let key = Key::new(&folded, request.question.qtype, self.block, request.dnssec_ok, request.flags);
            if let Some(fresh) = self.get(&key, false) {
                return fresh;
            }
            self.metrics.cache_misses.inc();
            let mut answer = next.run(request).await;
            if answer.rcode == rcode::SERVFAIL
                && self.options.serve_stale.is_some()
                && let Some(stale) = self.get(&key, true)
            {
                self.metrics.served_stale.inc();
                return stale;
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
