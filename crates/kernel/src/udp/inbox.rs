//! Datagrams received by the batch: `recvmmsg` into slots.

use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

use super::{APART, CONTROL, Control, Name, Peer, local_of, zeroed_header, zeroed_name};

/// Slots that a batch is received into.
pub struct Inbox {
    slot_bytes: usize,
    stride: usize,
    buffers: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    /// Headers that the kernel may have written to since they were made ready.
    touched: usize,
    received: usize,
}

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
            touched: slots,
            received: 0,
        }
    }

    /// Waits for a datagram (on a blocking socket) and takes those that are there as well. Gives how many, 0 after [`wake`].
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received = 0;
        for (at, header) in self.headers[..self.touched].iter_mut().enumerate() {
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
        self.touched = (usize::try_from(received).unwrap_or(0) + 1).min(self.headers.len());
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

// SAFETY: the raw pointers inside headers and vectors point into this inbox's own boxes, which no move of it moves, and only the kernel follows them.
unsafe impl Send for Inbox {}
