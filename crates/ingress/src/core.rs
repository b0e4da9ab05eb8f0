//! What a core has while it serves: what it shares with the others ([`Shared`]) and what it holds for itself ([`Core`]).
//!
//! Owns the memory of a core and the count of its connections. Must not know who accepts, nor what a request is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use arc_swap::ArcSwap;
use model::Text;
use runtime::{Drain, Registry};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use crate::access_log::Log;
use crate::config::{AccessLog, Config};
use crate::metrics::{Counters, Metrics};
use crate::table::Table;
use crate::upstream::pool::Pool;
use crate::upstream::{Upstream, connection};

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
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Self {
            pool: Pool::new(config.limits.idle_upstream, config.timeouts.idle_upstream),
            upstream_tls: connection::tls_connector(),
            auth_servers: RefCell::default(),
            counters: Counters::new(shared.metrics.clone()),
            connections: Connections::default(),
            // The system seeds each `RandomState`; the lowest bit keeps the state from being zero.
            random: Cell::new(RandomState::new().hash_one(0) | 1),
            shared,
        }
    }

    /// Counts one more connection, or something that lives beyond its connection (a tunnel).
    pub(crate) fn member(self: &Rc<Self>) -> Membership {
        let connections = &self.connections;
        let id = connections.next.replace(connections.next.get() + 1);
        connections.wakers.borrow_mut().insert(id, None);
        self.shared.metrics.connections.inc();
        Membership { core: self.clone(), id }
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

    pub(crate) fn len(&self) -> usize {
        self.wakers.borrow().len()
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
        for waker in self.wakers.borrow().values().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Waits until fewer than `n` are left.
    pub(crate) async fn fewer_than(&self, n: usize) {
        while self.len() >= n {
            self.left.notified().await;
        }
    }
}

// === impl Membership ===

impl Membership {
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
