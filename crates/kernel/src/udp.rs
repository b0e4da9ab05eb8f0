//! Datagrams by the batch: `recvmmsg` and `sendmmsg` into slots that are made once, and the address that a datagram came to.
//!
//! A batch costs one system call instead of one for each datagram. On a socket that is bound to all addresses the reply leaves from
//! the address that was asked (IP_PKTINFO, IPV6_RECVPKTINFO), else a client behind a virtual address would not take it.
//! Owns buffers and addresses; must not know what the datagrams say. Source: recvmmsg(2), sendmmsg(2), ip(7), ipv6(7).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Room for one control message of either kind.
const CONTROL: usize = 64;
/// What lies between two slots of a power of two: without it the first lines of all slots, which are mostly the only ones used, would
/// share one set of the processor's first cache and push each other out. Two lines, as processors fetch them in pairs.
const APART: usize = 128;

/// Who sent a datagram, and to which of our addresses: all that a reply needs.
#[derive(Clone, Copy)]
pub struct Peer {
    name: Name,
    name_length: libc::socklen_t,
    local: Option<Local>,
}

/// A sender's address as the kernel writes it. Room for the Internet families alone: half a cache line instead of two.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

#[derive(Clone, Copy)]
enum Local {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Slots that a batch is received into.
pub struct Inbox {
    slot_bytes: usize,
    stride: usize,
    buffers: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    received: usize,
}

/// Slots that replies are written into and sent from.
pub struct Outbox {
    slot_bytes: usize,
    stride: usize,
    buffers: Box<[u8]>,
    lengths: Box<[usize]>,
    peers: Box<[Peer]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    filled: usize,
}

/// Asks the kernel to say which address each datagram came to. Needed on sockets bound to all addresses only.
pub fn tell_local_address(socket: &UdpSocket) -> io::Result<()> {
    let (level, option) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the socket is open for as long as the borrow lasts, and the option's value is an int of the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for a receive buffer of `bytes`, beyond `net.core.rmem_max` where the process may (CAP_NET_ADMIN). The kernel gives what it
/// allows; that is no error.
pub fn grow_receive_buffer(socket: &UdpSocket, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        // SAFETY: the socket is open for as long as the borrow lasts, and the option's value is an int of the length given.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_ref(&bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

/// Wakes every thread that waits in [`Inbox::receive`] on this socket, now and from now on: they receive nothing any more.
pub fn wake(socket: &UdpSocket) {
    // SAFETY: the socket is open for as long as the borrow lasts. ENOTCONN is what an unconnected socket answers after it was woken.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// Sends one datagram without waiting for room in the send buffer.
pub fn send_one(socket: &UdpSocket, bytes: &[u8], peer: &Peer) -> io::Result<()> {
    let mut peer = *peer;
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let header = peer.header(&mut vector, &mut control);
    // SAFETY: the header points at `peer`, `vector`, `control` and `bytes`, which all outlive the call; sendmsg only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// === impl Inbox ===

impl Inbox {
    /// `slots` datagrams of up to `slot_bytes` each; longer ones are left out.
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        Self {
            slot_bytes,
            stride: slot_bytes + APART,
            buffers: vec![0; slots * (slot_bytes + APART)].into(),
            names: vec![zeroed_name(); slots].into(),
            controls: vec![Control([0; CONTROL]); slots].into(),
            headers: vec![zeroed_header(); slots].into(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; slots].into(),
            received: 0,
        }
    }

    /// Waits for a datagram (on a blocking socket) and takes those that are there as well. Gives how many, 0 after [`wake`].
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received = 0;
        for (at, header) in self.headers.iter_mut().enumerate() {
            self.vectors[at] =
                libc::iovec { iov_base: self.buffers[at * self.stride..][..self.slot_bytes].as_mut_ptr().cast(), iov_len: self.slot_bytes };
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[at]).cast();
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut self.vectors[at];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = self.controls[at].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_flags = 0;
        }
        let slots = self.headers.len() as libc::c_uint;
        // SAFETY: every header points into this inbox's own arrays, each pointer with the length of what it points at, and
        // they are borrowed mutably for the whole call. MSG_WAITFORONE lets only the first receive block.
        let received =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), slots, libc::MSG_WAITFORONE, ptr::null_mut()) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = received as usize;
        // After `wake` an empty datagram from nobody is received at once.
        if self.received > 0 && self.headers[0].msg_hdr.msg_namelen == 0 {
            self.received = 0;
        }
        Ok(self.received)
    }

