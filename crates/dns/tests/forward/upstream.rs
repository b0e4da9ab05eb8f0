//! An upstream that a test tells how to behave, and that remembers what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Long enough for any machine; nothing waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What an upstream does with questions; probes are answered by all but the silent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// With one address: its number, or 100 more by TCP.
    Answer,
    /// Says nothing to anybody.
    Nothing,
    /// Says nothing to questions.
    Stall,
    Say(ResponseCode),
    /// NOERROR without a record.
    NoData,
    /// By UDP only a part.
    Cut,
    /// The same for whoever takes no more than usual.
    CutUsual,
    /// FORMERR, without the question, to whoever speaks EDNS.
    Old,
    /// Has somebody else answer first, who knows the question but not its id.
    BeForged,
    /// Nobody is there.
    Close,
}

/// One question as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: String,
    pub tcp: bool,
    pub recursion: bool,
    pub from: SocketAddr,
}

pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    number: u8,
    ttl: u32,
    does: Does,
    asked: Vec<Asked>,
    probes: Vec<Asked>,
    n_connections: usize,
}

impl Upstream {
    pub fn new(number: u8, does: Does) -> Self {
        let state = State { number, ttl: 60, does, asked: Vec::new(), probes: Vec::new(), n_connections: 0 };
        let state = Arc::new(Mutex::new(state));
        // Both protocols have one port: where a stranger has the other half, another port is tried.
        let (tcp, udp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
                let udp = UdpSocket::bind(tcp.local_addr().expect("bound")).ok()?;
                Some((tcp, udp))
            })
            .expect("a port for both");
        let address = udp.local_addr().expect("bound");
        if does != Does::Close {
            let (of_udp, of_tcp) = (state.clone(), state.clone());
            std::thread::spawn(move || serve_udp(&udp, &of_udp));
            std::thread::spawn(move || serve_tcp(&tcp, &of_tcp));
        }
        Self { address, state }
    }

    pub fn now_does(&self, does: Does) {
        self.state.lock().expect("no panic").does = does;
    }

    /// Answers from now on are another's, and live so long.
    pub fn now_answers(&self, number: u8, ttl: u32) {
        let mut state = self.state.lock().expect("no panic");
        (state.number, state.ttl) = (number, ttl);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("no panic").asked.clone()
    }

    pub fn probes(&self) -> Vec<Asked> {
        self.state.lock().expect("no panic").probes.clone()
    }

    pub fn n_connections(&self) -> usize {
        self.state.lock().expect("no panic").n_connections
    }
}

/// Threads end with the test's process.
fn serve_udp(socket: &UdpSocket, state: &Mutex<State>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        for reply in state.lock().expect("no panic").replies(&buffer[..length], client, false) {
            let _ = socket.send_to(&reply, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    for stream in listener.incoming() {
        let (mut stream, state): (TcpStream, _) = (stream.expect("accepted"), state.clone());
        state.lock().expect("no panic").n_connections += 1;
        std::thread::spawn(move || {
            let client = stream.peer_addr().expect("connected");
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut packet).expect("whole");
                for reply in state.lock().expect("no panic").replies(&packet, client, true) {
                    stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).expect("sent");
                }
            }
        });
    }
}

impl State {
    fn replies(&mut self, packet: &[u8], client: SocketAddr, tcp: bool) -> Vec<Vec<u8>> {
        let query = Message::from_vec(packet).expect("a query");
        let name = query.queries()[0].name().clone();
        let asked = Asked { name: name.to_string(), tcp, recursion: query.recursion_desired(), from: client };
        let is_probe = query.queries()[0].query_type() == RecordType::NS;
        if is_probe {
            self.probes.push(asked)
        } else {
            self.asked.push(asked)
        }
        if self.does == Does::Nothing || self.does == Does::Stall && !is_probe {
            return Vec::new();
        }
        let mut reply = query.clone();
        reply.set_message_type(MessageType::Response).set_recursion_available(true);
        if !is_probe {
            self.fill(&mut reply, &name, tcp, query.max_payload());
        }
        let good = reply.to_vec().expect("encoded");
        match self.does {
            Does::Old if query.extensions().is_some() => vec![[&packet[..2], &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat()],
            Does::BeForged => {
                reply.set_id(query.id().wrapping_add(1));
                reply.answers_mut().clear();
                vec![reply.to_vec().expect("encoded"), good]
            }
            _ => vec![good],
        }
    }

    /// `room`: what the client takes by UDP.
    fn fill(&self, reply: &mut Message, name: &Name, tcp: bool, room: u16) {
        match self.does {
            Does::Say(code) => _ = reply.set_response_code(code),
            Does::NoData => {
                let soa = SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, 5);
                reply.add_name_server(Record::from_rdata(name.clone(), self.ttl, RData::SOA(soa)));
            }
            Does::Cut if !tcp => _ = reply.set_truncated(true),
            Does::CutUsual if !tcp && room <= 1_232 => _ = reply.set_truncated(true),
            _ => {
                let last = self.number + if tcp { 100 } else { 0 };
                reply.add_answer(Record::from_rdata(name.clone(), self.ttl, RData::A(A::new(192, 0, 2, last))));
            }
        }
    }
}
