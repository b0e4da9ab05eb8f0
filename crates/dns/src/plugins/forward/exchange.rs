//! One question to one upstream.
//!
//! Each question goes from a port that nothing else uses meanwhile and with an id of its own, both random, and only an answer that fits all of
//! them is taken (RFC 5452). Ours is EDNS with 1,232 octets, which no path fragments. A server older than EDNS is asked again without.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::idle::Lent;
use super::upstream::{self, Stream, Upstream};
use super::{Options, Transport};
use crate::server::chain::Request;
use crate::server::metrics::Metrics;
use crate::wire::message::{Message, Question};
use crate::wire::{self, CLASS_IN, HEADER, MAX_TCP, MAX_UDP, OPT, flag, rcode, rtype, u16_at};

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

    /// As Go tells it, which is what the patterns of `errors` are written for.
    pub(crate) fn told(&self, upstream: SocketAddr, stream: bool) -> String {
        let net = if stream { "tcp" } else { "udp" };
        match self {
            Self::Silent => format!("read {net} {upstream}: i/o timeout"),
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused && stream => {
                format!("dial tcp {upstream}: connect: connection refused")
            }
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => format!("read udp {upstream}: read: connection refused"),
            Self::Io(error) => format!("read {net} {upstream}: {error}"),
            Self::Malformed => format!("read {net} {upstream}: {self}"),
        }
    }
}

/// A question as it is put on the wire.
struct Asked {
    id: u16,
    question: Question,
    wire: Vec<u8>,
}

/// # Errors
/// If no answer came within `limit`; whose fault that is, the error says.
pub(crate) async fn ask(
    upstream: &Upstream,
    request: &Request,
    options: &Options,
    limit: Duration,
    metrics: &Metrics,
) -> Result<Message, ExchangeError> {
    let flags = flag::RD | request.flags & flag::CD;
    let usual = opt(request, SIZE);
    let asked = |opt: Option<&[u8]>| Asked::new(request.question.clone(), flags, opt);
    let answer = async {
        let stream = by_stream(upstream, options, request.tcp);
        let mut with = Some(&usual[..]);
        let mut answer = put(upstream, &asked(with), stream, options, metrics).await?;
        if answer.rcode == rcode::FORMERR && request.options.is_empty() && !request.dnssec_ok {
            // RFC 6891 section 7: it does not know what an OPT record is.
            with = None;
            answer = put(upstream, &asked(with), stream, options, metrics).await?;
        }
        let by_tcp = options.transport == Transport::Udp;
        let takes_more = with.is_some() && room(request) > SIZE;
        // Else a client that came by UDP is told, and comes again by TCP.
        if answer.flags & flag::TC != 0 && !stream && (by_tcp || takes_more) {
            let larger = opt(request, room(request));
            let with = if by_tcp { with } else { Some(&larger[..]) };
            // Half of the time: a part is better than nothing where TCP, or a fragment, is barred.
            let whole = timeout(limit / 2, put(upstream, &asked(with), by_tcp, options, metrics)).await;
            if let Ok(Ok(whole)) = whole {
                answer = whole;
            }
        }
        Ok(answer)
    };
    timeout(limit, answer).await.unwrap_or(Err(ExchangeError::Silent))
}

/// As much as the client takes by UDP, but no less than is asked for in any case: what was cut for us need not be for it.
pub(super) fn room(request: &Request) -> u16 {
    request.limit.clamp(usize::from(SIZE), MAX_UDP) as u16
}

/// Whether the upstream answers at all: CoreDNS's probe, by default for the root's name servers, on the way that questions take.
pub(crate) async fn probe(upstream: &Upstream, options: &Options, limit: Duration, metrics: &Metrics) -> bool {
    let (name, recursion) = &options.probe;
    let question = Question { name: name.clone(), qtype: rtype::NS, qclass: CLASS_IN };
    let asked = Asked::new(question, if *recursion { flag::RD } else { 0 }, None);
    let answer = put(upstream, &asked, by_stream(upstream, options, false), options, metrics);
    matches!(timeout(limit, answer).await, Ok(Ok(_)))
}

pub(crate) fn by_stream(upstream: &Upstream, options: &Options, asked_by_tcp: bool) -> bool {
    upstream.tls.is_some()
        || match options.transport {
            Transport::Tcp => true,
            Transport::Udp => false,
            Transport::AsAsked => asked_by_tcp,
        }
}

/// Our OPT record, with the options that rules add.
fn opt(request: &Request, size: u16) -> Vec<u8> {
    let mut opt = vec![0; OPT];
    opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    opt[3..5].copy_from_slice(&size.to_be_bytes());
    opt[7] = if request.dnssec_ok { 0x80 } else { 0 };
    for (code, data) in &request.options {
        // Both fit: the data comes from a Corefile's line.
        opt.extend(code.to_be_bytes());
        opt.extend((data.len() as u16).to_be_bytes());
        opt.extend(data);
    }
    let length = (opt.len() - OPT) as u16;
    opt[OPT - 2..OPT].copy_from_slice(&length.to_be_bytes());
    opt
}

impl Asked {
    fn new(question: Question, flags: u16, opt: Option<&[u8]>) -> Self {
        let id = random_u16();
        let message = Message { id, flags, ..Message::answer(question, rcode::NOERROR) };
        let wire = message.encode(MAX_TCP, opt);
        Self { id, question: message.question, wire }
    }

