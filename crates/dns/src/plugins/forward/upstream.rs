//! One server that is asked, and whether it is well.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UdpSocket;
use tracing::warn;

use super::Options;
use super::hedge::Latency;
use super::idle::{Bounds, Idle};

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) label: String,
    /// Probes in a row that failed.
    fails: AtomicU32,
    pub(crate) latency: Latency,
    probing: AtomicBool,
    looping: AtomicBool,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) connections: Idle<Box<dyn Stream>>,
    pub(super) ports: Idle<UdpSocket>,
}

/// A connection of whatever transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connections that are kept for later, to one upstream, where the Corefile names no number.
const MAX_CONNECTIONS: usize = 32;
/// UDP sockets that are kept for later, to one upstream.
const MAX_PORTS: usize = 256;
/// A port that is used for ever is known in the end (RFC 5452 section 9.2). For so many questions in so short a time it is as good as a new
/// one, which costs as much as all the rest of a question.
const PORT_USES: u32 = 16;
const PORT_AGE: Duration = Duration::from_secs(2);

impl Upstream {
    pub(crate) fn new(address: SocketAddr, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self {
            address,
            label: address.to_string(),
            fails: AtomicU32::new(0),
            latency: Latency::default(),
            probing: AtomicBool::new(false),
            looping: AtomicBool::new(false),
            tls,
            connections: Idle::default(),
            ports: Idle::default(),
        }
    }

    pub(crate) fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// Gives what was known before.
    pub(crate) fn set_looping(&self, looping: bool) -> bool {
        self.looping.swap(looping, Ordering::Relaxed)
    }

    /// Whether the caller is to probe it: one does at a time.
    pub(crate) fn begin_probing(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// A probe was answered, and is the last.
    pub(crate) fn end_probing(&self) {
        self.fails.store(0, Ordering::Relaxed);
        self.probing.store(false, Ordering::Release);
    }

    /// A probe was not answered; gives how many in a row.
    pub(crate) fn failed_probe(&self) -> u32 {
        self.fails.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn is_healthy(&self, max_fails: u32) -> bool {
        max_fails == 0 || self.fails.load(Ordering::Relaxed) < max_fails
    }
}

/// How long connections serve, as the Corefile has it.
pub(super) fn connections(options: &Options) -> Bounds {
    let waiting = if options.max_idle_conns == 0 { MAX_CONNECTIONS } else { options.max_idle_conns };
    let age = if options.max_age.is_zero() { Duration::MAX } else { options.max_age };
    Bounds { waiting, unused: options.expire, age, uses: u32::MAX }
}

/// How long ports serve.
pub(super) fn ports(options: &Options) -> Bounds {
    Bounds { waiting: MAX_PORTS, unused: options.expire, age: PORT_AGE, uses: PORT_USES }
}

/// The servers that a resolv.conf names, without ourselves.
pub(crate) fn of_resolv_conf(path: &Path, ours: &[SocketAddr]) -> Vec<SocketAddr> {
    match std::fs::read_to_string(path) {
        Ok(text) => nameservers(&text, ours),
        Err(error) => {
            warn!(path = %path.display(), %error, "could not read upstreams");
            Vec::new()
        }
    }
}

pub(crate) fn nameservers(text: &str, ours: &[SocketAddr]) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        // A zone (`fe80::1%eth0`) cannot be asked without its link.
        words.next()?.parse::<IpAddr>().ok()
    });
    let is_ours = |address: &SocketAddr| {
        ours.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && address.ip().is_loopback();
            own.port() == address.port() && (own.ip() == address.ip() || everywhere)
        })
    };
    servers.map(|ip| SocketAddr::new(ip, 53)).filter(|address| !is_ours(address)).collect()
}
