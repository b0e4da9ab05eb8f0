//! Listeners: every address once for each core.

use std::net::{SocketAddr, TcpListener};

use runtime::listen::{BindError, Share, tcp};

use crate::{Config, Error};

pub(crate) struct Bound {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub per_core: Vec<Vec<Listening>>,
}

pub(crate) struct Listening {
    pub socket: TcpListener,
    pub scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

// === impl Scheme ===

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Binds each address `threads` times with SO_REUSEPORT: the kernel spreads connections over the cores.
pub(crate) fn bind(config: &Config) -> Result<Bound, Error> {
    let threads = config.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, Into::into);
    let mut bound = Bound { http: Vec::new(), https: Vec::new(), per_core: (0..threads).map(|_| Vec::new()).collect() };
    for (scheme, flag, addresses) in [(Scheme::Http, "--http-port", &config.http), (Scheme::Https, "--https-port", &config.https)] {
        for &address in addresses {
            let sockets = bind_shared(address, threads, config.share_ports).map_err(|source| Error::Bind { flag, source })?;
            let local = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
            match scheme {
                Scheme::Http => bound.http.push(local),
                Scheme::Https => bound.https.push(local),
            }
            for (core, socket) in bound.per_core.iter_mut().zip(sockets) {
                core.push(Listening { socket, scheme });
            }
        }
    }
    Ok(bound)
}

/// A port of 0 is chosen with the first socket; the others share it.
fn bind_shared(address: SocketAddr, n: usize, share_with_others: bool) -> Result<Vec<TcpListener>, BindError> {
    if !share_with_others && address.port() != 0 {
        // SO_REUSEPORT would take every other connection away from a process that shares too: ask alone first.
        drop(tcp(address, Share::No)?);
    }
    let mut sockets = vec![tcp(address, Share::Yes)?];
    let local = sockets[0].local_addr().map_err(|source| BindError::new("tcp", address, source))?;
    while sockets.len() < n {
        sockets.push(tcp(local, Share::Yes)?);
    }
    Ok(sockets)
}
