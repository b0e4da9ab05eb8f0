//! One server that is asked, and whether it is well.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{info, warn};

use super::{Options, exchange};
use crate::server::metrics::Metrics;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) label: String,
    /// Failures in a row.
    fails: AtomicU32,
    probing: AtomicBool,
    looping: AtomicBool,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Connections that wait for the next question, and since when.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// A connection of whatever transport.
pub(crate) type Connection = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connections that are kept for later, to one upstream.
const MAX_IDLE: usize = 32;

/// A probe that takes longer has failed.
const PROBE: Duration = Duration::from_secs(1);

impl Upstream {
    pub(crate) fn new(address: SocketAddr, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self {
            address,
            label: address.to_string(),
            fails: AtomicU32::new(0),
            probing: AtomicBool::new(false),
            looping: AtomicBool::new(false),
            tls,
            idle: Mutex::default(),
        }
    }

    /// A connection that was used before, not longer than `expire` ago.
    pub(crate) fn idle(&self, expire: Duration) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < expire);
        idle.pop().map(|(connection, _)| connection)
    }

    pub(crate) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push((connection, Instant::now()));
        }
    }

    pub(crate) fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// Gives what was known before.
    pub(crate) fn set_looping(&self, looping: bool) -> bool {
        self.looping.swap(looping, Ordering::Relaxed)
    }

    pub(crate) fn is_healthy(&self, max_fails: u32) -> bool {
        max_fails == 0 || self.fails.load(Ordering::Relaxed) < max_fails
    }

    pub(crate) fn answered(&self) {
        self.fails.store(0, Ordering::Relaxed);
    }
}

/// Counts a failure; from then on the upstream is probed until it answers.
pub(crate) fn failed(upstream: &Arc<Upstream>, options: &Options, metrics: &Arc<Metrics>) {
    let fails = upstream.fails.fetch_add(1, Ordering::Relaxed) + 1;
    if fails == options.max_fails {
        warn!(upstream = %upstream.address, fails, "an upstream is left out until it answers a probe");
    }
    if upstream.probing.swap(true, Ordering::AcqRel) {
        return;
    }
    let (weak, options, metrics) = (Arc::downgrade(upstream), options.clone(), metrics.clone());
    let (every, max_fails) = (options.health_check, options.max_fails);
    tokio::spawn(async move {
        // Ends with the configuration that names the upstream.
        while let Some(upstream) = weak.upgrade() {
            if exchange::probe(&upstream, &options, PROBE, &metrics).await {
                if !upstream.is_healthy(max_fails) {
                    info!(upstream = %upstream.address, "an upstream answers again");
                }
                upstream.answered();
                upstream.probing.store(false, Ordering::Release);
                return;
            }
            metrics.healthcheck_failures.with_label_values(&["forward", &upstream.label]).inc();
            upstream.fails.fetch_add(1, Ordering::Relaxed);
            drop(upstream);
            tokio::time::sleep(every).await;
        }
    });
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
