//! Datagrams by the batch: an [`Inbox`] and an [`Outbox`] of slots that are made once, and the address that a datagram came to.
//!
//! A batch costs one system call instead of one for each datagram. On a socket that is bound to all addresses the reply leaves from
//! the address that was asked (IP_PKTINFO, IPV6_RECVPKTINFO), else a client behind a virtual address would not take it.
//! Owns buffers and addresses; must not know what the datagrams say. Source: recvmmsg(2), sendmmsg(2), udp(7), ip(7), ipv6(7).

mod inbox;
mod outbox;

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

pub use inbox::Inbox;
pub use outbox::Outbox;

/// Room for the control messages of one datagram: the address that it goes from, and the size that it is cut to.
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

    /// Whether a reply to this peer goes from and to the very addresses of a reply to the other.
    fn is_same(&self, other: &Self) -> bool {
        self.address() == other.address() && self.local() == other.local()
    }

    /// 48 bits that are one peer's own, or nearly.
    fn digest(&self) -> u64 {
        let (address, port) = match self.address() {
            Some(SocketAddr::V4(v4)) => (v4.ip().to_bits(), v4.port()),
            Some(SocketAddr::V6(v6)) => {
                (v6.ip().segments().chunks(2).fold(0, |sum, two| sum ^ (u32::from(two[0]) << 16 | u32::from(two[1]))), v6.port())
            }
            None => (0, 0),
        };
        u64::from(address) << 16 | u64::from(port)
    }

    /// A header for what `vectors` point at, to this peer and from the address that it had asked; cut to datagrams of `segment` bytes, if
    /// that is given. Points into all three.
    fn header(&mut self, vectors: &mut [libc::iovec], segment: Option<u16>, control: &mut Control) -> libc::msghdr {
        let mut header = zeroed_header().msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.name).cast();
        header.msg_namelen = self.name_length;
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len() as _;
        let mut length = match self.local {
            None => 0,
            Some(Local::V4(info)) => {
                // Source address and interface as routing finds them; only the address is fixed.
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ipi_addr: info.ipi_addr };
                put_control(control, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            Some(Local::V6(info)) => {
                // A link-local source needs its link.
                let link_local = info.ipi6_addr.s6_addr[0] == 0xfe && info.ipi6_addr.s6_addr[1] & 0xc0 == 0x80;
                let info = libc::in6_pktinfo { ipi6_ifindex: if link_local { info.ipi6_ifindex } else { 0 }, ..info };
                put_control(control, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        };
        if let Some(segment) = segment {
            length = put_control(control, length, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
        }
        if length > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = length as _;
        }
        header
    }
}

/// Where a control message's value starts: behind its header, whose size is a multiple of every alignment used here.
const VALUE: usize = size_of::<libc::cmsghdr>();

/// Writes one control message behind the first `at` bytes; gives the length of all.
fn put_control<T: Copy>(control: &mut Control, at: usize, level: libc::c_int, kind: libc::c_int, value: &T) -> usize {
    const { assert!(VALUE.is_multiple_of(align_of::<T>())) };
    let end = (at + VALUE + size_of::<T>()).next_multiple_of(size_of::<usize>());
    assert!(at.is_multiple_of(size_of::<usize>()) && end <= CONTROL, "room for it");
    // SAFETY: a cmsghdr is plain numbers, for which all zeroes are a value.
    let mut header: libc::cmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.cmsg_level = level;
    header.cmsg_type = kind;
    header.cmsg_len = (VALUE + size_of::<T>()) as _;
    // SAFETY: the buffer is aligned to 8 and holds both, as the assertions above say; nothing else points at it.
    unsafe {
        control.0.as_mut_ptr().add(at).cast::<libc::cmsghdr>().write(header);
        control.0.as_mut_ptr().add(at + VALUE).cast::<T>().write(*value);
    }
    end
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
        let client = UdpSocket::bind(if server.local_addr().expect("bound").is_ipv4() { "127.0.0.2:0" } else { "[::1]:0" });
        (server, client.expect("a socket"))
    }

    fn a_batch_is_answered(server: &str, asked: IpAddr) {
        let (server, client) = pair(server);
        tell_local_address(&server).expect("pktinfo");
        let port = server.local_addr().expect("bound").port();
        client.connect((asked, port)).expect("connected");
        for text in ["one", "two", "three"] {
            client.send(text.as_bytes()).expect("sent");
        }
        let (mut inbox, mut outbox) = (Inbox::new(8, 64), Outbox::new(8, 64));
        let mut n = 0;
        while n < 3 {
            n += inbox.receive(&server).expect("received");
            for (bytes, peer) in inbox.iter() {
                assert_eq!(peer.address(), Some(client.local_addr().expect("bound")));
                assert_eq!(peer.local(), Some(asked));
                outbox.slot().expect("a slot")[..bytes.len()].copy_from_slice(bytes);
                outbox.push(bytes.len(), &peer);
            }
            assert_eq!(outbox.send(&server), 0);
        }
        // A connected socket takes datagrams from the address it asked and no other.
        let mut buffer = [0; 64];
        let mut got: Vec<_> = (0..3).map(|_| client.recv(&mut buffer).map(|length| buffer[..length].to_vec()).expect("a reply")).collect();
        got.sort();
        assert_eq!(got, [&b"one"[..], b"three", b"two"]);
    }

    #[test]
    fn a_batch_is_received_and_each_reply_reaches_its_sender_from_the_address_asked() {
        a_batch_is_answered("0.0.0.0:0", Ipv4Addr::new(127, 0, 0, 9).into());
        a_batch_is_answered("[::]:0", Ipv6Addr::LOCALHOST.into());
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
}
