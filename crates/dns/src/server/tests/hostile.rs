//! Hostile packets on every way through the server, held against a second reading of the rules.
//!
//! `make test` sends 100,000, `make soak` (`SOAK`) 2,000,000, and `FUZZ_SECONDS` as many as that time allows. A failure prints its
//! packet as a file for the corpus, where the next run starts from it.

use std::time::{Duration, Instant};

use super::packets::{corpus, mutate, written};
use super::*;
use crate::wire::{HEADER, MAX_UDP, MIN_UDP};

/// What has to come back.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Silence,
    /// This return code at once.
    Code(u8),
    /// An answer of the zone's, whatever it is.
    Answer {
        tells: Option<u16>,
    },
}

/// The rules read once more, from the RFCs and CoreDNS's limits alone and in another way than `Query::parse` does.
fn due(packet: &[u8]) -> Due {
    let Some((header, mut rest)) = packet.split_at_checked(HEADER) else { return Due::Silence };
    if header[2] >> 7 == 1 {
        return Due::Silence;
    }
    if ![0, 4].contains(&(header[2] >> 3 & 15)) {
        return Due::Code(rcode::NOTIMP);
    }
    let count = |at| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let formerr = Due::Code(rcode::FORMERR);
    if count(4) != 1 || count(6) > 1 || count(8) > 1 || count(10) > 2 {
        return formerr;
    }
    let Some((length, pointed)) = name(&mut rest) else { return formerr };
    let Some(fixed) = take(&mut rest, 4).filter(|_| length <= 255 && !pointed) else { return formerr };
    let class = fixed[2..4].to_vec();
    let mut opt: Option<[u8; 4]> = None;
    for at in 0..count(6) + count(8) + count(10) {
        let root = rest.first() == Some(&0);
        let Some(_) = name(&mut rest) else { return formerr };
        let Some(fixed) = take(&mut rest, 10) else { return formerr };
        let Some(data) = take(&mut rest, usize::from(u16::from_be_bytes([fixed[8], fixed[9]]))) else { return formerr };
        if fixed[..2] == [0, 41] {
            if !root || opt.is_some() || at < count(6) + count(8) || !options(data) {
                return formerr;
            }
            opt = Some([fixed[2], fixed[3], fixed[4], fixed[5]]);
        }
    }
    match opt {
        Some([.., version]) if version != 0 => Due::Code(rcode::BADVERS),
        _ if class != [0, 1] => Due::Code(rcode::REFUSED),
        _ => Due::Answer { tells: opt.map(|opt| u16::from_be_bytes([opt[0], opt[1]])) },
    }
}

/// Goes past one name; gives its length and whether it ends in a pointer.
fn name(rest: &mut &[u8]) -> Option<(usize, bool)> {
    let mut length = 0;
    loop {
        let octet = take(rest, 1)?[0];
        length += 1 + usize::from(octet);
        match octet {
            0 => return Some((length, false)),
            1..=63 => _ = take(rest, usize::from(octet))?,
            192.. => return take(rest, 1).map(|_| (length, true)),
            _ => return None,
        }
    }
}

fn options(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let Some(head) = take(&mut data, 4) else { return false };
        if take(&mut data, usize::from(u16::from_be_bytes([head[2], head[3]]))).is_none() {
            return false;
        }
    }
    true
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(n)?;
    *rest = left;
    Some(taken)
}

/// The server under test, and how often it did what.
struct Bench {
    routes: Vec<Route>,
    runtime: tokio::runtime::Runtime,
    metrics: std::sync::Arc<metrics::Metrics>,
    out: Vec<u8>,
    silent: usize,
    refused: usize,
    answered: usize,
    later: usize,
}

impl Bench {
    fn new(corefile: &str) -> Self {
        Self {
            routes: filled_routes(&Corefile::parse(corefile).expect("a Corefile"), &cluster()),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            metrics: metrics::Metrics::new(&runtime::Registry::default()),
            out: vec![0; MAX_TCP],
            silent: 0,
            refused: 0,
            answered: 0,
            later: 0,
        }
    }

