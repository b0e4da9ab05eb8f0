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
use tokio_rustls::TlsConnector;

use super::upstream::{Connection, Upstream};
use super::{Options, Transport};
use crate::server::chain::Request;
use crate::server::metrics::Metrics;
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

pub(crate) async fn ask(
    upstream: &Upstream,
    request: &Request,
    options: &Options,
    limit: Duration,
    metrics: &Metrics,
) -> Result<Message, ExchangeError> {
    let stream = upstream.tls.is_some()
        || match options.transport {
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
    let opt_length = (opt.len() - OPT) as u16;
    opt[OPT - 2..OPT].copy_from_slice(&opt_length.to_be_bytes());
    let flags = flag::RD | request.flags & flag::CD;
    let question = Message { id, flags, ..Message::answer(request.question.clone(), rcode::NOERROR) };
    let wire = question.encode(MAX_TCP, Some(&opt));
    let asked = |answer: &Message| {
        let (ours, theirs) = (&question.question, &answer.question);
        answer.id == id && answer.flags & flag::QR != 0 && ours.qtype == theirs.qtype && ours.name.folded() == theirs.name.folded()
    };
    let answer = async {
        // A client that came by UDP is told of the truncation and comes again by TCP; one that did not is spared that.
        let answer = if stream {
            over_stream(upstream, &wire, options.expire, metrics).await?
        } else {
            over_udp(upstream.address, &wire, &asked).await?
        };
        if asked(&answer) { Ok(answer) } else { Err(ExchangeError::Malformed) }
    };
    timeout(limit, answer).await.unwrap_or(Err(ExchangeError::Silent))
}

/// Whether the upstream answers at all: CoreDNS's probe, by default for the root's name servers.
pub(crate) async fn probe(upstream: &Upstream, options: &Options, limit: Duration, metrics: &Metrics) -> bool {
    let id = random_u16();
    let (name, recursion) = &options.probe;
    let question = crate::wire::message::Question { name: name.clone(), qtype: rtype::NS, qclass: crate::wire::CLASS_IN };
    let flags = if *recursion { flag::RD } else { 0 };
    let wire = Message { id, flags, ..Message::answer(question, rcode::NOERROR) }.encode(MAX_TCP, None);
    let asked = |answer: &Message| answer.id == id;
    let answer = async {
        match upstream.tls {
            Some(_) => over_stream(upstream, &wire, options.expire, metrics).await,
            None => over_udp(upstream.address, &wire, &asked).await,
        }
    };
    matches!(timeout(limit, answer).await, Ok(Ok(answer)) if asked(&answer))
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

/// By TCP or TLS, on a connection that was used before if there is one: the upstream may have closed it meanwhile, so a failure on one
/// of those says nothing.
async fn over_stream(upstream: &Upstream, wire: &[u8], expire: Duration, metrics: &Metrics) -> Result<Message, ExchangeError> {
    let protocol = if upstream.tls.is_some() { "tcp-tls" } else { "tcp" };
    let labels = ["forward", &upstream.label, protocol];
    while let Some(mut connection) = upstream.idle(expire) {
        metrics.conn_hits.with_label_values(&labels).inc();
        if let Ok(answer) = converse(&mut connection, wire).await {
            upstream.keep(connection);
            return Ok(answer);
        }
    }
    metrics.conn_misses.with_label_values(&labels).inc();
    let stream = TcpStream::connect(upstream.address).await?;
    stream.set_nodelay(true)?;
    let mut connection: Connection = match &upstream.tls {
        None => Box::new(stream),
        Some((config, name)) => Box::new(TlsConnector::from(config.clone()).connect(name.clone(), stream).await?),
    };
    let answer = converse(&mut connection, wire).await?;
    upstream.keep(connection);
    Ok(answer)
}

async fn converse(connection: &mut Connection, wire: &[u8]) -> Result<Message, ExchangeError> {
    connection.write_all(&[&(wire.len() as u16).to_be_bytes()[..], wire].concat()).await?;
    connection.flush().await?;
    let mut buffer = vec![0; usize::from(connection.read_u16().await?)];
    connection.read_exact(&mut buffer).await?;
    Message::parse(&buffer).ok_or(ExchangeError::Malformed)
}

/// Keyed by the system and different at each call: what an id needs.
pub(crate) fn random_u16() -> u16 {
    RandomState::new().hash_one(0) as u16
}
