//! Listeners: bound with the options that every part wants alike, and errors that name the address.

mod holder;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}{hint}")]
pub struct BindError {
    pub protocol: &'static str,
    pub address: SocketAddr,
    /// What the operator may make of it; found out at once, since whoever has a port may let it go.
    hint: String,
    #[source]
    pub source: io::Error,
}

/// How a socket shares its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nobody else may have the port: a second process is told so.
    No,
    /// Several sockets of this user have it and the kernel spreads over them (SO_REUSEPORT): one per thread, and an upgrade's overlap.
    Yes,
}

/// 4,096: what `net.core.somaxconn` allows by default since Linux 5.4.
pub const BACKLOG: i32 = 4_096;

impl BindError {
    pub fn new(protocol: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self { protocol, address, hint: hint(protocol, address, &source), source }
    }
}

/// A TCP listener, non-blocking, IPv6 addresses without IPv4 mapped into them.
pub fn tcp(address: SocketAddr, share: Share) -> Result<std::net::TcpListener, BindError> {
    let bind = || -> io::Result<_> {
        let socket = socket(address, Type::STREAM, Protocol::TCP, share)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| BindError::new("tcp", address, source))
}

/// A UDP socket, non-blocking, with a receive buffer of up to `receive_bytes` (what the kernel allows of it).
pub fn udp(address: SocketAddr, share: Share, receive_bytes: usize) -> Result<std::net::UdpSocket, BindError> {
    let bind = || -> io::Result<_> {
        let socket = socket(address, Type::DGRAM, Protocol::UDP, share)?;
        // Beyond net.core.rmem_max the kernel gives what it has: no reason to fail.
        let _ = socket.set_recv_buffer_size(receive_bytes);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind().map_err(|source| BindError::new("udp", address, source))
}

/// Lets another socket of this user bind an address that this one has as well, as one of all.
///
/// # Errors
/// What the kernel says, which knows of this option since Linux 3.9.
pub fn share(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_reuse_port(true)
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol, share: Share) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if share == Share::Yes {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

fn hint(protocol: &str, address: SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of(protocol, address) {
            Some(holder) => return format!(": {holder} has it"),
            None => ": another process has it",
        },
        io::ErrorKind::AddrNotAvailable => ": no interface has this address",
        io::ErrorKind::PermissionDenied => ": not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)",
        _ => "",
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_whoever_has_it() {
        let name = std::fs::read_to_string("/proc/self/comm").expect("a name");
        let us = format!("process {} ({}) has it", std::process::id(), name.trim());
        let first = tcp("127.0.0.1:0".parse().expect("address"), Share::No).expect("a free port");
        let address = first.local_addr().expect("bound");
        let error = tcp(address, Share::No).expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("cannot listen on tcp {address}: {us}"));
        let first = udp("[::1]:0".parse().expect("address"), Share::No, 0).expect("a free port");
        let address = SocketAddr::new("::".parse().expect("address"), first.local_addr().expect("bound").port());
        let error = udp(address, Share::No, 0).expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("cannot listen on udp {address}: {us}"));
    }
}