    /// The answer in `bytes`, if it is one to this very question.
    fn answer_in(&self, bytes: &[u8]) -> Option<Message> {
        // Who cannot read a question may leave it out.
        if bytes.len() == HEADER && u16_at(bytes, 4) == 0 && u16_at(bytes, 2) & 15 == u16::from(rcode::FORMERR) {
            let flags = u16_at(bytes, 2) & !15;
            let ours = u16_at(bytes, 0) == self.id && flags & flag::QR != 0;
            return ours.then(|| Message { flags, ..Message::answer(self.question.clone(), rcode::FORMERR) });
        }
        let answer = Message::parse(bytes)?;
        let (ours, theirs) = (&self.question, &answer.question);
        let fits = answer.id == self.id
            && answer.flags & flag::QR != 0
            && (ours.qtype, ours.qclass) == (theirs.qtype, theirs.qclass)
            && ours.name.folded() == theirs.name.folded();
        fits.then_some(answer)
    }
}

async fn put(upstream: &Upstream, asked: &Asked, stream: bool, options: &Options, metrics: &Metrics) -> Result<Message, ExchangeError> {
    if stream {
        // Boxed, so that who asks by UDP need not have room for it.
        Box::pin(over_stream(upstream, asked, options, metrics)).await
    } else {
        over_udp(upstream, asked, options, metrics).await
    }
}

/// From a socket that was used before, if there is one: the way to the upstream may be another by now, so that it cannot send says nothing.
async fn over_udp(upstream: &Upstream, asked: &Asked, options: &Options, metrics: &Metrics) -> Result<Message, ExchangeError> {
    let bounds = upstream::ports(options);
    let labels = ["forward", &upstream.label, "udp"];
    let sent = match upstream.ports.take(&bounds) {
        Some(port) => port.channel.send(&asked.wire).await.ok().map(|_| port),
        None => None,
    };
    let port = match sent {
        Some(port) => {
            metrics.conn_hits.with_label_values(&labels).inc();
            port
        }
        None => {
            metrics.conn_misses.with_label_values(&labels).inc();
            Lent::new(send_from_new(upstream.address, asked, options)?)
        }
    };
    loop {
        port.channel.readable().await?;
        // What does not fit is an older question's, somebody else's, or forged: the true answer may still come.
        match receive(&port.channel, |bytes| asked.answer_in(bytes)) {
            Ok(Some(answer)) => {
                upstream.ports.keep(port, &bounds);
                return Ok(answer);
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What `read` makes of the next datagram.
fn receive<T>(socket: &UdpSocket, read: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    wire::with_room(|room| socket.try_recv(room).map(|length| read(&room[..length])))
}

/// Sends from a new socket before the runtime knows of it: nothing has to be waited for.
fn send_from_new(upstream: SocketAddr, asked: &Asked, options: &Options) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(source(upstream, options))?;
    socket.connect(upstream)?;
    socket.set_nonblocking(true)?;
    socket.send(&asked.wire)?;
    UdpSocket::from_std(socket)
}

/// Where questions leave from: a port that nobody knows before, of the address that the Corefile names.
fn source(upstream: SocketAddr, options: &Options) -> SocketAddr {
    let any = if upstream.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let own = options.source_address.filter(|own| own.is_ipv4() == upstream.is_ipv4());
    SocketAddr::new(own.unwrap_or(any), 0)
}

/// By TCP or TLS, on a connection that was used before if there is one: the upstream may have closed it meanwhile, so a failure on one
/// of those says nothing.
async fn over_stream(upstream: &Upstream, asked: &Asked, options: &Options, metrics: &Metrics) -> Result<Message, ExchangeError> {
    let protocol = if upstream.tls.is_some() { "tcp-tls" } else { "tcp" };
    let labels = ["forward", &upstream.label, protocol];
    let bounds = upstream::connections(options);
    while let Some(mut connection) = upstream.connections.take(&bounds) {
        metrics.conn_hits.with_label_values(&labels).inc();
        if let Ok(answer) = converse(&mut connection.channel, asked).await {
            upstream.connections.keep(connection, &bounds);
            return Ok(answer);
        }
    }
    metrics.conn_misses.with_label_values(&labels).inc();
    let socket = if upstream.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if options.source_address.is_some() {
        socket.bind(source(upstream.address, options))?;
    }
    let stream = socket.connect(upstream.address).await?;
    stream.set_nodelay(true)?;
    let mut stream: Box<dyn Stream> = match &upstream.tls {
        None => Box::new(stream),
        Some((config, name)) => Box::new(TlsConnector::from(config.clone()).connect(name.clone(), stream).await?),
    };
    let answer = converse(&mut stream, asked).await?;
    upstream.connections.keep(Lent::new(stream), &bounds);
    Ok(answer)
}

async fn converse(stream: &mut Box<dyn Stream>, asked: &Asked) -> Result<Message, ExchangeError> {
    stream.write_all(&[&(asked.wire.len() as u16).to_be_bytes()[..], &asked.wire].concat()).await?;
    stream.flush().await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    asked.answer_in(&buffer).ok_or(ExchangeError::Malformed)
}

/// Keyed by the system and different at each call: what an id needs.
pub(crate) fn random_u16() -> u16 {
    RandomState::new().hash_one(0) as u16
}
