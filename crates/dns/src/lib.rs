//! Answering: the cluster's names, and on behalf of others the rest of the world's.
//!
//! Owns the Corefile, the records made from a NameView, the cache, forwarding and the listeners. Hands on nothing but answers and
//! counts. Must not know Kubernetes objects on the wire, watches, or kernel rules.
//!
//! ```text
//!             ┌─ UDP thread: parse, route, one look-up, write ──────────────► reply     (cluster names, cache hits)
//! datagram ───┤
//!             └─ everything else ─► task ─► plugin ─► plugin ─► ... ────────► reply     (aliases, forwarding, transfers, TCP)
//!
//! NameView ──► follow: what changed ──► snapshot (immutable, swapped) ◄── read by both
//! ```

pub mod config;
mod name;
pub mod plugins;
mod server;
pub mod trace;
mod wire;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use model::{NameView, Revision};
use runtime::listen::{self, BindError, Share};
use runtime::{Drain, Readiness, Registry};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::Corefile;
pub use crate::name::{Name, NameError};
use crate::plugins::Spec;
use crate::plugins::cache::Store;
use crate::plugins::kubernetes::Follower;
use crate::server::build::{self, Parts};
use crate::server::metrics::Metrics;
use crate::server::{Routes, slow, status, tcp, udp};

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Config {
    pub corefile: Corefile,
    /// `--listen`: in place of the ports and `bind` addresses of every block.
    pub listen: Vec<SocketAddr>,
}