    /// Sends one packet by UDP and by TCP, on both paths.
    fn check(&mut self, packet: &[u8]) {
        let due = due(packet);
        for tcp in [false, true] {
            let (outcome, _) = at_once(&self.routes, packet, &mut self.out, tcp, 0);
            match (&due, outcome) {
                (Due::Silence, AtOnce::Silence) => self.silent += 1,
                (Due::Code(expected), AtOnce::Reply { length, code, .. }) => {
                    assert_eq!(code, *expected, "the return code");
                    self.refused += 1;
                    // A header without a question says no more than the code.
                    reply(packet, &self.out[..length], tcp, None);
                }
                (Due::Answer { tells }, AtOnce::Reply { length, code, .. }) => {
                    self.answered += 1;
                    assert_ne!(code, rcode::FORMERR);
                    let fast = self.out[..length].to_vec();
                    reply(packet, &fast, tcp, Some(*tells));
                    let slow = self.slow(packet, tcp);
                    let [slow] = slow.as_slice() else { panic!("{} replies on the slow path", slow.len()) };
                    if *slow != fast {
                        alike(&Message::parse(slow).expect("whole"), &Message::parse(&fast).expect("whole"));
                    }
                }
                (Due::Answer { tells }, AtOnce::Later) => {
                    self.later += 1;
                    self.slow(packet, tcp).iter().for_each(|slow| reply(packet, slow, tcp, Some(*tells)));
                }
                (due, AtOnce::Silence) => panic!("silence where {due:?} is due"),
                (due, AtOnce::Reply { code, .. }) => panic!("code {code} where {due:?} is due"),
                (due, AtOnce::Later) => panic!("left to a task where {due:?} is due"),
            }
        }
    }

    fn slow(&self, packet: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let mut query = Query::parse(packet).expect("both paths read a query alike");
        let ends = (([10, 2, 0, 1], 4000).into(), ([10, 96, 0, 10], 53).into());
        self.runtime.block_on(slow::answer(&self.routes, &mut query, ends, tcp, &self.metrics))
    }
}

/// What every reply owes the packet that it answers. `edns`: the size that its OPT record offers, if there is one, where an answer is due.
fn reply(packet: &[u8], reply: &[u8], tcp: bool, edns: Option<Option<u16>>) {
    assert!(reply.len() >= HEADER && reply[..2] == packet[..2], "the id");
    // RD is a query's; what else may stand in an opcode says nothing by it.
    let kept = if packet[2] & 0b0111_1000 == 0 { 0b0111_1001 } else { 0b0111_1000 };
    assert_eq!(reply[2] & 0x80, 0x80, "QR");
    assert_eq!(reply[2] & kept, packet[2] & kept, "opcode and RD");
    let theirs = Theirs::from_vec(reply).unwrap_or_else(|error| panic!("hickory cannot read {}: {error}", written(reply)));
    let Some(edns) = edns else {
        return assert!(tcp || reply.len() <= MIN_UDP);
    };
    assert!(reply.len() <= if tcp { MAX_TCP } else { usize::from(edns.unwrap_or(0)).clamp(MIN_UDP, MAX_UDP) }, "{} octets", reply.len());
    assert_eq!(theirs.queries().len(), 1, "the question");
    // RFC 6891 section 7: an OPT record for those who have one and nobody else.
    assert_eq!(theirs.extensions().is_some(), edns.is_some(), "the OPT record");
}

#[test]
fn packets_of_the_corpus_and_endless_changes_of_them_are_answered_by_the_book_or_not_at_all() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let n_packets = if std::env::var_os("SOAK").is_some() { 2_000_000 } else { 100_000 };
    let mut benches = [COREFILE, GUARDED].map(Bench::new);
    let kept = corpus();
    let mut random = Random(0x1234_5678_9abc_def1);
    let started = Instant::now();
    let mut checked = 0;
    let mut check = |name: &str, packet: &[u8], checked: &mut usize| {
        let bench = &mut benches[*checked % 2];
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.check(packet)));
        if verdict.is_err() {
            panic!("crates/dns/corpus/NAME.hex, made from {name}:\n{}", written(packet));
        }
        *checked += 1;
    };
    for (name, packet) in kept.iter().flat_map(|one| [one, one]) {
        check(name, packet, &mut checked);
    }
    while seconds.map_or(checked < n_packets, |seconds| started.elapsed() < seconds) {
        let (name, mut packet) = match random.below(2) {
            0 => kept[random.below(kept.len())].clone(),
            _ => {
                let asked = question(&mut random);
                (asked.name.to_string(), Message { flags: 0, ..Message::answer(asked, 0) }.encode(MAX_TCP, None))
            }
        };
        for _ in 0..random.below(5) {
            let other = &kept[random.below(kept.len())].1;
            mutate(&mut packet, other, &mut random);
        }
        check(&name, &packet, &mut checked);
    }
    let sum = |count: fn(&Bench) -> usize| benches.iter().map(count).sum::<usize>();
    let (silent, refused, answered, later) =
        (sum(|bench| bench.silent), sum(|bench| bench.refused), sum(|bench| bench.answered), sum(|bench| bench.later));
    println!("{checked} packets by UDP and TCP: {silent} silent, {refused} refused, {answered} answered at once, {later} by a task");
    // Each way through is walked often.
    let often = checked / 50;
    assert!(silent > often && refused > often && answered > often && later > often / 2, "{silent} {refused} {answered} {later}");
}
