//! Both paths of an answer, held against each other and against hickory's reading of the bytes.

use hickory_proto::op::Message as Theirs;

use super::*;
use crate::config::Corefile;
use crate::plugins::kubernetes::tests::{CLUSTER, filled_routes};
use crate::server::chain::{Next, Request};
use crate::wire::message::{Message, Question};
use crate::wire::{MAX_TCP, OPT, Random, flag};

const COREFILE: &str = "cluster.local:53 in-addr.arpa ip6.arpa {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        zonal
    }
}";

/// As above behind plugins that change some of its names, and let the others by.
const GUARDED: &str = "cluster.local:53 in-addr.arpa ip6.arpa {
    bufsize 700
    rewrite name exact gone.default.svc.cluster.local web.default.svc.cluster.local
    rewrite name regex ^x[.](.*)[.]svc[.]cluster[.]local[.]$ web.{1}.svc.cluster.local answer auto
    template IN AAAA db.default.svc.cluster.local {
        match ^db-0
        rcode NOERROR
        fallthrough
    }
    hosts /nowhere {
        10.9.9.9 web.dev.svc.cluster.local
        10.1.0.3 other.example
        fallthrough
    }
    rutter {
        search-completion
        aaaa off
        private-reverse
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
}";

/// The cluster, and a Service of more endpoints than fit into a small reply.
fn cluster() -> String {
    let many = (1..=60).map(|n| format!("  ep 10.3.0.{n} http:80/tcp\n  ep fd00:3::{n:x} http:80/tcp\n"));
    format!("{CLUSTER}headless default/many\n{}", many.collect::<String>())
}

/// Labels of which names are made: those of the cluster, near misses, and the zone's own.
const LABELS: &[&str] = &[
    "web",
    "WEB",
    "db",
    "db-0",
    "db-1",
    "dual",
    "many",
    "gone",
    "local",
    "self",
    "search",
    "default",
    "dev",
    "nowhere",
    "svc",
    "Svc",
    "pod",
    "dns",
    "ns",
    "dns-version",
    "_http",
    "_tcp",
    "_udp",
    "_pg",
    "http",
    "tcp",
    "10-1-0-2",
    "10-2-0-1",
    "fd00--1",
    "a",
    "pin",
    "prefer",
    "_zone",
    "*",
    "x",
];
const ENDS: &[&str] = &[
    "svc.cluster.local",
    "default.svc.cluster.local",
    "web.default.svc.cluster.local",
    "db.default.svc.Cluster.LOCAL",
    "local.default.svc.cluster.local",
    "search.default.svc.cluster.local",
    "dual.default.svc.cluster.local",
    "many.default.svc.cluster.local",
    "_http._tcp.many.default.svc.cluster.local",
    "_http._tcp.web.default.svc.cluster.local",
    "_pg._tcp.DB.default.svc.cluster.local",
    "db-1.db.default.svc.cluster.local",
    "2.0.1.10.in-addr.arpa",
    "1.0.96.10.in-addr.arpa",
    "10-2-0-1.dev.pod.cluster.local",
    "dns-version.cluster.local",
    "cluster.local",
    "0.1.10.in-addr.arpa",
    "0.96.10.in-addr.arpa",
    "in-addr.arpa",
    "example.com",
    "local",
];
const TYPES: &[u16] = &[1, 1, 28, 33, 12, 5, 6, 2, 16, 15, 255, 65, 43];

