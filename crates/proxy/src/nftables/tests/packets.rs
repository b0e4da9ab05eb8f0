//! Real packets: what a client sees, and what an endpoint sees of it.
//!
//! ```text
//! pods 10.0.1.1-9, fd00:10:0:1::1-9 (8080 answers) -- node 10.0.1.254, 10.0.2.254, 192.0.2.1 -- out 192.0.2.2
//!                      callers 10.0.2.1-9, fd00:10:0:2::1-9 --'
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kernel::netns::Netns;
use kernel::sysctl;
use socket2::{Domain, Socket, Type};

use super::cluster::{CONFIG, Cluster};

/// A lost SYN is sent again after a second: whoever answers within half of one lost none.
const PATIENCE: Duration = Duration::from_millis(500);

struct Net {
    node: Netns,
    pods: Netns,
    /// Pods that call.
    callers: Netns,
    out: Netns,
}

impl Net {
    fn new() -> Self {
        let [node, pods, callers, out] = ["node", "pods", "callers", "out"].map(|name| Netns::new(&format!("proxy-{name}")));
        let net = Self { node, pods, callers, out };
        for (i, pods) in [(1, &net.pods), (2, &net.callers)] {
            let link = format!("pods{i}");
            net.node.veth(&link, pods, "eth0");
            net.node.ip(&format!("addr add 10.0.{i}.254/24 dev {link}"));
            net.node.ip(&format!("addr add fd00:10:0:{i}::fe/64 dev {link} nodad"));
            for pod in 1..10 {
                pods.ip(&format!("addr add 10.0.{i}.{pod}/24 dev eth0"));
                pods.ip(&format!("addr add fd00:10:0:{i}::{pod}/64 dev eth0 nodad"));
            }
            pods.ip(&format!("route add default via 10.0.{i}.254"));
            pods.ip(&format!("-6 route add default via fd00:10:0:{i}::fe"));
        }
        net.node.veth("out0", &net.out, "eth0");
        net.node.ip("addr add 192.0.2.1/24 dev out0");
        net.node.ip("addr add 192.168.0.2/32 dev out0");
        net.out.ip("addr add 192.0.2.2/24 dev eth0");
        net.out.ip("route add default via 192.0.2.1");
        net.node.ip("route add default via 192.0.2.2");
        net.node.run(|| {
            sysctl::write("net.ipv4.ip_forward", "1").expect("forwarding");
            sysctl::write("net.ipv6.conf.all.forwarding", "1").expect("forwarding");
        });
        net.pods.run(|| {
            for any in ["0.0.0.0:8080", "[::]:8080"] {
                let listener = listen(any);
                std::thread::spawn(move || answer(&listener));
            }
            let sink = listen("0.0.0.0:8081");
            std::thread::spawn(move || while sink.accept().is_ok() {});
        });
        net
    }

    /// `BACKEND sees PEER`, or how it failed.
    fn dial(&self, from: &Netns, source: &str, to: &str) -> String {
        from.run(|| dial(source.parse().expect("an address"), to.parse().expect("an address"), PATIENCE))
    }
}

fn listen(any: &str) -> TcpListener {
    let address: SocketAddr = any.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("socket");
    if address.is_ipv6() {
        socket.set_only_v6(true).expect("v6 only");
    }
    socket.bind(&address.into()).expect("bind");
    socket.listen(4096).expect("listen");
    socket.into()
}

fn answer(listener: &TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept() {
        if let Ok(local) = stream.local_addr() {
            let _ = write!(stream, "{} sees {}", local.ip(), peer.ip());
        }
    }
}

/// A connection from `source`. The client closes with a reset, so that no port waits in TIME_WAIT.
fn connect(source: IpAddr, to: SocketAddr, patience: Duration) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), patience)?;
    Ok(socket)
}

fn dial(source: IpAddr, to: SocketAddr, patience: Duration) -> String {
    let ask = || -> std::io::Result<String> {
        let mut said = String::new();
        TcpStream::from(connect(source, to, patience)?).read_to_string(&mut said)?;
        Ok(said)
    };
    ask().unwrap_or_else(|error| format!("{:?}", error.kind()))
}

