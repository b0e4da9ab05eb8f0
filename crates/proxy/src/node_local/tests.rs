//! Real packets: who answers at a Service's address, and whether anything is tracked.
//!
//! ```text
//! pod 10.0.1.1, fd00:1::1 -- node 10.0.1.254, fd00:1::fe -- other 10.0.2.1, fd00:2::1 (answers "other" on 53)
//! ```
//! The node redirects the Service's address to `other`, as a proxy does.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use kernel::netns::Netns;
use kernel::sysctl;

use super::*;

const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::a"];
const PATIENCE: Duration = Duration::from_secs(5);

struct Net {
    node: Netns,
    pod: Netns,
    other: Netns,
}

impl Net {
    fn new() -> Self {
        let [node, pod, other] = ["node", "pod", "other"].map(|name| Netns::new(&format!("node-local-{name}")));
        let net = Self { node, pod, other };
        for (i, there) in [(1, &net.pod), (2, &net.other)] {
            let link = format!("to{i}");
            net.node.veth(&link, there, "eth0");
            net.node.ip(&format!("addr add 10.0.{i}.254/24 dev {link}"));
            net.node.ip(&format!("addr add fd00:{i}::fe/64 dev {link} nodad"));
            there.ip(&format!("addr add 10.0.{i}.1/24 dev eth0"));
            there.ip(&format!("addr add fd00:{i}::1/64 dev eth0 nodad"));
            there.ip(&format!("route add default via 10.0.{i}.254"));
            there.ip(&format!("-6 route add default via fd00:{i}::fe"));
        }
        net.node.run(|| {
            sysctl::write("net.ipv4.ip_forward", "1").expect("forwarding");
            sysctl::write("net.ipv6.conf.all.forwarding", "1").expect("forwarding");
        });
        // What has no route is not redirected either: as everywhere, there is a default one.
        net.node.ip("route add default via 10.0.2.1");
        net.node.ip("-6 route add default via fd00:2::1");
        for (family, service, endpoint) in [("ip", SERVICE[0], "10.0.2.1"), ("ip6", SERVICE[1], "fd00:2::1")] {
            let mut rules = format!("add table {family} proxy\n");
            for point in ["prerouting", "output"] {
                rules += &format!("add chain {family} proxy {point} {{ type nat hook {point} priority -100; }}\n");
                rules += &format!("add rule {family} proxy {point} {family} daddr {service} dnat to {endpoint}\n");
            }
            net.node.output(&["sh", "-c", &format!("nft -f - <<'END'\n{rules}END")]);
        }
        net.other.run(|| answer("other", &["0.0.0.0:53", "[::]:53"]));
        net
    }

    /// Who answers at the Service's addresses, by UDP and TCP.
    fn who(&self, from: &Netns) -> Vec<String> {
        from.run(|| {
            let ask = |service: &&str| {
                let address = SocketAddr::new(service.parse().expect("an address"), 53);
                [udp(address), tcp(address)]
            };
            SERVICE.iter().flat_map(ask).collect()
        })
    }

    fn n_tracked(&self) -> usize {
        let listed = self.node.output(&["sh", "-c", "conntrack -L 2>/dev/null; conntrack -f ipv6 -L 2>/dev/null; true"]);
        listed.lines().filter(|line| line.contains("dport=53")).count()
    }

    /// What is left of us on the node.
    fn left(&self) -> String {
        let links = self.node.output(&["sh", "-c", "ip -br addr show dev lo; ip -br link; nft list tables"]);
        links
            .lines()
            .filter(|line| SERVICE.iter().any(|ip| line.contains(ip)) || line.contains("node-local") || line.contains("dns0"))
            .collect()
    }
}

/// Says `word` to every datagram and connection.
fn answer(word: &'static str, at: &[&str]) {
    for at in at {
        let address: SocketAddr = at.parse().expect("an address");
        let udp = runtime::listen::udp(address, runtime::listen::Share::No, 0).expect("bound");
        let tcp = runtime::listen::tcp(address, runtime::listen::Share::No).expect("bound");
        udp.set_nonblocking(false).expect("set");
        tcp.set_nonblocking(false).expect("set");
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, client)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(word.as_bytes(), client);
            }
        });
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = tcp.accept() {
                let _ = std::io::Write::write_all(&mut client, word.as_bytes());
            }
        });
    }
}

