//! Connection tracking: forgetting flows that go to an endpoint that is gone.
//!
//! Source: linux/netfilter/nfnetlink_conntrack.h, and the kernel's nf_internals.h for what a filter compares. Must not know which flows
//! are stale: the caller says.

use std::net::{IpAddr, SocketAddr};

use crate::Errno;
use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Socket, Writer};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// What of a tuple is compared: `CTA_FILTER_F_*`.
const BY_SOURCE: u32 = 1;
const BY_DESTINATION: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_SOURCE_PORT: u32 = 1 << 4;
const BY_DESTINATION_PORT: u32 = 1 << 5;

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

/// Flows whose first packet was sent to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    pub destination: SocketAddr,
    /// Who answers; `None`: whoever does.
    pub reply_source: Option<SocketAddr>,
}

/// A conversation with connection tracking, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    seq: u32,
    /// Whether the kernel deletes by filter; as long as it has not refused, it does.
    filters: bool,
}

impl Conntrack {
    pub fn open() -> Result<Self, Errno> {
        Ok(Self { socket: Socket::open(libc::NETLINK_NETFILTER)?, seq: 0, filters: true })
    }

    /// Has the kernel forget the flows of one protocol that pass `filter`; it does not say how many. `false`: this cannot be done here, and
    /// nothing was.
    ///
    /// It needs Linux 6.12: one before takes the filter for the name of a single flow, and refuses it as one cut short. It is never
    /// done for IPv6, where kernels (6.18, too) compare addresses the wrong way round and would forget all flows but those.
    ///
    /// The kernel walks its whole table once, passing empty buckets without a lock: 1.5 ms for 262,144 of them (0.1 while the processor's
    /// caches hold them), and some 0.3 us more for each flow, whosever it is.
    pub fn delete(&mut self, protocol: u8, filter: &Filter) -> Result<bool, Errno> {
        if !self.filters || filter.destination.is_ipv6() {
            return Ok(false);
        }
        let delete = self.message(DELETE, NLM_F_ACK, libc::AF_INET as u8, |w| {
            let (to, by) = (filter.destination, filter.reply_source);
            w.nest(TUPLE_ORIG, |w| half(w, protocol, 2, to));
            by.into_iter().for_each(|by| w.nest(TUPLE_REPLY, |w| half(w, protocol, 1, by)));
            w.nest(FILTER, |w| {
                w.bytes(1, &(BY_PROTOCOL | BY_DESTINATION | BY_DESTINATION_PORT).to_ne_bytes());
                by.into_iter().for_each(|_| w.bytes(2, &(BY_PROTOCOL | BY_SOURCE | BY_SOURCE_PORT).to_ne_bytes()));
            });
            w.bytes(ZONE, &[0, 0]); // or it would be in every zone, other programs' too
        });
        match self.socket.request(&delete) {
            Err(Errno(libc::EINVAL | libc::EOPNOTSUPP)) => self.filters = false,
            result => result?,
        }
        Ok(self.filters)
    }

