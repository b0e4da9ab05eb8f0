//! Idle connections of one core, by endpoint; the last one put back is the first one taken, so that the surplus grows old and goes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::connection::{Connection, Peer};

pub(crate) struct Pool {
    idle: RefCell<Idle>,
    max: usize,
    timeout: Duration,
}

#[derive(Default)]
struct Idle {
    by_peer: HashMap<Peer, VecDeque<(Instant, Connection)>>,
    n: usize,
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(max: usize, timeout: Duration) -> Self {
        Self { idle: RefCell::default(), max, timeout }
    }

    /// A living connection to the endpoint, if there is one.
    pub(crate) async fn take(&self, peer: &Peer) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle.borrow_mut().pop(peer)?;
            if since.elapsed() < self.timeout && !connection.is_closed() && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange is done.
    pub(crate) fn put(&self, peer: Peer, connection: Connection) {
        if connection.is_closed() || self.max == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.n >= self.max {
            idle.drop_oldest();
        }
        idle.n += 1;
        idle.by_peer.entry(peer).or_default().push_back((Instant::now(), connection));
    }

    /// Lets go of what is closed or has been idle for too long.
    pub(crate) fn sweep(&self) {
        let idle = &mut *self.idle.borrow_mut();
        idle.by_peer.retain(|_, connections| {
            connections.retain(|(since, connection)| since.elapsed() < self.timeout && !connection.is_closed());
            !connections.is_empty()
        });
        idle.n = idle.by_peer.values().map(VecDeque::len).sum();
    }

    pub(crate) fn clear(&self) {
        *self.idle.borrow_mut() = Idle::default();
    }
}

// === impl Idle ===

impl Idle {
    fn pop(&mut self, peer: &Peer) -> Option<(Instant, Connection)> {
        let found = self.by_peer.get_mut(peer)?.pop_back()?;
        self.n -= 1;
        Some(found)
    }

    fn drop_oldest(&mut self) {
        let age = |connections: &VecDeque<(Instant, Connection)>| connections.front().map(|(since, _)| *since);
        let oldest =
            self.by_peer.iter().filter_map(|(peer, connections)| Some((age(connections)?, peer.clone()))).min_by_key(|(since, _)| *since);
        if let Some((_, peer)) = oldest
            && let Some(connections) = self.by_peer.get_mut(&peer)
        {
            connections.pop_front();
            self.n -= 1;
        }
    }
}
