//! Connection tracking: forgetting flows that go to an endpoint that is gone.
//!
//! Source: linux/netfilter/nfnetlink_conntrack.h. Must not know which flows are stale: the caller says for each.

use std::net::{IpAddr, SocketAddr};

use crate::Errno;
use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Socket, Writer};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
/// `CTA_FILTER_F_CTA_PROTO_NUM` of the kernel's nf_internals.h: compare the protocol.
const BY_PROTOCOL: u32 = 1 << 3;

/// A flow the kernel remembers: where its first packet was sent, and who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Who answers: the endpoint behind `destination` if the flow was redirected.
    pub reply_source: SocketAddr,
    original: Vec<u8>,
    id: Option<u32>,
}

/// A conversation with connection tracking, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    seq: u32,
}

impl Conntrack {
    pub fn open() -> Result<Self, Errno> {
        Ok(Self { socket: Socket::open(libc::NETLINK_NETFILTER)?, seq: 0 })
    }

    /// Forgets the flows of one protocol for which `stale` holds; says how many. One dump, however many go; the kernel leaves the flows
    /// of other protocols out (Linux 5.8). It walks its whole table all the same: 20 ms for 262,144 buckets, also when they are empty.
    pub fn delete_where(&mut self, v4: bool, protocol: u8, mut stale: impl FnMut(&Flow) -> bool) -> Result<usize, Errno> {
        let family = if v4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
        let dump = self.message(GET, NLM_F_DUMP, family, |w| {
            w.nest(TUPLE_ORIG, |w| w.nest(2, |w| w.bytes(1, &[protocol])));
            w.nest(FILTER, |w| w.bytes(1, &BY_PROTOCOL.to_ne_bytes()));
        });
        let mut n_deleted = 0;
        for found in self.socket.dump(&dump)? {
            let Some(flow) = read(&found.body) else { continue };
            if !stale(&flow) {
                continue;
            }
            let delete = self.message(DELETE, NLM_F_ACK, family, |w| {
                w.bytes(TUPLE_ORIG | 0x8000, &flow.original);
                if let Some(id) = flow.id {
                    w.be32(ID, id); // another flow of the same addresses that began meanwhile stays
                }
            });
            match self.socket.request(&delete) {
                Ok(()) => n_deleted += 1,
                Err(Errno::ENOENT) => {} // ended by itself
                Err(errno) => return Err(errno),
            }
        }
        Ok(n_deleted)
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        self.seq += 1;
        let mut w = Writer::default();
        w.message(NFNL_SUBSYS_CTNETLINK << 8 | kind, NLM_F_REQUEST | flags, self.seq, |w| {
            w.raw(&[family, 0, 0, 0]);
            body(w);
        });
        w.finish()
    }
}

fn read(body: &[u8]) -> Option<Flow> {
    let flow = Attributes::of(body.get(4..)?);
    let original = flow.get(TUPLE_ORIG)?;
    let (source, destination) = tuple(Attributes::of(original))?;
    let (reply_source, _) = tuple(flow.nest(TUPLE_REPLY)?)?;
    Some(Flow { source, destination, reply_source, original: original.to_vec(), id: flow.be32(ID) })
}

/// (source, destination) of one direction.
fn tuple(tuple: Attributes<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let (ip, proto) = (tuple.nest(1)?, tuple.nest(2)?);
    let port = |kind| proto.get(kind).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes);
    let source = SocketAddr::new(address(ip, 1, 3)?, port(2).unwrap_or(0));
    let destination = SocketAddr::new(address(ip, 2, 4)?, port(3).unwrap_or(0));
    Some((source, destination))
}

fn address(ip: Attributes<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(bytes) = ip.get(v4) {
        return Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(v6)?).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::netns::Netns;
    use crate::nft::{Batch, Chain, Family, HookKind, HookPoint, Nft, Op, Rule, Statement, Table};

    #[test]
    fn forgets_the_flows_it_is_told_to_and_no_other() {
        let ns = Netns::new("kernel-ct");
        ns.run(|| {
            // A rule that asks for a connection's state turns tracking on.
            let mut batch = Batch::new(Table::new(Family::Ip, "ct"));
            batch.push(Op::AddTable);
            batch.push(Op::AddChain(Chain::base("out", HookKind::Nat, HookPoint::Output, -100)));
            batch.push(Op::AddRule(Rule::new("out", [Statement::CtStateNew, Statement::Counter])));
            Nft::open().expect("nf_tables").commit(&batch).expect("commit");

            let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let port = server.local_addr().expect("bound").port();
            // Flows of another protocol are nobody's business.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            let _other = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
            for source in ["127.0.0.2:0", "127.0.0.3:0"] {
                let client = UdpSocket::bind(source).expect("bind");
                client.send_to(b"x", ("127.0.0.1", port)).expect("send");
            }
            let mut conntrack = Conntrack::open().expect("conntrack");
            let udp = libc::IPPROTO_UDP as u8;
            let gone = |f: &Flow| f.destination.port() == port && f.source.ip().to_string() == "127.0.0.2";
            assert_eq!(conntrack.delete_where(true, udp, gone), Ok(1));
            let mut left = Vec::new();
            conntrack.delete_where(true, udp, |f| (left.push(f.source.ip().to_string()), false).1).expect("dump");
            assert_eq!(left, ["127.0.0.3"]);
        });
    }
}