fn udp(to: SocketAddr) -> String {
    let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut buffer = [0; 64];
    let answer = socket.connect(to).and_then(|()| socket.send(b"?")).and_then(|_| socket.recv(&mut buffer));
    answer.map_or_else(|error| error.kind().to_string(), |length| String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn tcp(to: SocketAddr) -> String {
    let said = std::net::TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut stream| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).map(|_| text)
    });
    said.unwrap_or_else(|error| error.kind().to_string())
}

fn config(interface: Option<&str>) -> Config {
    Config {
        addresses: SERVICE.map(|ip| ip.parse().expect("an address")).to_vec(),
        port: 53,
        health_port: Some(8080),
        interface: interface.map(str::to_owned),
        set_up_interface: true,
        rules: true,
    }
}

#[test]
fn the_node_answers_untracked_while_it_is_well_and_others_do_otherwise() {
    let net = Net::new();
    let (other, here) = (["other"; 4], ["here"; 4]);
    assert_eq!(net.who(&net.pod), other, "before there is anything");
    let node_local = net.node.run(|| NodeLocal::place(config(None)).expect("placed"));
    net.node.run(|| {
        answer("here", &SERVICE.map(|ip| SocketAddr::new(ip.parse().expect("an address"), 53).to_string()).each_ref().map(String::as_str))
    });
    assert_eq!(net.who(&net.pod), other, "it is not known to be well");
    assert!(net.n_tracked() > 0, "what is redirected is tracked");
    net.node.run(|| {
        let address = SocketAddr::new(SERVICE[0].parse().expect("an address"), 53);
        let probe = UdpSocket::bind((address.ip(), PROBE_PORT)).expect("its own address");
        probe.set_read_timeout(Some(PATIENCE)).expect("set");
        probe.send_to(b"?", address).expect("sent");
        let mut buffer = [0; 64];
        assert_eq!(probe.recv(&mut buffer).expect("an answer"), 4, "whoever looks whether it is well reaches it all the same");
    });
    net.node.output(&["sh", "-c", "conntrack -F 2>/dev/null"]);
    net.node.run(|| node_local.here.exempt(true).expect("exempted"));
    for from in [&net.pod, &net.node] {
        assert_eq!(net.who(from), here, "from {}", from.name());
    }
    assert_eq!(net.n_tracked(), 0);
    let listed = net.node.output(&["nft", "list", "ruleset"]);
    assert!(listed.contains("notrack"), "{listed}");
    net.node.run(|| node_local.here.exempt(false).expect("not exempted"));
    for from in [&net.pod, &net.node] {
        assert_eq!(net.who(from), other, "from {}", from.name());
    }
    net.node.run(|| drop(node_local));
    assert_eq!(net.left(), "");
}

#[test]
fn what_a_killed_process_left_goes_by_itself_with_the_next_start_or_by_cleanup() {
    let net = Net::new();
    let killed = || {
        let mut node_local = net.node.run(|| NodeLocal::place(config(Some("dns0"))).expect("placed"));
        net.node.run(|| node_local.here.exempt(true).expect("exempted"));
        node_local.keep();
    };
    killed();
    assert!(!net.left().is_empty());
    let timeouts = net.node.output(&["nft", "list", "set", "ip", TABLE, "exempted"]);
    assert!(timeouts.contains("timeout 15s") && timeouts.contains("expires"), "{timeouts}");
    let next = net.node.run(|| NodeLocal::place(config(None)).expect("placed over it"));
    let on_lo = net.node.output(&["ip", "-br", "addr", "show", "dev", "lo"]);
    assert!(SERVICE.iter().all(|ip| on_lo.contains(ip)), "{on_lo}");
    net.node.run(|| drop(next));
    assert_eq!(net.left(), "");
    killed();
    net.node.run(|| crate::cleanup(crate::Whose::Ours).expect("cleaned up"));
    net.node.run(|| crate::cleanup(crate::Whose::Ours).expect("nothing to do is no mistake"));
    assert_eq!(net.left(), "");
}

