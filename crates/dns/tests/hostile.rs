//! Hostile packets over sockets: by UDP, and by TCP with lengths that lie. The server answers on, and does not grow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use model::NameView;
use runtime::Registry;
use tokio::sync::watch;

use crate::packets::{corpus, mutate};
use crate::wire::Random;

#[allow(dead_code, reason = "packets are written out for the corpus elsewhere")]
#[path = "../src/server/tests/packets.rs"]
mod packets;
#[path = "../src/wire/random.rs"]
mod random;

/// Where the packets' room finds its numbers, as inside the crate.
mod wire {
    pub(crate) use crate::random::Random;
}

/// Long enough for any machine; nothing waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a warm process may still grow by: allocator and page tables of threads that had not run before.
const MAX_GROWTH_KB: usize = 4_096;

/// A question that every server knows the answer to, and its id.
fn marker(id: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], b"\x01\0\0\x01\0\0\0\0\0\0\x0bdns-version\x07cluster\x05local\0\0\x10\0\x01"].concat()
}

struct Attacker {
    server: SocketAddr,
    random: Random,
    kept: Vec<(String, Vec<u8>)>,
}

impl Attacker {
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = self.kept[self.random.below(self.kept.len())].1.clone();
        for _ in 0..self.random.below(5) {
            let other = &self.kept[self.random.below(self.kept.len())].1;
            mutate(&mut packet, other, &mut self.random);
        }
        packet
    }

    /// Sends packets by UDP, a marker behind each 100 of them: what comes back in between is not looked at.
    fn by_udp(&mut self, n_packets: usize) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.server).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut buffer = vec![0; 65_536];
        for burst in 0..n_packets / 100 {
            for _ in 0..100 {
                socket.send(&self.packet()).expect("sent");
            }
            // An id that no packet of the corpus has and changes rarely make.
            let marker = marker(burst as u16 | 0x8000);
            socket.send(&marker).expect("sent");
            loop {
                let length = socket.recv(&mut buffer).expect("the server answers on");
                if buffer[..2] == marker[..2] && buffer[HEADER..length].starts_with(&marker[HEADER..]) {
                    break;
                }
            }
        }
    }

    /// Opens connections, each with a few messages, some of whose lengths lie, and half of which end in the middle.
    fn by_tcp(&mut self, n_connections: usize) {
        for connection in 0..n_connections {
            let mut stream = TcpStream::connect(self.server).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            for _ in 0..20 {
                let packet = self.packet();
                let length = match self.random.below(8) {
                    0 => self.random.below(65_536),
                    _ => packet.len(),
                };
                // The server hangs up on what has lost its borders.
                if stream.write_all(&[&(length as u16).to_be_bytes()[..], &packet].concat()).is_err() {
                    break;
                }
            }
            if connection % 2 == 0 {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
            }
        }
    }
}

const HEADER: usize = 12;

/// Resident memory of this process.
fn resident_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_packets_over_sockets_neither_silence_the_server_nor_make_it_grow() {
    let many = if std::env::var_os("SOAK").is_some() { 20 } else { 1 };
    let corefile = "cluster.local in-addr.arpa {
    kubernetes cluster.local in-addr.arpa
    acl {
        block type MX
    }
    transfer {
        to *
    }
}
. {
    template IN ANY . {
        rcode NXDOMAIN
    }
    cache 30
}";
    let corefile = dns::config::Corefile::parse(corefile).expect("a Corefile");
    let config = dns::Config { corefile, listen: vec![([127, 0, 0, 1], 0).into()] };
    let (names, views) = watch::channel(std::sync::Arc::<NameView>::default());
    let (trigger, drain) = runtime::drain::channel();
    let running = dns::start(config, views, None, drain, Registry::default()).expect("started");
    names.send_replace(std::sync::Arc::new(NameView { revision: model::Revision(1), ..NameView::default() }));
    let server = running.listening[0];
    let attack = tokio::task::spawn_blocking(move || {
        let mut attacker = Attacker { server, random: Random(0x7f4a_7c15_9e37_79b9), kept: corpus() };
        attacker.by_udp(5_000);
        attacker.by_tcp(100);
        let before = resident_kb();
        attacker.by_udp(100_000 * many);
        attacker.by_tcp(200 * many);
        let after = resident_kb();
        println!("resident {before} kB, after {} packets {after} kB", 104_000 * many);
        assert!(after < before + MAX_GROWTH_KB, "{before} kB grew to {after} kB");
    });
    attack.await.expect("no panic");
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
}