#[test]
fn a_cluster_ip_leads_to_the_endpoint_and_keeps_a_pods_address() {
    let net = Net::new();
    net.node.run(|| Cluster::new(CONFIG).set("web 10.96.0.10 tcp:80 -> 10.0.1.1:8080").sync());
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "10.96.0.10:80"), "10.0.1.1 sees 10.0.2.2");
    assert_eq!(net.dial(&net.out, "192.0.2.2", "10.96.0.10:80"), "10.0.1.1 sees 10.0.1.254", "from outside: masqueraded");
    assert_eq!(net.dial(&net.node, "192.0.2.1", "10.96.0.10:80"), "10.0.1.1 sees 10.0.1.254", "from the node: masqueraded");
    assert_eq!(net.dial(&net.pods, "10.0.1.1", "10.96.0.10:80"), "10.0.1.1 sees 10.0.1.254", "from itself: masqueraded");
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "10.96.0.10:81"), "ConnectionRefused", "an unused port");
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "10.96.9.9:80"), "TimedOut", "an unused address");
}

#[test]
fn ipv6_is_no_different() {
    let net = Net::new();
    net.node.run(|| Cluster::new(CONFIG).set("web fd00:96::10 tcp:80 -> [fd00:10:0:1::1]:8080").sync());
    assert_eq!(net.dial(&net.callers, "fd00:10:0:2::2", "[fd00:96::10]:80"), "fd00:10:0:1::1 sees fd00:10:0:2::2");
    assert_eq!(net.dial(&net.pods, "fd00:10:0:1::1", "[fd00:96::10]:80"), "fd00:10:0:1::1 sees fd00:10:0:1::fe");
    // Over a veth the refusal is back before connect(2) has let go of its socket, and IPv6 hears only the second one, a second later.
    let patient = Duration::from_secs(3);
    let said = net.callers.run(|| dial("fd00:10:0:2::2".parse().expect("ip"), "[fd00:96::10]:81".parse().expect("ip"), patient));
    assert_eq!(said, "ConnectionRefused");
}

#[test]
fn without_an_endpoint_a_connection_is_refused_and_with_none_here_it_is_silent() {
    let net = Net::new();
    net.node.run(|| {
        Cluster::new(CONFIG)
            .set("none 10.96.0.10 tcp:80 -> reject; nodeport 30010\n far 10.96.0.11 tcp:80 -> 10.0.1.1:8080; nodeport 30011; local drop")
            .sync()
    });
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "10.96.0.10:80"), "ConnectionRefused");
    assert_eq!(net.dial(&net.out, "192.0.2.2", "192.168.0.2:30010"), "ConnectionRefused");
    assert_eq!(net.dial(&net.node, "192.0.2.1", "10.96.0.10:80"), "ConnectionRefused");
    assert_eq!(net.dial(&net.out, "192.0.2.2", "192.168.0.2:30011"), "TimedOut");
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "192.168.0.2:30011"), "10.0.1.1 sees 10.0.2.2", "a pod is not bound by policy Local");
}

#[test]
fn policy_local_keeps_the_clients_address_and_does_not_bind_the_inside() {
    let net = Net::new();
    net.node.run(|| {
        Cluster::new(CONFIG).set("web 10.96.0.10 tcp:80 -> 10.0.1.3:8080; lb 203.0.113.9; nodeport 30000; local 10.0.1.1:8080").sync()
    });
    for to in ["203.0.113.9:80", "192.168.0.2:30000"] {
        assert_eq!(net.dial(&net.out, "192.0.2.2", to), "10.0.1.1 sees 192.0.2.2");
        assert_eq!(net.dial(&net.callers, "10.0.2.2", to), "10.0.1.3 sees 10.0.2.2");
        assert_eq!(net.dial(&net.node, "192.0.2.1", to), "10.0.1.3 sees 10.0.1.254");
    }
}

#[test]
fn source_ranges_guard_the_load_balancer_address_alone() {
    let net = Net::new();
    net.node.run(|| {
        Cluster::new(CONFIG)
            .set("web 10.96.0.10 tcp:80 -> 10.0.1.1:8080; lb 203.0.113.9; nodeport 30000; ranges 10.0.2.2/32 10.0.2.4/31")
            .sync()
    });
    assert_eq!(net.dial(&net.callers, "10.0.2.2", "203.0.113.9:80"), "10.0.1.1 sees 10.0.1.254");
    assert_eq!(net.dial(&net.callers, "10.0.2.5", "203.0.113.9:80"), "10.0.1.1 sees 10.0.1.254");
    assert_eq!(net.dial(&net.callers, "10.0.2.3", "203.0.113.9:80"), "TimedOut");
    assert_eq!(net.dial(&net.callers, "10.0.2.3", "192.168.0.2:30000"), "10.0.1.1 sees 10.0.1.254");
    assert_eq!(net.dial(&net.callers, "10.0.2.3", "10.96.0.10:80"), "10.0.1.1 sees 10.0.2.3");
}

