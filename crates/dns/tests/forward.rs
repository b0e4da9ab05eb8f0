//! What `forward` and `cache` do when upstreams are well, slow, wrong or gone, over sockets.

#[path = "forward/upstream.rs"]
mod upstream;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use model::NameView;
use runtime::{Registry, Trigger};
use tokio::sync::watch;
use upstream::{Does, PATIENCE, Upstream};

/// A server on a runtime of its own; ends when dropped.
struct Server {
    address: SocketAddr,
    registry: Registry,
    _trigger: Trigger,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Serves one Corefile, in which `{1}` stands for the address of the first upstream.
    fn new(corefile: &str, upstreams: &[Upstream]) -> Self {
        let mut text = corefile.to_owned();
        for (at, upstream) in upstreams.iter().enumerate() {
            text = text.replace(&format!("{{{}}}", at + 1), &upstream.address.to_string());
        }
        let corefile = dns::config::Corefile::parse(&text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
        let config = dns::Config { corefile, listen: vec![([127, 0, 0, 1], 0).into()] };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (trigger, drain) = runtime::drain::channel();
        let registry = Registry::default();
        let (_names, views) = watch::channel(Arc::<NameView>::default());
        let running = runtime.block_on(async { dns::start(config, views, None, drain, registry.clone()) }).expect("started");
        Self { address: running.listening[0], registry, _trigger: trigger, _runtime: runtime }
    }

    fn send(&self, name: &str) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.send_to(&question(name), self.address).expect("sent");
        socket
    }

    fn ask(&self, name: &str) -> String {
        receive(&self.send(name))
    }

    fn ask_by_tcp(&self, name: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let bytes = question(name);
        stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()).expect("sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a reply in time");
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).expect("the whole reply");
        shown(&bytes)
    }

    /// Asks until the reply is `expected`; gives the replies before.
    fn until(&self, name: &str, expected: &str) -> Vec<String> {
        let mut others = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.ask(name);
            if reply == expected {
                return others;
            }
            others.push(reply);
            assert!(Instant::now() < deadline, "{name}: {:?} instead of {expected}", others.last());
        }
    }

    fn until_counted(&self, sample: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.registry.render().lines().any(|line| line.starts_with(sample)) {
            assert!(Instant::now() < deadline, "{sample} is not among the metrics:\n{}", self.registry.render());
            std::thread::yield_now();
        }
    }
}

/// `large:` in front of the name: from a client that takes replies of 4,096 octets by UDP.
fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new();
    let (name, large) = name.strip_prefix("large:").map_or((name, false), |name| (name, true));
    if large {
        message.extensions_mut().get_or_insert_with(Edns::new).set_max_payload(4_096);
    }
    message.set_id(7).set_recursion_desired(true).add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    message.to_vec().expect("encoded")
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a reply in time");
    shown(&buffer[..length])
}

/// `192.0.2.1 60` or the code of an answer without a record; `TC` behind it if it was cut.
fn shown(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).expect("a message");
    let first = message.answers().first().map(|record| format!("{} {}", record.data(), record.ttl()));
    let shown = first.unwrap_or_else(|| message.response_code().to_str().to_owned());
    if message.truncated() { format!("{shown} TC") } else { shown }
}

/// Asks for one name after the other; the answers, then how often each upstream was asked.
fn check(what: &str, inside: &str, does: &[Does], names: &[&str], expected: (&[&str], &[usize])) {
    let upstreams: Vec<_> = (1..).zip(does).map(|(number, does)| Upstream::new(number, *does)).collect();
    let server = Server::new(&format!(".:53 {{\n{inside}\n}}"), &upstreams);
    let answers = names.iter().map(|name| name.strip_prefix("tcp:").map_or_else(|| server.ask(name), |name| server.ask_by_tcp(name)));
    let answers: Vec<_> = answers.map(|answer| answer.trim_end_matches(" 60").to_owned()).collect();
    let asked: Vec<_> = upstreams.iter().map(|upstream| upstream.asked().len()).collect();
    assert_eq!((answers, asked), (expected.0.iter().map(|text| (*text).to_owned()).collect(), expected.1.to_vec()), "{what}");
}

