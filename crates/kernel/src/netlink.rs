//! Netlink: sockets, messages and attributes, as far as `nft`, `conntrack` and `rtnl` need them.
//!
//! Must not know what any message means. Source: linux/netlink.h, netlink(7).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::Errno;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;

/// A netlink socket of one protocol, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// What the kernel answered to one message of a batch.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) seq: u32,
    pub(crate) errno: Errno,
    /// The kernel's own words (extended acknowledgement), where it has any.
    pub(crate) message: Option<String>,
}

/// One received message without its header.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

// === impl Socket ===

impl Socket {
    pub(crate) fn open(protocol: libc::c_int) -> Result<Self, Errno> {
        // SAFETY: socket(2) takes no pointer; the descriptor is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: `fd` is open (checked above) and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd, buffer: vec![0; 64 << 10] };
        // A batch goes down in one sendto(2), however big; without CAP_NET_ADMIN the option is refused and small batches still pass.
        let _ = socket.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 64 << 20);
        let _ = socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20);
        // Errors come with the kernel's own words, and without a copy of the message.
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        Ok(socket)
    }

    /// A socket that also hears what the kernel tells `groups` (as `nl_groups` has them: a bit for each).
    pub(crate) fn listen(protocol: libc::c_int, groups: u32) -> Result<Self, Errno> {
        let socket = Self::open(protocol)?;
        // SAFETY: all zeroes is a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups;
        // SAFETY: the pointer is to a live sockaddr_nl and the length is its size; bind(2) only reads it.
        let result =
            unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_nl>() as libc::socklen_t) };
        if result < 0 { Err(Errno::last()) } else { Ok(socket) }
    }

    fn option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
        // SAFETY: the pointer is to a live c_int and the length is its size; setsockopt(2) only reads it.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t)
        };
        if result < 0 { Err(Errno::last()) } else { Ok(()) }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        loop {
            // SAFETY: pointer and length are those of a live slice; send(2) only reads it. An unconnected netlink socket sends
            // to the kernel.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            match sent {
                0.. => return Ok(()),
                _ if Errno::last() == Errno::EINTR => {}
                _ => return Err(Errno::last()),
            }
        }
    }

    /// One datagram, or `None` if none is queued and `wait` is false.
    fn receive(&mut self, wait: bool) -> Result<Option<usize>, Errno> {
        loop {
            let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
            // SAFETY: pointer and length are those of our own live buffer, which nothing else touches meanwhile.
            let n = unsafe { libc::recv(self.fd.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len(), flags) };
            if n >= 0 {
                return Ok(Some(n as usize));
            }
            match Errno::last() {
                Errno::EINTR => {}
                Errno(libc::EAGAIN) if !wait => return Ok(None),
                // The receive buffer overflowed: what was lost was more of what is in it (refusals of one batch, news of one kind).
                Errno(libc::ENOBUFS) if !wait => {}
                errno => return Err(errno),
            }
        }
    }

    /// Drops what was heard and not yet read; whether there was anything. Never waits.
    pub(crate) fn heard(&mut self) -> Result<bool, Errno> {
        let mut any = false;
        while self.receive(false)?.is_some() {
            any = true;
        }
        Ok(any)
    }

    /// Sends a batch and collects what the kernel refused. It runs the whole batch inside send(2), so that all errors are queued
    /// when that returns and no acknowledgement need be asked for.
    pub(crate) fn commit(&mut self, batch: &[u8]) -> Result<Vec<Refusal>, Errno> {
        self.send(batch)?;
        let mut refusals = Vec::new();
        while let Some(n) = self.receive(false)? {
            for (header, body) in messages(&self.buffer[..n]) {
                if header.kind == NLMSG_ERROR
                    && let Some(refusal) = refusal(header, body)
                {
                    refusals.push(refusal);
                }
            }
        }
        Ok(refusals)
    }

    /// Sends one message that asks for an acknowledgement and waits for it.
    pub(crate) fn request(&mut self, message: &[u8]) -> Result<(), Errno> {
        self.send(message)?;
        loop {
            let n = self.receive(true)?.unwrap_or(0);
            for (header, body) in messages(&self.buffer[..n]) {
                if header.kind == NLMSG_ERROR {
                    return refusal(header, body).map_or(Ok(()), |r| Err(r.errno));
                }
            }
        }
    }

    /// Sends one dump request and collects the answer. For short ones; see [`Socket::fold`].
    pub(crate) fn dump(&mut self, message: &[u8]) -> Result<Vec<Message>, Errno> {
        self.fold(message, |found: &mut Vec<Message>, kind, body| found.push(Message { kind, body: body.to_vec() }))
    }

    /// Sends one dump request and hands on each message of the answer (type, body) as it comes, so that a long one is never in memory.
    /// A dump that the kernel says was torn by a change is asked for anew, with a new `T`.
    pub(crate) fn fold<T: Default>(&mut self, message: &[u8], mut take: impl FnMut(&mut T, u16, &[u8])) -> Result<T, Errno> {
        // Under constant change a big dump may be torn each time; whoever asks then tries again later.
        for _ in 0..10 {
            self.send(message)?;
            if let Some(found) = self.collect(&mut take)? {
                return Ok(found);
            }
        }
        Err(Errno::EINTR)
    }

    fn collect<T: Default>(&mut self, take: &mut impl FnMut(&mut T, u16, &[u8])) -> Result<Option<T>, Errno> {
        let (mut found, mut torn) = (T::default(), false);
        loop {
            let n = self.receive(true)?.unwrap_or(0);
            for (header, body) in messages(&self.buffer[..n]) {
                torn |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE => return Ok((!torn).then_some(found)),
                    NLMSG_ERROR => match refusal(header, body) {
                        Some(r) if r.errno == Errno::EINTR => return Ok(None),
                        Some(r) => return Err(r.errno),
                        None => return Ok(Some(found)),
                    },
                    kind => {
                        take(&mut found, kind, body);
                        if header.flags & NLM_F_MULTI == 0 {
                            return Ok(Some(found));
                        }
                    }
                }
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[derive(Clone, Copy)]
struct Header {
    kind: u16,
    flags: u16,
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        if len < HEADER {
            return None;
        }
        let message = bytes.get(..len)?;
        bytes = bytes.get(align(len)..).unwrap_or(&[]);
        let header = Header { kind: u16_at(message, 4)?, flags: u16_at(message, 6)? };
        Some((header, &message[HEADER..]))
    })
}