fn question(random: &mut Random) -> Question {
    let end = ENDS[random.below(ENDS.len())];
    let labels: Vec<_> = (0..random.below(6).saturating_sub(3))
        .map(|_| if end.ends_with("arpa") { random.below(12).to_string() } else { LABELS[random.below(LABELS.len())].to_owned() })
        .chain([end.to_owned()])
        .collect();
    let mut text = labels.join(".");
    if random.below(2) == 0 {
        // 0x20: clients mix the case to make replies hard to forge.
        text = text.chars().map(|c| if random.below(2) == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    }
    let name = Name::parse(&text).expect("a name");
    Question { name, qtype: TYPES[random.below(TYPES.len())], qclass: CLASS_IN }
}

#[test]
fn the_fast_and_the_slow_path_agree_and_hickory_reads_the_same() {
    // 10,000 in `make test`, a million in `make soak`.
    let n = if std::env::var_os("SOAK").is_some() { 500_000 } else { 5_000 };
    for corefile in [COREFILE, GUARDED] {
        let seen = agree(corefile, n);
        println!("{n} questions: {seen:?}");
        // The vocabulary is such that each path and each kind of answer comes up often.
        assert!(seen.at_once > n / 2 && seen.later > n / 200 && seen.with_records > n / 20 && seen.cut > n / 200, "{seen:?}");
        let kinds = [rtype::A, rtype::AAAA, rtype::SRV, rtype::PTR, rtype::CNAME, rtype::SOA, rtype::NS, rtype::TXT];
        assert!(kinds.iter().all(|kind| seen.kinds.contains(kind)), "{seen:?}");
    }
}

/// How often random questions were answered in which way.
#[derive(Debug, Default)]
struct Seen {
    at_once: usize,
    later: usize,
    with_records: usize,
    cut: usize,
    /// Types of records in answers.
    kinds: std::collections::BTreeSet<u16>,
}

/// Asks `n` random questions on both paths.
fn agree(corefile: &str, n: usize) -> Seen {
    let routes = filled_routes(&Corefile::parse(corefile).expect("a Corefile"), &cluster());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut seen = Seen::default();
    for _ in 0..n {
        let question = question(&mut random);
        let size: u16 = [0, 512, 600, 1_232, 4_096, 65_535][random.below(6)];
        let opt = [0, 0, 41, size.to_be_bytes()[0], size.to_be_bytes()[1], 0, 0, random.below(2) as u8 * 128, 0, 0, 0];
        let flags = if random.below(2) == 0 { flag::RD } else { 0 };
        let id = random.below(65_536) as u16;
        let asked = Message { id, flags, ..Message::answer(question.clone(), 0) };
        let packet = asked.encode(MAX_TCP, Some(&opt[..OPT]).filter(|_| random.below(2) == 0));
        let mut query = Query::parse(&packet).expect("a query");
        query.cap(route_of(&routes, &query.name).and_then(|(_, route)| route.block.max_udp));
        let ends = (([10, 2, 0, 1], 4000).into(), ([10, 96, 0, 10], 53).into());
        let request = Request::new(&query, ends, false);
        let slow = runtime.block_on(Next::start(&routes).whole(&request));
        let slow = slow::finish(slow, &query, query.limit(false));
        let mut out = vec![0; MAX_TCP];
        let shown = format!("{} {}", question.name, question.qtype);
        let bytes = match at_once(&routes, &packet, &mut out, false, 0) {
            (AtOnce::Reply { length, .. }, _) => {
                seen.at_once += 1;
                let fast = Message::parse(&out[..length]).expect("whole");
                let slow = Message::parse(&slow).expect("whole");
                alike(&slow, &fast);
                &out[..length]
            }
            _ => {
                seen.later += 1;
                &slow
            }
        };
        let answer = Message::parse(bytes).expect("whole");
        seen.with_records += usize::from(!answer.answers.is_empty());
        seen.cut += usize::from(answer.flags & flag::TC != 0);
        seen.kinds.extend(answer.answers.iter().map(|record| record.rtype));
        compare(bytes, id, &shown);
    }
    seen
}

/// Both paths say the same; where not all addresses fit, each sends those whose turn it is.
fn alike(slow: &Message, fast: &Message) {
    if slow.flags & fast.flags & flag::TC == 0 {
        return assert_eq!(slow, fast);
    }
    let rest = |message: &Message| (message.rcode, message.flags, message.question.clone(), message.answers.len());
    assert_eq!(rest(slow), rest(fast));
}

/// Reads `bytes` with hickory as well, and compares what it found.
fn compare(bytes: &[u8], id: u16, shown: &str) {
    let ours = Message::parse(bytes).expect("whole");
    let theirs = Theirs::from_vec(bytes).unwrap_or_else(|error| panic!("{shown}: hickory: {error}"));
    assert_eq!((theirs.id(), u16::from(theirs.response_code())), (id, u16::from(ours.rcode)), "{shown}");
    let queries: Vec<_> = theirs.queries().iter().map(|query| (query.name().to_string(), u16::from(query.query_type()))).collect();
    assert_eq!(queries, [(ours.question.name.to_string(), ours.question.qtype)], "{shown}");
    for (ours, theirs) in
        [(&ours.answers, theirs.answers()), (&ours.authorities, theirs.name_servers()), (&ours.additionals, theirs.additionals())]
    {
        let ours: Vec<_> = ours.iter().map(ToString::to_string).collect();
        let theirs: Vec<_> = theirs
            .iter()
            .map(|record| {
                let data = record.data().to_string();
                let data = if record.record_type() == hickory_proto::rr::RecordType::TXT { format!("\"{data}\"") } else { data };
                format!("{} {} {} {data}", record.name(), record.ttl(), record.record_type())
            })
            .collect();
        assert_eq!(ours, theirs, "{shown}");
    }
}

#[test]
fn what_no_block_serves_is_refused() {
    let routes = filled_routes(&Corefile::parse(COREFILE).expect("a Corefile"), &cluster());
    let opt = |version: u8| [0, 0, 41, 4, 208, 0, version, 0, 0, 0, 0];
    for (name, class, opt, code) in [
        ("web.default.svc.cluster.local", 1, None, rcode::NOERROR),
        ("web.default.svc.cluster.local", 3, None, rcode::REFUSED),
        ("web.default.svc.cluster.local", 1, Some(opt(1)), rcode::BADVERS),
        ("example.com", 1, None, rcode::REFUSED),
    ] {
        let question = Question { name: Name::parse(name).expect("a name"), qtype: rtype::A, qclass: class };
        let packet = Message { flags: 0, ..Message::answer(question, 0) }.encode(MAX_TCP, opt.as_ref().map(<[u8; OPT]>::as_slice));
        let mut out = vec![0; MAX_TCP];
        let (AtOnce::Reply { length, .. }, _) = at_once(&routes, &packet, &mut out, false, 0) else { panic!("{name} is answered at once") };
        assert_eq!(Message::parse(&out[..length]).expect("whole").rcode, code, "{name} class {class}");
    }
}

#[test]
fn a_block_without_plugins_serves_nothing() {
    let corefile = Corefile::parse("cluster.local {\n kubernetes cluster.local\n}\nempty.test {\n ready\n}").expect("a Corefile");
    let routes = filled_routes(&corefile, &cluster());
    let question = Question { name: Name::parse("a.empty.test").expect("a name"), qtype: rtype::A, qclass: CLASS_IN };
    let packet = Message { flags: 0, ..Message::answer(question, 0) }.encode(MAX_TCP, None);
    let mut out = vec![0; MAX_TCP];
    assert!(matches!(at_once(&routes, &packet, &mut out, false, 0), (AtOnce::Reply { code: rcode::REFUSED, .. }, _)));
}

#[test]
fn another_class_is_for_those_who_know_it() {
    // An upstream may; the cluster's names have one class.
    let corefile = ". {\n kubernetes cluster.local\n template CH TXT {\n answer \"{{ .Name }} 0 CH TXT me\"\n }\n forward . 192.0.2.1\n}";
    let routes = filled_routes(&Corefile::parse(corefile).expect("a Corefile"), &cluster());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for name in ["version.bind", "web.default.svc.cluster.local"] {
        let question = Question { name: Name::parse(name).expect("a name"), qtype: rtype::TXT, qclass: 3 };
        let packet = Message { flags: 0, ..Message::answer(question.clone(), 0) }.encode(MAX_TCP, None);
        assert!(matches!(at_once(&routes, &packet, &mut vec![0; MAX_TCP], false, 0), (AtOnce::Later, _)), "{name}");
        let request = Request::of(question, "10.2.0.1:4000".parse().expect("address"));
        let answer = runtime.block_on(Next::start(&routes).whole(&request));
        assert_eq!((answer.answers.len(), answer.answers[0].class), (1, 3), "{name}");
    }
}

mod hostile;
mod packets;