/// Where questions are counted, `max_connect_attempts 1` keeps a busy machine from being taken for a slow upstream.
const FOUR: &[&str] = &["a.example.", "b.example.", "c.example.", "d.example."];
const ONE: &[&str] = &["a.example."];
const SERVFAIL: Does = Does::Say(ResponseCode::ServFail);
const REFUSED: Does = Does::Say(ResponseCode::Refused);
const NXDOMAIN: Does = Does::Say(ResponseCode::NXDomain);

#[test]
fn the_policy_says_who_is_asked_first() {
    let same = ["192.0.2.1"; 4];
    check("sequential", "forward . {1} {2} {\n policy sequential\n max_connect_attempts 1\n}", &[Does::Answer; 2], FOUR, (&same, &[4, 0]));
    let turns = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"];
    check(
        "round_robin",
        "forward . {1} {2} {\n policy round_robin\n max_connect_attempts 1\n}",
        &[Does::Answer; 2],
        FOUR,
        (&turns, &[2, 2]),
    );
    let upstreams = [1, 2, 3].map(|number| Upstream::new(number, Does::Answer));
    let server = Server::new(".:53 {\nforward . {1} {2} {3} {\n max_connect_attempts 1\n}\n}", &upstreams);
    // 80 questions leave one of three out once in 10^14 runs.
    (0..80).for_each(|n| _ = server.ask(&format!("{n}.example.")));
    let asked = upstreams.each_ref().map(|upstream| upstream.asked().len());
    assert!(asked.iter().all(|n| *n > 0) && asked.iter().sum::<usize>() == 80, "random: {asked:?}");
}

#[test]
fn another_upstream_stands_in_for_one_that_fails() {
    let to = |options: &str| format!("forward . {{1}} {{2}} {{\n policy sequential\n{options}\n}}");
    let second: &[&str] = &["192.0.2.2"];
    check("nobody there", &to(""), &[Does::Close, Does::Answer], ONE, (second, &[0, 1]));
    check("silence", &to(""), &[Does::Nothing, Does::Answer], ONE, (second, &[1, 1]));
    check("a failure is an answer", &to(""), &[SERVFAIL, Does::Answer], ONE, (&["Server Failure"], &[1, 0]));
    check("unless it is not to be", &to("failover SERVFAIL REFUSED"), &[SERVFAIL, Does::Answer], ONE, (second, &[1, 1]));
    check("the last one's word", &to("failover SERVFAIL REFUSED"), &[SERVFAIL, REFUSED], ONE, (&["Query Refused"], &[1, 1]));
    check("one try", &to("max_connect_attempts 1\nread_timeout 50ms"), &[Does::Stall, Does::Answer], ONE, (&["Server Failure"], &[1, 0]));
}

#[test]
fn the_next_forward_betters_what_the_options_say() {
    let two = |options: &str| format!("forward . {{1}} {{\n{options}\n}}\nforward . {{2}}");
    check("next", &two("next NXDOMAIN"), &[NXDOMAIN, Does::Answer], ONE, (&["192.0.2.2"], &[1, 1]));
    check("another code", &two("next REFUSED"), &[NXDOMAIN, Does::Answer], ONE, (&["Non-Existent Domain"], &[1, 0]));
    check("next_on_nodata", &two("next_on_nodata"), &[Does::NoData, Does::Answer], ONE, (&["192.0.2.2"], &[1, 1]));
    check("not asked for", &two(""), &[Does::NoData, Does::Answer], ONE, (&["No Error"], &[1, 0]));
    check("no next", "forward . {1} {\n next NXDOMAIN\n}", &[NXDOMAIN], ONE, (&["Non-Existent Domain"], &[1]));
    check(
        "except",
        &two("max_connect_attempts 1\nexcept b.example"),
        &[Does::Answer; 2],
        &FOUR[..2],
        (&["192.0.2.1", "192.0.2.2"], &[1, 1]),
    );
    let zones = "forward a.example {1} {\n max_connect_attempts 1\n}\nforward . {2} {\n max_connect_attempts 1\n}";
    check("its own zone only", zones, &[Does::Answer; 2], &FOUR[..2], (&["192.0.2.1", "192.0.2.2"], &[1, 1]));
}