fn refusal(header: Header, body: &[u8]) -> Option<Refusal> {
    const NLM_F_ACK_TLVS: u16 = 0x200;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let errno = -i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    if errno == 0 {
        return None;
    }
    let seq = u32::from_ne_bytes(body.get(12..16)?.try_into().ok()?);
    let message = (header.flags & NLM_F_ACK_TLVS != 0)
        .then(|| Attributes::of(body.get(4 + HEADER..).unwrap_or(&[])).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG))
        .flatten()
        .map(|(_, text)| string(text));
    Some(Refusal { seq, errno: Errno(errno), message })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn align(n: usize) -> usize {
    (n + 3) & !3
}

/// A C string's text.
pub(crate) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Messages being written, one after another.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// One message; `body` writes its family header and attributes.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, seq: u32, body: impl FnOnce(&mut Writer)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&seq.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        body(self);
        let len = (self.0.len() - start) as u32;
        self.0[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.pad();
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        // Lengths have 16 bits; whoever writes lists splits them before (`nft::batch`), and no other value comes near.
        let len = u16::try_from(value.len() + 4).expect("BUG: a netlink attribute above 64 kB");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    pub(crate) fn str(&mut self, kind: u16, value: &str) {
        let mut text = value.as_bytes().to_vec();
        text.push(0);
        self.bytes(kind, &text);
    }

    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        const NLA_F_NESTED: u16 = 0x8000;
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        body(self);
        let len = u16::try_from(self.0.len() - start).expect("BUG: a netlink attribute above 64 kB");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(align(self.0.len()), 0);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The attributes of a message or of a nest, as (type, value).
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self;
        all.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    pub(crate) fn nest(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    pub(crate) fn str(self, kind: u16) -> Option<String> {
        self.get(kind).map(string)
    }

    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.get(..4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn be64(self, kind: u16) -> Option<u64> {
        self.get(kind)?.get(..8)?.try_into().ok().map(u64::from_be_bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const TYPE_MASK: u16 = 0x3fff;
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(align(len)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut w = Writer::default();
        w.message(7, 0, 9, |w| {
            w.raw(&[2, 0, 0, 0]);
            w.str(1, "odd");
            w.nest(2, |w| w.be32(3, 0xdead_beef));
        });
        let bytes = w.finish();
        let (header, body) = messages(&bytes).next().expect("one message");
        let attributes = Attributes::of(&body[4..]);
        assert_eq!(header.kind, 7);
        assert_eq!(attributes.str(1).as_deref(), Some("odd"));
        assert_eq!(attributes.nest(2).and_then(|n| n.be32(3)), Some(0xdead_beef));
    }

    #[test]
    fn cut_off_input_ends_the_list() {
        assert_eq!(Attributes::of(&[12, 0, 1, 0, 1]).count(), 0);
        assert_eq!(Attributes::of(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(messages(&[200, 0, 0, 0, 1, 0]).count(), 0);
    }
}
