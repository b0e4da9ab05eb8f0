//! One question to one upstream.
//!
//! Each question goes from a port and with an id of its own, both random, and only an answer that fits all of them is taken
//! (RFC 5452). Ours is EDNS with 1,232 octets, which no path fragments.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Transport;
use crate::server::chain::Request;
use crate::wire::message::Message;
use crate::wire::{MAX_TCP, MAX_UDP, OPT, flag, rcode, rtype};

/// The flag day's size (dnsflagday.net/2020).
const SIZE: u16 = 1_232;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("no answer in time")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the answer breaks the format")]
    Malformed,
}

impl ExchangeError {
    /// Whether the upstream, or the way to it, is at fault: not where this process is out of file descriptors or memory.
    pub(crate) fn is_theirs(&self) -> bool {
        let ours = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        !matches!(self, Self::Io(error) if error.raw_os_error().is_some_and(|code| ours.contains(&code)))
    }
}

pub(crate) async fn ask(upstream: SocketAddr, request: &Request, transport: Transport, limit: Duration) -> Result<Message, ExchangeError> {
    let tcp = match transport {
        Transport::Tcp => true,
        Transport::Udp => false,
        Transport::AsAsked => request.tcp,
    };
    let id = random_u16();
    let mut opt = vec![0; OPT];
    opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    opt[3..5].copy_from_slice(&SIZE.to_be_bytes());
    opt[7] = if request.dnssec_ok { 0x80 } else { 0 };
    for (code, data) in &request.options {
        // Both fit: the data comes from a Corefile's line.
        opt.extend(code.to_be_bytes());
        opt.extend((data.len() as u16).to_be_bytes());
        opt.extend(data);
    }
    let options = (opt.len() - OPT) as u16;
    opt[OPT - 2..OPT].copy_from_slice(&options.to_be_bytes());
    let flags = flag::RD | request.flags & flag::CD;
    let question = Message { id, flags, ..Message::answer(request.question.clone(), rcode::NOERROR) };
    let wire = question.encode(MAX_TCP, Some(&opt));
    let asked = |answer: &Message| {
        let (ours, theirs) = (&question.question, &answer.question);
        answer.id == id && answer.flags & flag::QR != 0 && ours.qtype == theirs.qtype && ours.name.folded() == theirs.name.folded()
    };
    let answer = async {
        // A client that came by UDP is told of the truncation and comes again by TCP; one that did not is spared that.
        let answer = if tcp { over_tcp(upstream, &wire).await? } else { over_udp(upstream, &wire, &asked).await? };
        if asked(&answer) { Ok(answer) } else { Err(ExchangeError::Malformed) }
    };
    timeout(limit, answer).await.unwrap_or(Err(ExchangeError::Silent))
}

/// Whether the upstream answers at all: CoreDNS's probe, the root's name servers.
pub(crate) async fn probe(upstream: SocketAddr, limit: Duration) -> bool {
    let id = random_u16();
    let question = crate::wire::message::Question { name: crate::name::Name::root(), qtype: rtype::NS, qclass: crate::wire::CLASS_IN };
    let wire = Message { id, flags: flag::RD, ..Message::answer(question, rcode::NOERROR) }.encode(MAX_TCP, None);
    let asked = |answer: &Message| answer.id == id;
    matches!(timeout(limit, over_udp(upstream, &wire, &asked)).await, Ok(Ok(_)))
}

async fn over_udp(upstream: SocketAddr, wire: &[u8], asked: &(dyn Fn(&Message) -> bool + Sync)) -> Result<Message, ExchangeError> {
    let any: SocketAddr = if upstream.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(wire).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not fit is somebody else's, or forged: the true answer may still come.
        match Message::parse(&buffer[..length]) {
            Some(answer) if asked(&answer) => return Ok(answer),
            _ => {}
        }
    }
}

async fn over_tcp(upstream: SocketAddr, wire: &[u8]) -> Result<Message, ExchangeError> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[&(wire.len() as u16).to_be_bytes()[..], wire].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Message::parse(&buffer).ok_or(ExchangeError::Malformed)
}

/// Keyed by the system and different at each call: what an id needs.
pub(crate) fn random_u16() -> u16 {
    RandomState::new().hash_one(0) as u16
}