#[test]
fn a_sticky_client_stays_with_its_endpoint_whichever_other_goes() {
    let net = Net::new();
    let all = ["10.0.1.1:8080", "10.0.1.2:8080", "10.0.1.3:8080"];
    let service = |endpoints: &[&str]| format!("web 10.96.0.10 tcp:80 -> {}; affinity 60", endpoints.join(" "));
    let mut cluster = Cluster::new(CONFIG);
    net.node.run(|| cluster.set(&service(&all)).sync());
    let clients = ["10.0.2.4", "10.0.2.5", "10.0.2.6", "10.0.2.7", "10.0.2.8", "10.0.2.9"];
    let ask = |client: &str| net.dial(&net.callers, client, "10.96.0.10:80");
    let first: Vec<String> = clients.iter().map(|client| ask(client)).collect();
    for _ in 0..5 {
        let again: Vec<String> = clients.iter().map(|client| ask(client)).collect();
        assert_eq!(again, first);
    }
    for gone in all {
        let left: Vec<&str> = all.iter().copied().filter(|e| *e != gone).collect();
        net.node.run(|| {
            cluster.set(&service(&all)).sync();
            cluster.settle();
        });
        let before: Vec<String> = clients.iter().map(|client| ask(client)).collect();
        net.node.run(|| cluster.set(&service(&left)).sync());
        for (client, before) in clients.iter().zip(before) {
            let now = ask(client);
            let gone = gone.trim_end_matches(":8080");
            if before.starts_with(gone) {
                assert!(!now.starts_with(gone) && now.ends_with(client), "{client}: {now}");
            } else {
                assert_eq!(now, before, "{client} when {gone} went");
            }
        }
    }
    let listed = net.node.output(&["nft", "list", "ruleset"]);
    assert!(listed.contains("expires"), "{listed}");
}