#[test]
fn questions_take_the_transport_that_they_should() {
    let (udp, tcp): (&[&str], &[&str]) = (&["192.0.2.1"], &["192.0.2.101"]);
    let to = |options: &str| format!("forward . {{1}} {{\n{options}\n}}");
    check("as asked", &to(""), &[Does::Answer], &["tcp:a.example."], (tcp, &[1]));
    check("force_tcp", &to("force_tcp"), &[Does::Answer], ONE, (tcp, &[1]));
    check("prefer_udp", &to("prefer_udp"), &[Does::Answer], &["tcp:a.example."], (udp, &[1]));
    check("both", &to("force_tcp\nprefer_udp"), &[Does::Answer], ONE, (tcp, &[1]));
    check("what was cut comes whole", &to("prefer_udp"), &[Does::Cut], ONE, (tcp, &[2]));
    check("or the client is told to come again", &to(""), &[Does::Cut], ONE, (&["No Error TC"], &[1]));
    let large = &["large:a.example."];
    check("a client that takes more is not told of our limit", &to(""), &[Does::CutUsual], large, (udp, &[2]));
    check("but of the upstream's", &to(""), &[Does::Cut], large, (&["No Error TC"], &[2]));
    check("without EDNS", &to(""), &[Does::Old], ONE, (udp, &[2]));
    check("forged answers are not taken", &to(""), &[Does::BeForged], ONE, (udp, &[1]));
}

#[test]
fn connections_are_used_again_as_long_as_the_options_say() {
    let connections = |options: &str| {
        let upstream = [Upstream::new(1, Does::Answer)];
        let server =
            Server::new(&format!(".:53 {{\nforward . {{1}} {{\n force_tcp\n max_connect_attempts 1\n{options}\n}}\n}}"), &upstream);
        FOUR.iter().for_each(|name| assert_eq!(server.ask(name), "192.0.2.101 60"));
        upstream[0].n_connections()
    };
    assert_eq!(connections(""), 1);
    assert_eq!(connections("expire 0s"), 4);
    assert_eq!(connections("expire 1ns\n max_age 1ns"), 4);
}

#[test]
fn a_port_is_used_again_a_few_times_and_then_no_more() {
    let n_ports = |options: &str| {
        let upstream = [Upstream::new(1, Does::Answer)];
        let server = Server::new(&format!(".:53 {{\nforward . {{1}} {{\n{options}\n}}\n}}"), &upstream);
        (0..40).for_each(|n| assert_eq!(server.ask(&format!("n{n}.example.")), "192.0.2.1 60"));
        upstream[0].asked().iter().map(|asked| asked.from.port()).collect::<HashSet<_>>().len()
    };
    assert!((3..20).contains(&n_ports("")), "40 questions, and a port serves 16");
    // Chance may choose one twice.
    assert!(n_ports("expire 0s") > 30);
}

#[test]
fn questions_leave_from_the_source_address() {
    let upstream = [Upstream::new(1, Does::Answer)];
    let server = Server::new(".:53 {\nforward . {1} {\n source_address 127.0.0.2\n}\n}", &upstream);
    server.ask("a.example.");
    server.ask_by_tcp("b.example.");
    let from: Vec<_> = upstream[0].asked().iter().map(|asked| (asked.tcp, asked.from.ip().to_string())).collect();
    assert_eq!(from, [(false, "127.0.0.2".to_owned()), (true, "127.0.0.2".to_owned())]);
}

#[test]
fn an_upstream_that_fails_is_probed_as_the_options_say() {
    for (options, tcp, recursion, name) in [
        ("", false, true, "."),
        ("force_tcp", true, true, "."),
        ("health_check 10ms no_rec domain up.example", false, false, "up.example."),
    ] {
        let upstreams = [Upstream::new(1, Does::Stall), Upstream::new(2, Does::Answer)];
        let options = format!(".:53 {{\nforward . {{1}} {{2}} {{\n policy sequential\n read_timeout 50ms\n{options}\n}}\n}}");
        let server = Server::new(&options, &upstreams);
        server.ask("a.example.");
        let deadline = Instant::now() + PATIENCE;
        while upstreams[0].probes().is_empty() {
            assert!(Instant::now() < deadline, "no probe: {options}");
            std::thread::yield_now();
        }
        let probe = upstreams[0].probes().remove(0);
        assert_eq!((probe.tcp, probe.recursion, probe.name.as_str()), (tcp, recursion, name), "{options}");
        assert!(upstreams[1].probes().is_empty(), "the one that answers is left in peace");
    }
}

