//! UDP flows of real packets over changes of endpoints: which ones go, and which ones may not.
//!
//! One machine that sends all of it; nobody answers, as a flow is remembered once its first packet left.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use kernel::conntrack::Conntrack;
use kernel::netns::Netns;
use model::{Family, NodeView};

use super::cluster::{CONFIG, Cluster};
use crate::stale_flows::{Changes, StaleFlows};

const UDP: u8 = 17;
const TCP: u8 = 6;

/// Where the text of a test says `front`, `endpoint` and so on.
struct Addresses {
    family: Family,
    text: [(&'static str, &'static str); 7],
}

const V4: Addresses = Addresses {
    family: Family::V4,
    text: [
        ("FRONT", "10.96.0.10"),
        ("OTHER", "10.96.0.11"),
        ("WEB", "10.96.0.12"),
        ("OUTSIDE", "203.0.113.7"),
        ("NODE", "192.168.0.2"),
        ("FIRST", "10.0.1.1"),
        ("SECOND", "10.0.1.2"),
    ],
};

const V6: Addresses = Addresses {
    family: Family::V6,
    text: [
        ("FRONT", "fd00:96::10"),
        ("OTHER", "fd00:96::11"),
        ("WEB", "fd00:96::12"),
        ("OUTSIDE", "2001:db8:9::7"),
        ("NODE", "2001:db8::1"),
        ("FIRST", "fd00:10:0:1::1"),
        ("SECOND", "fd00:10:0:1::2"),
    ],
};

struct Machine<'a> {
    addresses: &'a Addresses,
    cluster: Cluster,
    last: NodeView,
    stale_flows: StaleFlows,
}

impl Machine<'_> {
    /// Applies a change and forgets what is stale by it.
    fn set(&mut self, lines: &str) {
        self.cluster.set(&self.addresses.spell(lines));
        self.cluster.sync();
        let changes = Changes::between(&self.cluster.view, Some(&self.last));
        self.stale_flows.forget(&changes, self.addresses.family).expect("conntrack answers");
        self.last = self.cluster.view.clone();
    }

    /// One packet, from a port that nobody has had.
    fn send(&self, to: &str) {
        let to: SocketAddr = self.addresses.spell(to).parse().expect("an address");
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
        UdpSocket::bind(any).and_then(|socket| socket.send_to(b"x", to)).expect("sent");
    }

    /// `TO by WHO` of each flow that is remembered.
    fn flows(&self, protocol: u8) -> Vec<String> {
        let mut all = Vec::new();
        let mut conntrack = Conntrack::open().expect("conntrack");
        let note = |flow: &kernel::conntrack::Flow| {
            all.push(self.addresses.named(&format!("{} by {}", flow.destination, flow.reply_source)));
            false
        };
        conntrack.delete_where(self.addresses.family == Family::V4, protocol, None, note).expect("a dump");
        all.sort();
        all
    }
}

impl Addresses {
    fn spell(&self, text: &str) -> String {
        self.text.iter().fold(text.to_owned(), |text, (name, address)| {
            let bracketed = if address.contains(':') { format!("[{address}]:") } else { format!("{address}:") };
            text.replace(&format!("{name}:"), &bracketed).replace(name, address)
        })
    }

    fn named(&self, text: &str) -> String {
        self.text.iter().fold(text.to_owned(), |text, (name, address)| text.replace(&format!("[{address}]"), name).replace(address, name))
    }
}

fn check(addresses: &Addresses, body: impl FnOnce(&mut Machine<'_>) + Send) {
    let [ns, outside] = [Netns::new("proxy-flows"), Netns::new("proxy-flows-out")];
    ns.veth("out", &outside, "eth0");
    ns.ip("link set out arp off"); // nobody is there to ask
    ns.ip("addr add 192.168.0.2/24 dev out");
    ns.ip("addr add 2001:db8::1/64 dev out nodad");
    ns.ip("route add default dev out");
    ns.ip("-6 route add default dev out");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.sync();
        let last = cluster.view.clone();
        body(&mut Machine { addresses, cluster, last, stale_flows: StaleFlows::default() });
    });
}

#[test]
fn flows_to_an_endpoint_that_is_gone_are_forgotten_and_no_others() {
    for addresses in [&V4, &V6] {
        check(addresses, |m| {
            m.set("dns FRONT udp:53 -> FIRST:53\n other OTHER udp:53 -> FIRST:53\n web WEB tcp:53 -> FIRST:53");
            m.send("FRONT:53");
            m.send("OTHER:53");
            m.send("FIRST:53");
            let _ = TcpStream::connect_timeout(&addresses.spell("WEB:53").parse().expect("an address"), Duration::from_millis(10));
            // Flows to either of two, whoever it falls to.
            m.set("dns FRONT udp:53 -> FIRST:53 SECOND:53");
            while !m.flows(UDP).iter().any(|flow| flow == "FRONT:53 by SECOND:53") {
                m.send("FRONT:53");
            }
            m.set("dns FRONT udp:53 -> SECOND:53\n web WEB tcp:53 -> SECOND:53");
            let mut left = m.flows(UDP);
            left.dedup();
            assert_eq!(left, ["FIRST:53 by FIRST:53", "FRONT:53 by SECOND:53", "OTHER:53 by FIRST:53"]);
            assert_eq!(m.flows(TCP), ["WEB:53 by FIRST:53"]);
            m.set("dns FRONT udp:53 -> reject");
            assert_eq!(m.flows(UDP), ["FIRST:53 by FIRST:53", "OTHER:53 by FIRST:53"]);
        });
    }
}

#[test]
fn flows_from_before_there_was_an_endpoint_are_forgotten() {
    for addresses in [&V4, &V6] {
        check(addresses, |m| {
            m.send("OUTSIDE:53");
            m.send("OUTSIDE:54");
            assert_eq!(m.flows(UDP), ["OUTSIDE:53 by OUTSIDE:53", "OUTSIDE:54 by OUTSIDE:54"]);
            m.set("dns FRONT udp:53 -> FIRST:53; external OUTSIDE");
            assert_eq!(m.flows(UDP), ["OUTSIDE:54 by OUTSIDE:54"]);
        });
    }
}

#[test]
fn flows_to_a_node_port_are_forgotten() {
    for addresses in [&V4, &V6] {
        check(addresses, |m| {
            m.set("game FRONT udp:53 -> FIRST:30053; nodeport 30053");
            m.send("NODE:30053");
            m.send("FIRST:30053");
            m.send("OUTSIDE:30053");
            assert_eq!(m.flows(UDP), ["FIRST:30053 by FIRST:30053", "NODE:30053 by FIRST:30053", "OUTSIDE:30053 by OUTSIDE:30053"]);
            m.set("game FRONT udp:53 -> SECOND:30053; nodeport 30053");
            assert_eq!(m.flows(UDP), ["FIRST:30053 by FIRST:30053", "OUTSIDE:30053 by OUTSIDE:30053"]);
            m.send("NODE:30053");
            m.set("game FRONT gone");
            assert_eq!(m.flows(UDP), ["FIRST:30053 by FIRST:30053", "OUTSIDE:30053 by OUTSIDE:30053"]);
        });
    }
}
