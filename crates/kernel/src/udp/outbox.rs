//! Replies sent by the batch: `sendmmsg` from slots, those to one peer as one packet.
//!
//! A reply's way through the kernel costs ten times what the reply itself costs. What goes from one address to another is therefore joined
//! and passes the kernel once; it is cut into its datagrams where the receiver, or a wire, needs them (UDP_SEGMENT). Resolvers ask for A and
//! AAAA from one socket at a time, and a busy forwarder asks many questions from few.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

use super::{APART, CONTROL, Control, Peer, zeroed_header, zeroed_name};

/// What is joined: a datagram that every link carries whole (IPv6's least MTU less the headers), since the kernel cuts to no more than that.
const MAX_SEGMENT: usize = 1_280 - 40 - 8;
/// Datagrams in one packet at the most: 64 of the largest are more than a packet can hold (65,535 bytes), and older kernels take no more.
const MAX_SEGMENTS: usize = 48;

/// Slots that replies are written into and sent from.
pub struct Outbox {
    slot_bytes: usize,
    stride: usize,
    buffers: Box<[u8]>,
    lengths: Box<[usize]>,
    peers: Box<[Peer]>,
    filled: usize,
    /// The slots that were filled in the order of sending: each peer's together, the longest first.
    order: Vec<Place>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    /// Whether the kernel cuts what was joined; it does not before Linux 4.18, nor where a path forbids it, as IPsec may.
    cuts: bool,
}

/// What orders the slots, and the slot.
type Place = (u64, u16);

impl Outbox {
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        Self {
            slot_bytes,
            stride: slot_bytes + APART,
            buffers: vec![0; slots * (slot_bytes + APART)].into(),
            lengths: vec![0; slots].into(),
            peers: vec![Peer { name: zeroed_name(), name_length: 0, local: None }; slots].into(),
            filled: 0,
            order: Vec::with_capacity(slots),
            controls: vec![Control([0; CONTROL]); slots].into(),
            headers: vec![zeroed_header(); slots].into(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; slots].into(),
            cuts: true,
        }
    }

    /// The next free slot, to be written and then [`Outbox::push`]ed; `None` when all are filled.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        (self.filled < self.lengths.len()).then(|| &mut self.buffers[self.filled * self.stride..][..self.slot_bytes])
    }

    /// Makes the first `length` bytes of the current slot a reply to `peer`.
    pub fn push(&mut self, length: usize, peer: &Peer) {
        self.lengths[self.filled] = length.min(self.slot_bytes);
        self.peers[self.filled] = *peer;
        self.filled += 1;
    }

    /// Sends what was pushed, in any order, and empties the outbox. Gives how many the kernel did not take: a reply that cannot be sent is
    /// lost, as on any network.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        self.send_with(socket, 0)
    }

    /// As [`Outbox::send`] without waiting for room in the send buffer.
    pub fn send_now(&mut self, socket: &UdpSocket) -> usize {
        self.send_with(socket, libc::MSG_DONTWAIT)
    }

    fn send_with(&mut self, socket: &UdpSocket, flags: libc::c_int) -> usize {
        self.arrange();
        let (mut at, mut lost) = (0, 0);
        while at < self.filled {
            let packets = self.join(at);
            // SAFETY: every header points into this outbox's own arrays, each pointer with the length of what it points at, and
            // they are borrowed mutably for the whole call.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), packets as libc::c_uint, flags) };
            if sent > 0 {
                at += self.headers[..sent as usize].iter().map(replies).sum::<usize>();
                continue;
            }
            // The error is that of the first packet alone.
            let first = replies(&self.headers[0]);
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if first > 1 => self.cuts = false,
                _ => {
                    lost += first;
                    at += first;
                }
            }
        }
        self.filled = 0;
        lost
    }

    /// Brings the slots that were filled into the order of sending.
    fn arrange(&mut self) {
        let (peers, lengths) = (&self.peers, &self.lengths);
        self.order.clear();
        self.order.extend((0..self.filled).map(|at| (rank(&peers[at], lengths[at]), at as u16)));
        self.order.sort_unstable();
    }

    /// Writes the headers of the packets that hold the replies from the place `at` on. Gives how many they are.
    fn join(&mut self, at: usize) -> usize {
        let (mut start, mut packets) = (at, 0);
        while start < self.order.len() {
            let end = start + self.alike(start);
            for place in start..end {
                let slot = usize::from(self.order[place].1);
                self.vectors[place] =
                    libc::iovec { iov_base: self.buffers[slot * self.stride..].as_mut_ptr().cast(), iov_len: self.lengths[slot] };
            }
            let first = usize::from(self.order[start].1);
            let segment = (end - start > 1).then_some(self.lengths[first] as u16);
            let header = self.peers[first].header(&mut self.vectors[start..end], segment, &mut self.controls[first]);
            self.headers[packets] = libc::mmsghdr { msg_hdr: header, msg_len: 0 };
            packets += 1;
            start = end;
        }
        packets
    }

    /// How many replies from the place `start` on can be one packet: of one peer, and as long as the first but for the last, which may be
    /// shorter.
    fn alike(&self, start: usize) -> usize {
        let reply = |place: &Place| (&self.peers[usize::from(place.1)], self.lengths[usize::from(place.1)]);
        let (peer, segment) = reply(&self.order[start]);
        if !self.cuts || segment > MAX_SEGMENT {
            return 1;
        }
        let mut many = 1;
        for place in self.order[start + 1..].iter().take(MAX_SEGMENTS - 1) {
            let (next, length) = reply(place);
            if length == 0 || !next.is_same(peer) {
                break;
            }
            many += 1;
            if length < segment {
                break;
            }
        }
        many
    }
}