#[test]
fn one_that_is_down_is_left_out_and_comes_back() {
    let upstreams = [Upstream::new(1, Does::Nothing), Upstream::new(2, Does::Answer)];
    let inside = "forward . {1} {2} {\n policy sequential\n health_check 10ms\n}";
    let server = Server::new(&format!(".:53 {{\n{inside}\n}}"), &upstreams);
    assert_eq!(server.ask("a.example."), "192.0.2.2 60");
    server.until_counted(&format!("coredns_proxy_healthcheck_failures_total{{proxy_name=\"forward\",to=\"{}\"}} 2", upstreams[0].address));
    let before = upstreams[0].asked().len();
    FOUR.iter().for_each(|name| assert_eq!(server.ask(name), "192.0.2.2 60"));
    assert_eq!(upstreams[0].asked().len(), before, "nobody asks it");
    upstreams[0].now_does(Does::Answer);
    server.until("b.example.", "192.0.2.1 60");
}

#[test]
fn with_every_upstream_down_the_options_say_whether_one_is_tried() {
    for (options, tried) in [("", 1), ("failfast_all_unhealthy_upstreams", 0)] {
        let upstreams = [Upstream::new(1, Does::Nothing)];
        let inside = format!("forward . {{1}} {{\n health_check 10ms\n read_timeout 50ms\n max_connect_attempts 1\n{options}\n}}");
        let server = Server::new(&format!(".:53 {{\n{inside}\n}}"), &upstreams);
        assert_eq!(server.ask("a.example."), "Server Failure");
        server.until_counted(&format!(
            "coredns_proxy_healthcheck_failures_total{{proxy_name=\"forward\",to=\"{}\"}} 2",
            upstreams[0].address
        ));
        let before = upstreams[0].asked().len();
        assert_eq!(server.ask("b.example."), "Server Failure");
        assert_eq!(upstreams[0].asked().len() - before, tried, "{options}");
        server.until_counted("coredns_forward_healthcheck_broken_total 1");
        upstreams[0].now_does(Does::Answer);
        server.until("c.example.", "192.0.2.1 60");
    }
}

#[test]
fn nobody_is_probed_where_nobody_can_be_down() {
    let upstreams = [Upstream::new(1, Does::Stall)];
    let server = Server::new(".:53 {\nforward . {1} {\n max_fails 0\n read_timeout 20ms\n health_check 1ms\n}\n}", &upstreams);
    FOUR.iter().for_each(|name| assert_eq!(server.ask(name), "Server Failure"));
    assert_eq!((upstreams[0].asked().len(), upstreams[0].probes().len()), (8, 0));
}

#[test]
fn a_late_answer_is_asked_for_elsewhere_and_the_first_one_holds() {
    let upstreams = [Upstream::new(1, Does::Stall), Upstream::new(2, Does::Answer)];
    let server = Server::new(".:53 {\nforward . {1} {2} {\n policy sequential\n read_timeout 8s\n}\n}", &upstreams);
    assert_eq!(server.ask("a.example."), "192.0.2.2 60");
    server.until_counted("rutter_dns_forward_hedged_total 1");
    assert_eq!(upstreams[0].asked().len(), 1, "its time was not over");
}

#[test]
fn one_upstream_alone_is_asked_again_when_a_datagram_is_lost() {
    let upstreams = [Upstream::new(1, Does::Stall)];
    let server = Server::new(".:53 {\nforward . {1} {\n read_timeout 8s\n}\n}", &upstreams);
    let socket = server.send("a.example.");
    let deadline = Instant::now() + PATIENCE;
    while upstreams[0].asked().is_empty() {
        assert!(Instant::now() < deadline, "it is asked");
        std::thread::yield_now();
    }
    upstreams[0].now_does(Does::Answer);
    assert_eq!(receive(&socket), "192.0.2.1 60");
    assert_eq!(upstreams[0].asked().len(), 2);
}