    /// The datagrams of the last batch. Those that were cut, or came from no address that can be answered, are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Peer)> {
        (0..self.received).filter_map(|at| {
            let header = &self.headers[at];
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                return None;
            }
            let length = (header.msg_len as usize).min(self.slot_bytes);
            #[allow(clippy::unnecessary_cast, reason = "a socklen_t with musl")]
            let control_length = header.msg_hdr.msg_controllen as usize;
            let local = local_of(&self.controls[at], control_length);
            let peer = Peer { name: self.names[at], name_length: header.msg_hdr.msg_namelen, local };
            peer.address()?;
            Some((&self.buffers[at * self.stride..][..length], peer))
        })
    }
}

// SAFETY: the raw pointers inside headers and vectors are written anew before each call and never read in between.
unsafe impl Send for Inbox {}

// === impl Outbox ===

impl Outbox {
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        Self {
            slot_bytes,
            stride: slot_bytes + APART,
            buffers: vec![0; slots * (slot_bytes + APART)].into(),
            lengths: vec![0; slots].into(),
            peers: vec![Peer { name: zeroed_name(), name_length: 0, local: None }; slots].into(),
            controls: vec![Control([0; CONTROL]); slots].into(),
            headers: vec![zeroed_header(); slots].into(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; slots].into(),
            filled: 0,
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

    /// Sends what was pushed and empties the outbox. Gives how many the kernel did not take: a reply that cannot be sent is lost,
    /// as on any network.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        for at in 0..self.filled {
            self.vectors[at] = libc::iovec {
                iov_base: self.buffers[at * self.stride..][..self.slot_bytes].as_mut_ptr().cast(),
                iov_len: self.lengths[at],
            };
            self.headers[at] = libc::mmsghdr { msg_hdr: self.peers[at].header(&mut self.vectors[at], &mut self.controls[at]), msg_len: 0 };
        }
        let (mut at, mut lost) = (0, 0);
        while at < self.filled {
            let left = &mut self.headers[at..self.filled];
            // SAFETY: every header points into this outbox's own arrays, each pointer with the length of what it points at, and
            // they are borrowed mutably for the whole call.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as libc::c_uint, 0) };
            match sent {
                1.. => at += sent as usize,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // The error is that of the first message alone.
                _ => {
                    lost += 1;
                    at += 1;
                }
            }
        }
        self.filled = 0;
        lost
    }
}

// SAFETY: the raw pointers inside headers and vectors are written anew before each call and never read in between.
unsafe impl Send for Outbox {}

// === impl Peer ===

impl Peer {
    /// The sender's address; `None` where it is of neither Internet family.
    pub fn address(&self) -> Option<SocketAddr> {
        // SAFETY: both addresses start with their family, and a name starts as zeroes: it is always written.
        match libc::c_int::from(unsafe { self.name.family }) {
            libc::AF_INET => {
                // SAFETY: the family says that the name holds this one, and a name of zeroes holds any.
                let name = unsafe { self.name.v4 };
                Some(SocketAddrV4::new(Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes()), u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe { self.name.v6 };
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), name.sin6_flowinfo, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// The address that was asked, where the socket was told to say it.
    pub fn local(&self) -> Option<IpAddr> {
        self.local.map(|local| match local {
            Local::V4(info) => IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()),
            Local::V6(info) => IpAddr::from(info.ipi6_addr.s6_addr),
        })
    }

    /// A header for a datagram to this peer, from the address that it had asked. Points into all three.
    fn header(&mut self, vector: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
        let mut header = zeroed_header().msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.name).cast();
        header.msg_namelen = self.name_length;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        let length = match self.local {
            None => return header,
            Some(Local::V4(info)) => {
                // Source address and interface as routing finds them; only the address is fixed.
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ipi_addr: info.ipi_addr };
                put_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            Some(Local::V6(info)) => {
                // A link-local source needs its link.
                let link_local = info.ipi6_addr.s6_addr[0] == 0xfe && info.ipi6_addr.s6_addr[1] & 0xc0 == 0x80;
                let info = libc::in6_pktinfo { ipi6_ifindex: if link_local { info.ipi6_ifindex } else { 0 }, ..info };
                put_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        };
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = length as _;
        header
    }
}

/// Where a control message's value starts: behind its header, whose size is a multiple of every alignment used here.
const VALUE: usize = size_of::<libc::cmsghdr>();

/// Writes one control message; gives the length of all.
fn put_control<T: Copy>(control: &mut Control, level: libc::c_int, kind: libc::c_int, value: &T) -> usize {
    const { assert!(VALUE + size_of::<T>() + 8 <= CONTROL && VALUE.is_multiple_of(align_of::<T>())) };
    // SAFETY: a cmsghdr is plain numbers, for which all zeroes are a value.
    let mut header: libc::cmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.cmsg_level = level;
    header.cmsg_type = kind;
    header.cmsg_len = (VALUE + size_of::<T>()) as _;
    // SAFETY: the buffer is aligned to 8 and holds both, as the assertion above says; nothing else points at it.
    unsafe {
        control.0.as_mut_ptr().cast::<libc::cmsghdr>().write(header);
        control.0.as_mut_ptr().add(VALUE).cast::<T>().write(*value);
    }
    (VALUE + size_of::<T>()).next_multiple_of(size_of::<usize>())
}

/// Reads the first control message, where it is one that says the local address.
fn local_of(control: &Control, length: usize) -> Option<Local> {
    let value = |size: usize| (length >= VALUE + size).then(|| control.0[VALUE..].as_ptr());
    if length < VALUE {
        return None;
    }
    // SAFETY: the buffer is aligned to 8, longer than a cmsghdr, and the kernel filled in `length` bytes of it.
    let header = unsafe { control.0.as_ptr().cast::<libc::cmsghdr>().read() };
    match (header.cmsg_level, header.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let value = value(size_of::<libc::in_pktinfo>())?;
            // SAFETY: the kernel filled in a whole in_pktinfo, which is plain numbers, at an offset aligned for it.
            Some(Local::V4(unsafe { value.cast::<libc::in_pktinfo>().read() }))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let value = value(size_of::<libc::in6_pktinfo>())?;
            // SAFETY: as above, for in6_pktinfo.
            Some(Local::V6(unsafe { value.cast::<libc::in6_pktinfo>().read() }))
        }
        _ => None,
    }
}

fn zeroed_name() -> Name {
    // SAFETY: each of the union's addresses is plain numbers; all zeroes are the unspecified family.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn zeroed_header() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is numbers and pointers; all zeroes are an empty message.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(server: &str) -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind(server).expect("a socket");
        let client = UdpSocket::bind("127.0.0.2:0").expect("a socket");
        (server, client)
    }