/// A server that runs until its drain starts.
pub struct Running {
    /// The DNS addresses that were bound, ports filled in.
    pub listening: Vec<SocketAddr>,
    /// Those of `/health`, `/ready` and `/metrics`.
    pub status: Vec<SocketAddr>,
    /// Pending until the first names are in force.
    pub readiness: Readiness,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// UDP threads of one address at the most; more cores are others' to use.
const MAX_THREADS: usize = 16;

/// One address with its sockets.
struct Listener {
    address: SocketAddr,
    /// As it was asked for, port 0 and all: the key of what it serves.
    wanted: SocketAddr,
    routes: Routes,
    udp: Vec<Arc<UdpSocket>>,
    tcp: TcpListener,
}

/// Binds everything, then answers as soon as the first names are known (or the Corefile's `startup_timeout` has passed). Must be
/// called in a tokio runtime.
///
/// `names` gives the views; one of revision 0 says that nothing is known yet. `applied` gives the revision that a proxy in this
/// process has put into the kernel: new ClusterIP names wait for it. A `drain` that starts lets the Corefile's `lameduck` pass, then
/// what was asked is answered, then the listeners close.
///
/// # Errors
/// An address that cannot be bound, by name; nothing runs then.
pub fn start(
    config: Config,
    names: watch::Receiver<Arc<NameView>>,
    applied: Option<watch::Receiver<Revision>>,
    drain: Drain,
    registry: Registry,
) -> Result<Running, Error> {
    let Config { corefile, listen } = config;
    let metrics = Metrics::new(&registry);
    let wanted = build::addresses(&corefile, &listen);
    let mut listeners = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    for address in wanted.keys() {
        match bind(*address, threads) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 still has all of IPv4.
            Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_missing_family(&error) => {
                info!(%address, "this machine has no IPv6");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let parts = Parts {
        metrics: metrics.clone(),
        store: Arc::new(Store::new()),
        local: build::local_addresses(listeners.iter().map(|listener| listener.address)),
        listen: listeners.iter().map(|listener| listener.address).collect(),
        live: true,
    };
    let (blocks, followed) = build::blocks(&corefile, &parts);
    for (listener, on) in listeners.iter().filter_map(|listener| Some((listener, wanted.get(&listener.wanted)?))) {
        let routes = build::routes(&corefile, &blocks, on, listener.wanted, !listen.is_empty());
        listener.routes.store(Arc::new(routes));
    }
    let readiness = Readiness::default();
    let plugins = || corefile.blocks.iter().flat_map(|block| &block.plugins);
    let status = status::start(plugins(), &readiness, &registry, &drain)?;
    let mut patience = Duration::ZERO;
    for followed in followed {
        patience = patience.max(followed.options.startup_timeout);
        let ready = Some(readiness.register("kubernetes"));
        let (names, applied) = (names.clone(), applied.clone());
        tokio::spawn(
            Follower { options: followed.options, current: followed.current, names, applied, metrics: metrics.clone(), ready }.run(),
        );
    }
    let lameduck = plugins().map(|plugin| if let Spec::Health(health) = plugin { health.lameduck } else { Duration::ZERO }).max();
    let listening = listeners.iter().map(|listener| listener.address).collect();
    tokio::spawn(serve(listeners, readiness.clone(), patience, lameduck.unwrap_or_default(), metrics, drain));
    Ok(Running { listening, status, readiness })
}

fn bind(wanted: SocketAddr, threads: usize) -> Result<Listener, BindError> {
    // TCP alone tells of another server on the port: UDP is shared among our threads, and an upgrade's old and new process share both.
    let failed = |protocol, source| BindError { protocol, address: wanted, source };
    let tcp = listen::tcp(wanted, Share::No)?;
    // Port 0 is one port for both protocols.
    let address = tcp.local_addr().map_err(|error| failed("tcp", error))?;
    let mut sockets = Vec::new();
    for n in 0..threads {
        if n == 0 {
            // Taken alone first: a stranger's socket on this port is told of here, and not shared with.
            drop(listen::udp(address, Share::No, 0)?);
        }
        let socket = listen::udp(address, Share::Yes, udp::RECEIVE_BUFFER)?;
        kernel::udp::grow_receive_buffer(&socket, udp::RECEIVE_BUFFER);
        socket.set_nonblocking(false).map_err(|error| failed("udp", error))?;
        if address.ip().is_unspecified() {
            kernel::udp::tell_local_address(&socket).map_err(|error| failed("udp", error))?;
        }
        sockets.push(Arc::new(socket));
    }
    let tcp = TcpListener::from_std(tcp).map_err(|error| failed("tcp", error))?;
    Ok(Listener { address, wanted, routes: Arc::new(ArcSwap::from_pointee(Vec::new())), udp: sockets, tcp })
}

fn is_missing_family(error: &BindError) -> bool {
    error.source.raw_os_error() == Some(libc::EAFNOSUPPORT) || error.source.kind() == io::ErrorKind::AddrNotAvailable
}

/// Runs the listeners: from the first names on, to the end of the drain.
async fn serve(
    listeners: Vec<Listener>,
    readiness: Readiness,
    patience: Duration,
    lameduck: Duration,
    metrics: Arc<Metrics>,
    drain: Drain,
) {
    // Queries that come before that wait in the sockets, and are then answered instead of denied.
    tokio::select! {
        waited = tokio::time::timeout(patience, readiness.wait()) => {
            if waited.is_err() {
                warn!(?patience, "answering before the cluster's names are known");
            }
        }
        () = drain.started() => return,
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let (later, jobs) = mpsc::channel(slow::MAX_WAITING);
    let slow = tokio::spawn(slow::run(jobs, metrics.clone()));
    // TCP goes on accepting through the lame-duck time, so it has a drain of its own.
    let (stop, stopping) = runtime::drain::channel();
    let mut threads = Vec::new();
    let mut sockets = Vec::new();
    for listener in listeners {
        for socket in listener.udp {
            let work = udp::Loop {
                socket: socket.clone(),
                routes: listener.routes.clone(),
                later: later.clone(),
                metrics: metrics.clone(),
                stopped: stopped.clone(),
            };
            match std::thread::Builder::new().name("dns-udp".to_owned()).spawn(move || work.run()) {
                Ok(thread) => threads.push(thread),
                Err(error) => warn!(address = %listener.address, %error, "could not start a thread: one core less answers"),
            }
            sockets.push(socket);
        }
        tokio::spawn(tcp::serve(listener.tcp, listener.routes, metrics.clone(), stopping.clone()));
    }
    drop((later, stopping));
    drain.started().await;
    tokio::time::sleep(lameduck).await;
    stopped.store(true, Ordering::Release);
    sockets.iter().for_each(|socket| kernel::udp::wake(socket));
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
    let _ = joined.await;
    stop.drain().await;
    // With the threads gone nobody sends jobs any more.
    let _ = slow.await;
}