#[test]
fn what_the_budget_had_nothing_for_is_asked_again_once_others_brought_it_in() {
    let upstreams = [Upstream::new(1, Does::Stall)];
    let server = Server::new(".:53 {\nforward . {1} {\n read_timeout 8s\n}\n}", &upstreams);
    let waiting: Vec<_> = (0..15).map(|n| server.send(&format!("lost{n}.example."))).collect();
    let deadline = Instant::now() + PATIENCE;
    while upstreams[0].asked().len() < waiting.len() {
        assert!(Instant::now() < deadline, "all are asked");
        std::thread::yield_now();
    }
    upstreams[0].now_does(Does::Answer);
    // Ten can be asked twice at once; others bring in what the rest takes.
    let mut others = 0;
    while upstreams[0].asked().len() < 2 * waiting.len() + others {
        assert!(Instant::now() < deadline, "each is asked once more");
        assert_eq!(server.ask(&format!("n{others}.example.")), "192.0.2.1 60");
        others += 1;
    }
    waiting.iter().for_each(|socket| assert_eq!(receive(socket), "192.0.2.1 60"));
}

#[test]
fn more_questions_than_allowed_are_refused_and_other_zones_go_on() {
    let upstreams = [Upstream::new(1, Does::Stall), Upstream::new(2, Does::Answer)];
    let inside = "forward slow.example {1} {\n max_concurrent 3\n read_timeout 9s\n}\nforward . {2}";
    let server = Server::new(&format!(".:53 {{\n{inside}\n}}"), &upstreams);
    let waiting = ["1.slow.example.", "2.slow.example.", "3.slow.example."].map(|name| server.send(name));
    let deadline = Instant::now() + PATIENCE;
    let is_asked = |name: &str| upstreams[0].asked().iter().any(|asked| asked.name.starts_with(name));
    while !["1.", "2.", "3."].iter().all(|name| is_asked(name)) {
        assert!(Instant::now() < deadline, "all three are under way");
        std::thread::yield_now();
    }
    assert_eq!(server.ask("4.slow.example."), "Query Refused");
    assert_eq!(server.ask("a.example."), "192.0.2.2 60");
    upstreams[0].now_does(Does::Answer);
    waiting.iter().for_each(|socket| assert_eq!(receive(socket), "192.0.2.1 60"));
    server.until("4.slow.example.", "192.0.2.1 60");
}

/// A cache of answers that live for a second.
fn cached(options: &str) -> (Server, [Upstream; 1]) {
    let upstreams = [Upstream::new(1, Does::Answer)];
    upstreams[0].now_answers(1, 1);
    let inside = format!(
        "cache {{\n success 1000 60 1\n servfail 0\n{options}\n}}\nforward . {{1}} {{\n read_timeout 50ms\n max_connect_attempts 1\n}}"
    );
    let server = Server::new(&format!(".:53 {{\n{inside}\n}}"), &upstreams);
    assert_eq!(server.ask("a.example."), "192.0.2.1 1");
    (server, upstreams)
}

#[test]
fn what_ran_out_is_asked_for_again() {
    let (server, upstreams) = cached("");
    upstreams[0].now_answers(2, 60);
    assert!(server.until("a.example.", "192.0.2.2 60").iter().all(|before| before.starts_with("192.0.2.1 ")));
    assert_eq!(server.ask("a.example."), "192.0.2.2 60", "and kept");
    assert_eq!(upstreams[0].asked().len(), 2);
}

#[test]
fn an_old_answer_goes_out_at_once_and_a_new_one_comes_behind_it() {
    let (server, upstreams) = cached("serve_stale");
    upstreams[0].now_answers(2, 60);
    let before = server.until("a.example.", "192.0.2.2 60");
    assert!(before.contains(&"192.0.2.1 0".to_owned()), "an old one is served while it is asked: {before:?}");
    assert_eq!(upstreams[0].asked().len(), 2, "once for all who asked");
    server.until_counted("coredns_cache_served_stale_total");
}