    #[test]
    fn a_batch_is_received_and_each_reply_reaches_its_sender_from_the_address_asked() {
        let (server, client) = pair("0.0.0.0:0");
        tell_local_address(&server).expect("pktinfo");
        let port = server.local_addr().expect("bound").port();
        client.connect(("127.0.0.9", port)).expect("connected");
        for text in ["one", "two", "three"] {
            client.send(text.as_bytes()).expect("sent");
        }
        let (mut inbox, mut outbox) = (Inbox::new(8, 64), Outbox::new(8, 64));
        let mut n = 0;
        while n < 3 {
            n += inbox.receive(&server).expect("received");
            for (bytes, peer) in inbox.iter() {
                assert_eq!(peer.address(), Some(client.local_addr().expect("bound")));
                assert_eq!(peer.local(), Some(Ipv4Addr::new(127, 0, 0, 9).into()));
                outbox.slot().expect("a slot")[..bytes.len()].copy_from_slice(bytes);
                outbox.push(bytes.len(), &peer);
            }
            assert_eq!(outbox.send(&server), 0);
        }
        // A connected socket takes datagrams from the address it asked and no other.
        let mut buffer = [0; 64];
        for text in ["one", "two", "three"] {
            let length = client.recv(&mut buffer).expect("a reply");
            assert_eq!(&buffer[..length], text.as_bytes());
        }
    }

    #[test]
    fn a_datagram_longer_than_its_slot_is_left_out() {
        let (server, client) = pair("127.0.0.1:0");
        client.connect(server.local_addr().expect("bound")).expect("connected");
        client.send(&[7; 65]).expect("sent");
        let mut inbox = Inbox::new(2, 64);
        assert_eq!(inbox.receive(&server).expect("received"), 1);
        assert_eq!(inbox.iter().count(), 0);
    }

    #[test]
    fn waking_ends_the_wait() {
        let (server, _) = pair("127.0.0.1:0");
        wake(&server);
        assert_eq!(Inbox::new(2, 64).receive(&server).expect("woken"), 0);
    }

    #[test]
    fn one_datagram_goes_without_a_batch() {
        let (server, client) = pair("127.0.0.1:0");
        client.connect(server.local_addr().expect("bound")).expect("connected");
        client.send(b"?").expect("sent");
        let mut inbox = Inbox::new(1, 64);
        inbox.receive(&server).expect("received");
        let (_, peer) = inbox.iter().next().expect("a datagram");
        send_one(&server, b"!", &peer).expect("sent");
        let mut buffer = [0; 64];
        assert_eq!(client.recv(&mut buffer).expect("a reply"), 1);
    }
}