#[test]
fn a_service_that_shrinks_and_grows_under_load_loses_no_connection() {
    let net = Net::new();
    let two = "web 10.96.0.10 tcp:80 -> 10.0.1.1:8081 10.0.1.2:8081";
    let three = format!("{two} 10.0.1.3:8081");
    let mut cluster = Cluster::new(CONFIG);
    net.node.run(|| cluster.set(two).sync());
    // A machine too busy to accept in time loses a SYN now and then, and the next one gets through. One that went past the rules would
    // not: it is remembered as not redirected, and seen here.
    net.node.output(&["nft", "add table ip past; add chain ip past f { type filter hook forward priority 10; }"]);
    net.node.output(&["nft", "add rule ip past f ip daddr 10.96.0.0/12 counter"]);
    let (stop, n_answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::thread::scope(|scope| {
        let callers: Vec<_> = (4..8)
            .map(|i| {
                let (net, stop, n_answered) = (&net, &stop, &n_answered);
                scope.spawn(move || {
                    net.callers.run(|| {
                        let source = IpAddr::from([10, 0, 2, i]);
                        let to = "10.96.0.10:80".parse().expect("an address");
                        while !stop.load(Ordering::Relaxed) {
                            if let Err(error) = connect(source, to, Duration::from_secs(10)) {
                                return Some(error.to_string());
                            }
                            n_answered.fetch_add(1, Ordering::Relaxed);
                        }
                        None
                    })
                })
            })
            .collect();
        net.node.run(|| {
            for _ in 0..50 {
                for _ in 0..20 {
                    cluster.set(&three).sync();
                    std::thread::sleep(Duration::from_micros(500));
                    cluster.set(two).sync();
                    std::thread::sleep(Duration::from_micros(500));
                }
                cluster.settle();
            }
        });
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().filter_map(|caller| caller.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(failures, Vec::<String>::new(), "after {} connections", n_answered.into_inner());
    let listed = net.node.output(&["nft", "list", "ruleset"]);
    let guards: Vec<&str> = listed.lines().filter(|line| line.contains("counter") && !line.contains("packets 0 ")).collect();
    assert_eq!(guards, Vec::<&str>::new(), "no packet was dropped by a guard or went past the rules");
}

#[test]
fn a_packet_that_finds_its_slot_gone_is_led_to_the_first() {
    let net = Net::new();
    net.node.run(|| {
        let endpoints = "10.0.1.1:8080 10.0.1.2:8080 10.0.1.3:8080";
        Cluster::new(CONFIG)
            .set(&format!("web 10.96.0.10 tcp:80 -> {endpoints}; nodeport 30080\n kept 10.96.0.11 tcp:80 -> {endpoints}; affinity 9"))
            .sync()
    });
    // What a packet finds that had read "three endpoints" before two of them went.
    for slot in ["0x00000001", "0x00000002"] {
        for key in [
            format!("backends {{ 10.96.0.10 . tcp . 80 . {slot} }}"),
            format!("backends {{ 10.96.0.11 . tcp . 80 . {slot} }}"),
            format!("nodeport-backends {{ tcp . 30080 . {slot} }}"),
        ] {
            net.node.output(&["nft", "delete", "element", "ip", "rutter", &key]);
        }
    }
    // All of them going astray by chance: one in 10^9.
    for to in ["10.96.0.10:80", "10.96.0.11:80", "192.168.0.2:30080"] {
        for client in (1..10).cycle().take(20) {
            let said = net.dial(&net.callers, &format!("10.0.2.{client}"), to);
            assert!(said.starts_with("10.0.1.1 sees"), "{to}: {said}");
        }
    }
}

#[test]
fn round_robin_takes_turns_for_each_service_by_itself() {
    let net = Net::new();
    net.node.run(|| {
        Cluster::new(CONFIG)
            .set(
                "a 10.96.0.10 tcp:80 -> 10.0.1.1:8080 10.0.1.2:8080; balance round-robin; nodeport 30080
                 b 10.96.0.11 tcp:80 -> 10.0.1.3:8080 10.0.1.4:8080; balance round-robin",
            )
            .sync();
    });
    let mut said = std::collections::BTreeMap::new();
    for _ in 0..10 {
        for to in ["10.96.0.10:80", "10.96.0.11:80", "192.168.0.2:30080"] {
            let answer = net.dial(&net.callers, "10.0.2.2", to);
            *said.entry((to, answer.split(' ').next().unwrap_or_default().to_owned())).or_insert(0) += 1;
        }
    }
    let counts: Vec<i32> = said.values().copied().collect();
    assert_eq!(counts, [5; 6], "{said:?}");
    let listed = net.node.output(&["nft", "list", "ruleset"]);
    assert!(listed.contains("numgen inc mod 2"), "{listed}");
}

#[test]
fn source_hash_keeps_clients_when_others_endpoints_come_and_go() {
    let net = Net::new();
    let clients: Vec<String> = (1..10).map(|i| format!("10.0.2.{i}")).collect();
    let ask = || -> Vec<String> {
        let twice = |client: &String| {
            let said = [(); 2].map(|()| net.dial(&net.callers, client, "10.96.0.10:80"));
            assert_eq!(said[0], said[1], "one client, one endpoint");
            said[0].split(' ').next().unwrap_or_default().to_owned()
        };
        clients.iter().map(twice).collect()
    };
    let line = |endpoints: &[u8]| {
        let endpoints: Vec<String> = endpoints.iter().map(|i| format!("10.0.1.{i}:8080")).collect();
        format!("a 10.96.0.10 tcp:80 -> {}; balance source-hash", endpoints.join(" "))
    };
    let mut cluster = Cluster::new(CONFIG);
    net.node.run(|| cluster.set(&line(&[1, 2, 3])).settle());
    let before = ask();
    assert!(before.iter().any(|endpoint| *endpoint != before[0]), "spread over several: {before:?}");
    net.node.run(|| cluster.set(&line(&[1, 2])).settle());
    let after = ask();
    let moved = before.iter().zip(&after).filter(|(old, new)| *old != "10.0.1.3" && old != new).count();
    assert!(moved <= 1, "{before:?} to {after:?}");
    assert!(after.iter().all(|endpoint| endpoint != "10.0.1.3"), "{after:?}");
    net.node.run(|| assert_eq!(cluster.restart(CONFIG).n_elements, 0, "a restart finds its table"));
    let listed = net.node.output(&["nft", "list", "ruleset"]);
    assert!(listed.contains("jhash ip saddr mod 1021 seed 0x72757474"), "{listed}");
    // And to random: what is beyond the count is drained.
    net.node.run(|| cluster.set("a 10.96.0.10 tcp:80 -> 10.0.1.1:8080 10.0.1.2:8080").settle());
    assert!(net.dial(&net.callers, "10.0.2.2", "10.96.0.10:80").ends_with("sees 10.0.2.2"));
    let listed = net.node.output(&["nft", "list", "map", "ip", "rutter", "backends"]);
    assert_eq!(listed.matches(" : 10.0.1.").count(), 2, "{listed}");
}