#[test]
fn what_others_did_to_the_node_is_put_right_or_left_alone() {
    let net = Net::new();
    net.node.ip(&format!("addr add {}/32 dev lo", SERVICE[0]));
    let node_local = net.node.run(|| NodeLocal::place(config(None)).expect("placed"));
    net.node.output(&["nft", "delete", "table", "ip", TABLE]);
    net.node.ip(&format!("-6 addr del {}/128 dev lo", SERVICE[1]));
    net.node.run(|| node_local.here.exempt(true).expect("put back"));
    let (rules, on_lo) = (net.node.output(&["nft", "list", "ruleset"]), net.node.output(&["ip", "-br", "addr", "show", "dev", "lo"]));
    assert!(rules.contains("table ip rutter-node-local") && on_lo.contains(SERVICE[1]), "{rules}{on_lo}");
    net.node.run(|| drop(node_local));
    let on_lo = net.node.output(&["ip", "-br", "addr", "show", "dev", "lo"]);
    assert!(on_lo.contains(SERVICE[0]) && !on_lo.contains(SERVICE[1]), "the address of others stays: {on_lo}");
}

#[test]
fn a_firewall_of_iptables_lets_in_what_is_not_tracked() {
    let net = Net::new();
    for save in ["iptables-nft", "ip6tables-nft"] {
        net.node.output(&[save, "-P", "INPUT", "DROP"]);
        net.node.output(&[save, "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"]);
    }
    net.node.output(&["ip6tables-nft", "-A", "INPUT", "-p", "icmpv6", "-j", "ACCEPT"]);
    let firewall = || net.node.output(&["sh", "-c", "for c in iptables ip6tables; do $c-nft-save | grep ^-A; done"]);
    let before = firewall();
    let node_local = net.node.run(|| NodeLocal::place(config(None)).expect("placed"));
    net.node.run(|| {
        answer("here", &SERVICE.map(|ip| SocketAddr::new(ip.parse().expect("an address"), 53).to_string()).each_ref().map(String::as_str))
    });
    net.node.run(|| node_local.here.exempt(true).expect("exempted"));
    assert_eq!(net.who(&net.pod), ["here"; 4]);
    net.node.run(|| drop(node_local));
    assert_eq!(firewall(), before);
}

#[test]
fn without_rules_only_the_addresses_are_there() {
    let ns = Netns::new("node-local");
    ns.run(|| {
        let node_local = NodeLocal::place(Config { rules: false, ..config(None) }).expect("placed");
        node_local.here.exempt(true).expect("nothing to exempt");
        let there = kernel::rtnl::addresses().expect("addresses");
        assert_eq!(there.iter().filter(|there| node_local.here.config.addresses.contains(&there.address)).count(), 2);
    });
    let listed = ns.output(&["nft", "list", "tables"]);
    assert_eq!(listed, "");
}

#[test]
fn with_everything_off_the_kernel_is_not_asked() {
    let ns = Netns::new("node-local");
    ns.run(|| {
        let node_local = NodeLocal::place(Config { rules: false, set_up_interface: false, ..config(None) }).expect("nothing to place");
        node_local.here.exempt(true).expect("nothing to exempt");
        assert!(Nft::open().and_then(|mut nft| nft.tables(Family::Ip)).expect("a listing").is_empty());
    });
}

#[test]
fn health_decides_and_the_end_hands_back() {
    let ns = Netns::new("node-local");
    ns.run(|| {
        let exempted = || {
            let (table, set) = (Table::new(Family::Ip, TABLE), exempted(Family::Ip));
            Nft::open().and_then(|mut nft| nft.elements(&table, &set)).expect("a listing").len()
        };
        let node_local = NodeLocal::place(config(None)).expect("placed");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (healthy, is_healthy) = watch::channel(false);
            let (trigger, drain) = runtime::drain::channel();
            let until = async |wanted: usize| {
                let deadline = std::time::Instant::now() + PATIENCE;
                while exempted() != wanted {
                    assert!(std::time::Instant::now() < deadline, "{} instead of {wanted}", exempted());
                    tokio::task::yield_now().await;
                }
            };
            let node_local = std::sync::Arc::new(node_local);
            let running = tokio::spawn({
                let node_local = node_local.clone();
                async move { node_local.run(is_healthy, drain, || panic!("nothing fails")).await }
            });
            assert_eq!(exempted(), 0);
            healthy.send_replace(true);
            until(3).await;
            healthy.send_replace(false);
            until(0).await;
            healthy.send_replace(true);
            until(3).await;
            trigger.start();
            running.await.expect("no panic");
            assert_eq!(exempted(), 0);
        });
    });
}
