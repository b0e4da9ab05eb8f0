//! `health [ADDRESS]`: `/health` answers 200 as long as the process serves; with `lameduck` it goes on serving that long after it
//! was told to stop, so that everyone who still sends here gets answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::config::directive::{Directive, Mistakes};
use crate::server::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub address: SocketAddr,
    pub lameduck: Duration,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut lameduck = Duration::ZERO;
    for property in &directive.body {
        match property.name.as_str() {
            "lameduck" => lameduck = property.duration(mistakes).unwrap_or_default(),
            _ => mistakes.unknown(property, "health", &["lameduck"]),
        }
    }
    Some(Options { address: listen_address(directive, 8080, mistakes)?, lameduck })
}

/// Asks the own page once a second, as CoreDNS does: how long that takes shows how loaded the process is.
pub(crate) async fn probe(address: SocketAddr, metrics: Arc<Metrics>, drain: Drain) {
    let target = match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
    };
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = drain.started() => return,
        }
        let started = Instant::now();
        match tokio::time::timeout(Duration::from_secs(5), ask(target)).await {
            Ok(Ok(())) => metrics.health_duration.observe(started.elapsed().as_secs_f64()),
            _ => metrics.health_failures.inc(),
        }
    }
}

async fn ask(target: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if status.ends_with(b" 200") { Ok(()) } else { Err(io::Error::other("not well")) }
}

/// The address of a status listener: `:PORT`, `HOST:PORT` or, without an argument, `default_port` on all addresses.
pub(crate) fn listen_address(directive: &Directive, default_port: u16, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let text = match directive.args.as_slice() {
        [] => return Some(SocketAddr::new(everywhere, default_port)),
        [text] => text,
        _ => {
            mistakes.add(directive.line, format!("`{}` takes one address", directive.name));
            return None;
        }
    };
    let parsed = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(everywhere, port)),
        None => text.replace("localhost:", "127.0.0.1:").parse().ok(),
    };
    if parsed.is_none() {
        mistakes.add(directive.line, format!("`{} {text}`: not an address such as :{default_port}", directive.name));
    }
    parsed
}