// SAFETY: the raw pointers inside headers and vectors are written anew before each call and never read in between.
unsafe impl Send for Outbox {}

/// Brings the replies to one peer together, the longest first. Peers that share a rank only keep each other's from being joined.
fn rank(peer: &Peer, length: usize) -> u64 {
    peer.digest() << 16 | u64::from(u16::MAX - length as u16)
}

fn replies(packet: &libc::mmsghdr) -> usize {
    #[allow(clippy::unnecessary_cast, reason = "an int with musl")]
    let vectors = packet.msg_hdr.msg_iovlen as usize;
    vectors
}

#[cfg(test)]
mod tests {
    use super::super::Inbox;
    use super::*;

    /// Clients that each asked once, and what a server received of them.
    fn asked(clients: usize) -> (UdpSocket, Vec<UdpSocket>, Vec<Peer>) {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (mut sockets, mut peers) = (Vec::new(), Vec::new());
        let mut inbox = Inbox::new(1, 64);
        for _ in 0..clients {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            client.connect(server.local_addr().expect("bound")).expect("connected");
            client.send(b"?").expect("sent");
            inbox.receive(&server).expect("received");
            peers.extend(inbox.iter().map(|(_, peer)| peer));
            sockets.push(client);
        }
        (server, sockets, peers)
    }

    /// Pushes replies of these lengths, each filled with its place. Gives the packets that they are joined to.
    fn push(outbox: &mut Outbox, replies: &[(usize, &Peer)]) -> usize {
        for (at, (length, peer)) in replies.iter().enumerate() {
            outbox.slot().expect("a slot")[..*length].fill(at as u8);
            outbox.push(*length, peer);
        }
        outbox.arrange();
        outbox.join(0)
    }

    /// The length and filling of each of so many datagrams.
    fn received(client: &UdpSocket, many: usize) -> Vec<(usize, u8)> {
        let mut buffer = [0; 4_096];
        let mut all: Vec<_> = (0..many)
            .map(|_| {
                let length = client.recv(&mut buffer).expect("a reply");
                assert!(buffer[..length].iter().all(|byte| *byte == buffer[0]), "parts of two replies");
                (length, buffer[0])
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn replies_to_one_peer_are_one_packet_and_arrive_as_they_were() {
        let (server, clients, peers) = asked(2);
        let mut outbox = Outbox::new(8, 4_096);
        let replies = [(50, &peers[0]), (90, &peers[1]), (50, &peers[0]), (40, &peers[0]), (120, &peers[1])];
        assert_eq!(push(&mut outbox, &replies), 2);
        assert_eq!(outbox.send_now(&server), 0);
        assert!(outbox.cuts);
        assert_eq!(received(&clients[0], 3), [(40, 3), (50, 0), (50, 2)]);
        assert_eq!(received(&clients[1], 2), [(90, 1), (120, 4)]);
    }

    #[test]
    fn a_packet_ends_with_its_first_shorter_reply_and_leaves_large_ones_alone() {
        let (server, clients, peers) = asked(1);
        let mut outbox = Outbox::new(8, 4_096);
        let lengths = [50, 60, 60, 70, MAX_SEGMENT, MAX_SEGMENT + 1, 3_000];
        // 3,000; MAX_SEGMENT + 1; MAX_SEGMENT with 70; 60 twice with 50.
        assert_eq!(push(&mut outbox, &lengths.map(|length| (length, &peers[0]))), 4);
        assert_eq!(outbox.send(&server), 0);
        let mut expected: Vec<_> = lengths.iter().copied().zip(0..).collect();
        expected.sort_unstable();
        assert_eq!(received(&clients[0], lengths.len()), expected);
    }

    #[test]
    fn where_the_kernel_does_not_cut_each_reply_goes_alone() {
        let (server, clients, peers) = asked(1);
        // A socket that sends no checksums cannot have its packets cut.
        let on: libc::c_int = 1;
        // SAFETY: the socket is open, and the option's value is an int of the length given.
        let set = unsafe { libc::setsockopt(server.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, ptr::from_ref(&on).cast(), 4) };
        assert_eq!(set, 0);
        let mut outbox = Outbox::new(8, 4_096);
        assert_eq!(push(&mut outbox, &[(50, &peers[0]), (60, &peers[0])]), 1);
        assert_eq!(outbox.send(&server), 0);
        assert!(!outbox.cuts);
        assert_eq!(received(&clients[0], 2), [(50, 0), (60, 1)]);
    }

    #[test]
    fn many_replies_are_as_many_packets_as_they_need() {
        let (server, clients, peers) = asked(1);
        let mut outbox = Outbox::new(MAX_SEGMENTS + 2, MAX_SEGMENT);
        assert_eq!(push(&mut outbox, &vec![(MAX_SEGMENT, &peers[0]); MAX_SEGMENTS + 2]), 2);
        assert_eq!(outbox.send(&server), 0);
        assert_eq!(received(&clients[0], MAX_SEGMENTS + 2).len(), MAX_SEGMENTS + 2);
    }
}