#[test]
fn an_old_answer_stands_in_while_the_upstream_is_away() {
    for (options, away, ttl) in [
        ("serve_stale", Does::Nothing, 0),
        ("serve_stale 1h immediate 30s", SERVFAIL, 30),
        ("serve_stale 1h verify", REFUSED, 0),
        ("serve_stale 1h verify 10ms 30s 1ms", Does::Nothing, 30),
    ] {
        let (server, upstreams) = cached(options);
        upstreams[0].now_does(away);
        let old = format!("192.0.2.1 {ttl}");
        let before = server.until("a.example.", &old);
        assert!(before.iter().all(|reply| reply.starts_with("192.0.2.1 ")), "{options}: {before:?}");
        assert_eq!(server.ask("a.example."), old, "{options}: and again");
        upstreams[0].now_answers(2, 60);
        upstreams[0].now_does(Does::Answer);
        let before = server.until("a.example.", "192.0.2.2 60");
        assert!(before.iter().all(|reply| *reply == old), "{options}: {before:?}");
    }
}

#[test]
fn a_refresh_that_failed_is_not_tried_again_at_once() {
    let (server, upstreams) = cached("serve_stale 1h verify 0s 0s 5m");
    upstreams[0].now_does(SERVFAIL);
    server.until("a.example.", "192.0.2.1 0");
    let asked = upstreams[0].asked().len();
    assert_eq!(server.ask("a.example."), "192.0.2.1 0");
    assert_eq!(upstreams[0].asked().len(), asked);
}

#[test]
fn upstreams_may_be_named() {
    let [resolver, nobody] = [Upstream::new(7, Does::Answer), Upstream::new(8, Does::Say(ResponseCode::NXDomain))];
    let read = |to: &str, resolver: &Upstream| {
        let corefile = format!(". {{\n forward . {to} {{\n resolver {}\n }}\n}}", resolver.address);
        dns::config::Corefile::parse(&corefile).map(|corefile| match &corefile.blocks[0].plugins[0] {
            dns::plugins::Spec::Forward(options) => options.to.clone(),
            other => panic!("{other:?}"),
        })
    };
    let found = dns::plugins::forward::Target::Address("192.0.2.7:5300".parse().expect("an address"));
    assert_eq!(read("up.example:5300", &resolver), Ok(vec![found]));
    let told = read("up.example", &nobody).expect_err("nobody knows it").remove(0).message;
    assert_eq!(told, "`up.example`: no address of that name");
    assert_eq!(resolver.asked().iter().map(|asked| asked.name.as_str()).collect::<HashSet<_>>(), HashSet::from(["up.example."]));
}

#[test]
fn much_asked_names_are_asked_for_before_they_run_out() {
    let (server, upstreams) = cached("prefetch 1 1m 90%");
    upstreams[0].now_answers(2, 60);
    let before = server.until("a.example.", "192.0.2.2 60");
    assert!(before.iter().all(|reply| reply.starts_with("192.0.2.1 ")), "{before:?}");
    server.until_counted("coredns_cache_prefetch_total");
}

#[test]
fn failures_are_remembered_for_a_while() {
    for (options, asked) in [("", 1), ("servfail 0", 2)] {
        let inside = format!("cache {{\n{options}\n}}\nforward . {{1}} {{\n max_connect_attempts 1\n}}");
        check(options, &inside, &[SERVFAIL], &["a.example.", "a.example."], (&["Server Failure"; 2], &[asked]));
    }
    check(
        "denials",
        "cache\nforward . {1} {\n max_connect_attempts 1\n}",
        &[Does::NoData],
        &["a.example.", "A.example."],
        (&["No Error"; 2], &[1]),
    );
    check(
        "disabled",
        "cache {\n disable success\n}\nforward . {1} {\n max_connect_attempts 1\n}",
        &[Does::Answer],
        &[ONE[0], ONE[0]],
        (&["192.0.2.1"; 2], &[2]),
    );
}
