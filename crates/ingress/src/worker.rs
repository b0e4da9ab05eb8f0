//! Workers: one thread per core that accepts, serves and drains by itself.
//!
//! Owns the core's life and what it holds for itself ([`Core`]); what all cores share is [`Shared`]. Must not know what a request is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::{Revision, Text};
use runtime::{Drain, Registry};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::access_log::Log;
use crate::config::{AccessLog, Config};
use crate::listen::{Listening, Scheme};
use crate::metrics::{Counters, Metrics};
use crate::table::Table;
use crate::upstream::Upstream;
use crate::upstream::pool::Pool;
use crate::{downstream, tls};

/// What every core reads.
pub(crate) struct Shared {
    pub table: ArcSwap<Table>,
    pub config: Config,
    pub metrics: Metrics,
    pub log: Option<Log>,
}

/// What one core holds for itself. Nothing of it is ever touched by another.
pub(crate) struct Core {
    pub shared: Arc<Shared>,
    pub pool: Pool,
    pub upstream_tls: TlsConnector,
    /// By host and port.
    pub auth_servers: RefCell<HashMap<(Text, u16), Rc<Upstream>>>,
    pub counters: Counters,
    pub connections: Connections,
    random: Cell<u64>,
}

/// The connections that live on this core, so that draining can wake them.
#[derive(Default)]
pub(crate) struct Connections {
    draining: Cell<bool>,
    next: Cell<u64>,
    wakers: RefCell<HashMap<u64, Option<Waker>>>,
    left: Notify,
}

/// One living connection; dropping it says that it is gone.
pub(crate) struct Membership {
    core: Rc<Core>,
    id: u64,
}

/// How often idle upstream connections are looked over.
const SWEEP: Duration = Duration::from_secs(5);

/// How long accepting rests when the process has no descriptor left: connections that end give some back.
const NO_DESCRIPTOR: Duration = Duration::from_millis(10);

// === impl Shared ===

impl Shared {
    pub(crate) fn new(config: Config, own_certificate: Arc<CertifiedKey>, registry: &Registry, drain: Drain) -> io::Result<Self> {
        let metrics = Metrics::new(registry);
        let log = match config.access_log {
            AccessLog::Off => None,
            AccessLog::Stdout => Some(Log::start(metrics.dropped_log_lines.clone(), drain)?),
        };
        Ok(Self { table: ArcSwap::from_pointee(Table::new(own_certificate)), config, metrics, log })
    }
}

// === impl Core ===

impl Core {
    fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Self {
            pool: Pool::new(config.limits.idle_upstream, config.timeouts.idle_upstream),
            upstream_tls: tls::upstream_connector(),
            auth_servers: RefCell::default(),
            counters: Counters::new(shared.metrics.clone()),
            connections: Connections::default(),
            // The system seeds each `RandomState`; the lowest bit keeps the state from being zero.
            random: Cell::new(RandomState::new().hash_one(0) | 1),
            shared,
        }
    }

    /// Counts something that lives beyond its connection (a tunnel) among the connections.
    pub(crate) fn member(self: &Rc<Self>) -> Membership {
        Membership::new(self)
    }

    /// The next number of a sequence that differs on each core and at each start. For spreading and for IDs, never for secrets.
    ///
    /// Source: Sebastiano Vigna, "splitmix64".
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

// === impl Connections ===

impl Connections {
    pub(crate) fn are_draining(&self) -> bool {
        self.draining.get()
    }

    fn len(&self) -> usize {
        self.wakers.borrow().len()
    }

    fn drain(&self) {
        self.draining.set(true);
        for waker in self.wakers.borrow().values().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Waits until fewer than `n` are left.
    async fn fewer_than(&self, n: usize) {
        while self.len() >= n {
            self.left.notified().await;
        }
    }
}

// === impl Membership ===

impl Membership {
    fn new(core: &Rc<Core>) -> Self {
        let connections = &core.connections;
        let id = connections.next.replace(connections.next.get() + 1);
        connections.wakers.borrow_mut().insert(id, None);
        core.shared.metrics.connections.inc();
        Self { core: core.clone(), id }
    }

    /// From now on draining wakes this task.
    pub(crate) fn wake_on_drain(&self, waker: &Waker) {
        self.core.connections.wakers.borrow_mut().insert(self.id, Some(waker.clone()));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.core.connections.wakers.borrow_mut().remove(&self.id);
        self.core.connections.left.notify_waiters();
        self.core.shared.metrics.connections.dec();
    }
}

/// Starts the thread of one core. It holds `drain` until its last connection is gone.
pub(crate) fn spawn(
    core: usize,
    listeners: Vec<Listening>,
    shared: Arc<Shared>,
    applied: watch::Receiver<Option<Revision>>,
    drain: Drain,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("ingress-{core}")).spawn(move || {
        let core = Rc::new(Core::new(shared));
        LocalSet::new().block_on(&runtime, run(core, listeners, applied, drain));
    })?;
    Ok(())
}

async fn run(core: Rc<Core>, listeners: Vec<Listening>, mut applied: watch::Receiver<Option<Revision>>, drain: Drain) {
    // Nobody is let in before there are routes; the backlog holds them until then.
    tokio::select! {
        biased;
        there = applied.wait_for(Option::is_some) => if there.is_err() { return },
        () = drain.started() => return,
    }
    let acceptor = TlsAcceptor::from(tls::server_config(core.shared.clone()));
    let mut accepting = tokio::task::JoinSet::new();
    for Listening { socket, scheme } in listeners {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                let acceptor = (scheme == Scheme::Https).then(|| acceptor.clone());
                accepting.spawn_local(accept(core.clone(), listener, acceptor, drain.clone()));
            }
            Err(error) => tracing::error!(%error, "a listener is lost"),
        }
    }
    let sweeping = tokio::task::spawn_local({
        let core = core.clone();
        async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                core.pool.sweep();
            }
        }
    });
    drain.started().await;
    // Told before the listeners close: whoever finds them closed finds every answer say so too.
    core.connections.drain();
    while accepting.join_next().await.is_some() {}
    if tokio::time::timeout(core.shared.config.timeouts.drain, core.connections.fewer_than(1)).await.is_err() {
        tracing::warn!(connections = core.connections.len(), "cut connections that did not end in time");
    }
    sweeping.abort();
    core.pool.clear();
}

/// Accepts until draining starts; then takes what the backlog still holds, since closing would reset it.
async fn accept(core: Rc<Core>, listener: TcpListener, acceptor: Option<TlsAcceptor>, drain: Drain) {
    let max = core.shared.config.limits.connections;
    let draining = drain.started();
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = async {
                core.connections.fewer_than(max).await;
                listener.accept().await
            } => accepted,
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                core.shared.metrics.accepted.inc();
                serve(&core, stream, peer, acceptor.clone());
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    } // The kernel knows what waits; tokio learns of it only when it next asks.
    let Ok(listener) = listener.into_std() else { return };
    while core.connections.len() < max
        && let Ok((stream, peer)) = listener.accept()
    {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            core.shared.metrics.accepted.inc();
            serve(&core, stream, peer, acceptor.clone());
        }
    }
}

fn serve(core: &Rc<Core>, stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>) {
    let membership = Membership::new(core);
    core.shared.metrics.handled.inc();
    tokio::task::spawn_local(downstream::serve(core.clone(), membership, stream, peer, acceptor));
}

/// The connection was gone before it was accepted (accept(2)).
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}