    /// Forgets the flows of one protocol for which `stale` holds; says how many. One dump, however many go; the kernel leaves out the flows
    /// of other protocols and, with `port`, those to other ports (Linux 5.8). It takes a lock for each bucket of its table: 10 ms for
    /// 262,144 of them, also when they are empty, and 3 us more for each flow that it tells of.
    pub fn delete_where(
        &mut self,
        v4: bool,
        protocol: u8,
        port: Option<u16>,
        mut stale: impl FnMut(&Flow) -> bool,
    ) -> Result<usize, Errno> {
        let family = if v4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
        let dump = self.message(GET, NLM_F_DUMP, family, |w| {
            let by_port = if port.is_some() { BY_DESTINATION_PORT } else { 0 };
            w.nest(TUPLE_ORIG, |w| {
                w.nest(2, |w| {
                    w.bytes(1, &[protocol]);
                    port.into_iter().for_each(|port| w.bytes(3, &port.to_be_bytes()));
                });
            });
            w.nest(FILTER, |w| w.bytes(1, &(BY_PROTOCOL | by_port).to_ne_bytes()));
        });
        let found: Vec<Flow> =
            self.socket.fold(&dump, |found: &mut Vec<Flow>, _, body| found.extend(read(body).filter(|flow| stale(flow))))?;
        let mut n_deleted = 0;
        for flow in found {
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

/// One end of a direction: the source (`end` 1) or the destination (2).
fn half(w: &mut Writer, protocol: u8, end: u16, at: SocketAddr) {
    w.nest(1, |w| match at.ip() {
        IpAddr::V4(ip) => w.bytes(end, &ip.octets()),
        IpAddr::V6(ip) => w.bytes(end + 2, &ip.octets()),
    });
    w.nest(2, |w| {
        w.bytes(1, &[protocol]);
        w.bytes(end + 1, &at.port().to_be_bytes());
    });
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
    use super::*;
    use crate::netns::Netns;

    const UDP: u8 = 17;
    const TCP: u8 = 6;

    /// Has the kernel remember a flow, as if its packets had been seen.
    fn remember(conntrack: &mut Conntrack, protocol: u8, zone: u16, [source, destination, reply_source]: [&str; 3]) {
        const NEW: u16 = 0;
        const NLM_F_CREATE_EXCL: u16 = 0x600;
        let [from, to, by] = [source, destination, reply_source].map(|text| text.parse::<SocketAddr>().expect("an address"));
        let family = if from.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
        let tuple = |w: &mut Writer, source: SocketAddr, destination: SocketAddr| {
            w.nest(1, |w| {
                for (end, at) in [(1, source), (2, destination)] {
                    match at.ip() {
                        IpAddr::V4(ip) => w.bytes(end, &ip.octets()),
                        IpAddr::V6(ip) => w.bytes(end + 2, &ip.octets()),
                    }
                }
            });
            w.nest(2, |w| {
                w.bytes(1, &[protocol]);
                w.bytes(2, &source.port().to_be_bytes());
                w.bytes(3, &destination.port().to_be_bytes());
            });
        };
        let new = conntrack.message(NEW, NLM_F_ACK | NLM_F_CREATE_EXCL, family, |w| {
            w.nest(TUPLE_ORIG, |w| tuple(w, from, to));
            w.nest(TUPLE_REPLY, |w| tuple(w, by, from));
            w.be32(7, 600); // seconds to live
            w.bytes(ZONE, &zone.to_be_bytes());
            if protocol == TCP {
                w.nest(4, |w| w.nest(1, |w| w.bytes(1, &[3]))); // established
            }
        });
        conntrack.socket.request(&new).expect("a new flow");
    }

    /// The ports that flows of one protocol come from.
    fn left(conntrack: &mut Conntrack, v4: bool, protocol: u8) -> Vec<u16> {
        let mut left = Vec::new();
        conntrack.delete_where(v4, protocol, None, |flow| (left.push(flow.source.port()), false).1).expect("dump");
        left.sort_unstable();
        left
    }

    /// UDP flows to two addresses, from one port each; and what may not be touched.
    fn flows(conntrack: &mut Conntrack, [client, front, other, endpoint, second]: [&str; 5]) {
        let from = |port: u16| format!("{client}:{port}");
        for (port, to, by) in [
            (1, format!("{front}:53"), format!("{endpoint}:5353")),
            (2, format!("{front}:53"), format!("{second}:5353")),
            (3, format!("{front}:53"), format!("{front}:53")),
            (4, format!("{front}:54"), format!("{endpoint}:5353")),
            (5, format!("{front}:53"), format!("{endpoint}:5354")),
            (6, format!("{other}:53"), format!("{endpoint}:5353")),
            (7, format!("{endpoint}:5353"), format!("{endpoint}:5353")),
        ] {
            remember(conntrack, UDP, 0, [&from(port), &to, &by]);
        }
        remember(conntrack, UDP, 7, [&from(8), &format!("{front}:53"), &format!("{endpoint}:5353")]);
        remember(conntrack, TCP, 0, [&from(9), &format!("{front}:53"), &format!("{endpoint}:5353")]);
    }

    const V4: [&str; 5] = ["192.0.2.1", "10.96.0.1", "10.96.0.2", "10.0.0.1", "10.0.0.2"];
    const V6: [&str; 5] = ["[2001:db8::1]", "[fd00:96::1]", "[fd00:96::2]", "[fd00::1]", "[fd00::2]"];

    /// What is left of [`flows`] once the kernel has deleted what passes a filter; on one too old for it, all.
    fn check(flows_of: [&str; 5], reply_source: Option<&str>, (can, expected): (bool, &[u16])) {
        let can = can && crate::probe::version(&crate::probe::release().expect("a release")) >= Some((6, 12));
        let expected = if can { expected } else { &[1, 2, 3, 4, 5, 6, 7, 8] };
        let ns = Netns::new("kernel-ct");
        ns.run(|| {
            let mut conntrack = Conntrack::open().expect("conntrack");
            flows(&mut conntrack, flows_of);
            let destination: SocketAddr = format!("{}:53", flows_of[1]).parse().expect("an address");
            let filter = Filter { destination, reply_source: reply_source.map(|by| by.parse().expect("an address")) };
            let done = conntrack.delete(UDP, &filter).expect("conntrack answers");
            let v4 = destination.is_ipv4();
            assert_eq!((done, &*left(&mut conntrack, v4, UDP)), (can, expected));
            assert_eq!(left(&mut conntrack, v4, TCP), [9]);
        });
    }

    #[test]
    fn a_filter_takes_the_flows_to_one_address_that_one_endpoint_answers() {
        check(V4, Some("10.0.0.1:5353"), (true, &[2, 3, 4, 5, 6, 7, 8]));
        check(V4, Some("10.96.0.1:53"), (true, &[1, 2, 4, 5, 6, 7, 8]));
    }

    #[test]
    fn a_filter_takes_the_flows_to_one_address_whoever_answers() {
        check(V4, None, (true, &[4, 6, 7, 8]));
    }

    #[test]
    fn ipv6_is_not_filtered_as_kernels_would_take_the_flows_to_all_others() {
        check(V6, Some("[fd00::1]:5353"), (false, &[1, 2, 3, 4, 5, 6, 7, 8]));
    }

    #[test]
    fn a_dump_forgets_the_flows_it_is_told_to_and_no_other() {
        for (addresses, endpoint) in [(V4, "10.0.0.1:5353"), (V6, "[fd00::1]:5353")] {
            let ns = Netns::new("kernel-ct");
            ns.run(|| {
                let mut conntrack = Conntrack::open().expect("conntrack");
                flows(&mut conntrack, addresses);
                let v4 = addresses == V4;
                let endpoint: SocketAddr = endpoint.parse().expect("an address");
                let mut asked = Vec::new();
                let gone = conntrack.delete_where(v4, UDP, Some(53), |flow| {
                    asked.push(flow.source.port());
                    flow.reply_source == endpoint
                });
                assert_eq!(gone, Ok(2), "a flow of another zone has another name");
                asked.sort_unstable();
                assert_eq!(asked, [1, 2, 3, 5, 6, 8], "flows to other ports are not told of");
                assert_eq!(left(&mut conntrack, v4, UDP), [2, 3, 4, 5, 7, 8]);
                assert_eq!(left(&mut conntrack, v4, TCP), [9]);
            });
        }
    }
}
