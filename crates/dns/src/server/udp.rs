//! The UDP loops: one thread and one socket for each core, a batch at a time.
//!
//! A loop never waits but for datagrams, and for a crowd of them to gather: what it cannot answer in place goes to the slow path, or is
//! dropped when that is full.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kernel::udp::{Inbox, Outbox};
use tokio::sync::mpsc;
use tracing::warn;

use super::metrics::{Metrics, Tally, Transport, asked};
use super::slow::Job;
use super::{AtOnce, Routes, at_once};
use crate::wire::MAX_UDP;

/// Datagrams taken with one system call. The call itself is thin enough with 32 of them; more of them join more replies to one peer (see
/// [`Outbox`]): with 128 an answer costs a third less where 16 clients ask, and no more where hundreds do.
const BATCH: usize = 128;
/// From so many at once on, more are coming: they may gather while the thread rests, up to half a batch, and share what waking it and
/// sending their answers costs. Who comes alone, or in a few, is answered at once.
const CROWD: std::ops::Range<usize> = 4..BATCH / 2;
/// How long it rests; the kernel adds 50 us (timer slack).
const REST: Duration = Duration::from_micros(100);
/// A rest that gathers fewer was in vain: a few clients waited for it who ask again only when they are answered. One may be chance.
const GATHERED: usize = 16;
const MAX_VAIN: u32 = 4;
/// Batches without a rest behind so many in vain.
const WAKEFUL: u32 = 256;
/// Larger queries than this are no queries.
const MAX_QUERY: usize = 4_096;
/// A burst of thousands waits here instead of being lost: about 1 kB of it for each small query.
pub(crate) const RECEIVE_BUFFER: usize = 8 << 20;

pub(crate) struct Loop {
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) address: SocketAddr,
    pub(crate) routes: Routes,
    pub(crate) later: mpsc::Sender<Job>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopped: Arc<AtomicBool>,
}

impl Loop {
    /// Serves until the socket is woken after `stopped` was set.
    pub(crate) fn run(self) {
        let mut inbox = Inbox::new(BATCH, MAX_QUERY);
        let mut outbox = Outbox::new(BATCH, MAX_UDP);
        let mut tally = Tally::default();
        let mut rests = Rests::default();
        let mut turn = 0u32;
        loop {
            let received = match inbox.receive(&self.socket) {
                Ok(0) if self.stopped.load(Ordering::Acquire) => return,
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Out of memory, mostly: trying again at once would only burn the core.
                    warn!(%error, "could not receive");
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            // One question that hits a mistake of ours must not silence the thread: its batch is lost, and its clients ask again.
            let batch = AssertUnwindSafe(|| self.batch(&inbox, &mut outbox, &mut tally, &mut turn));
            if catch_unwind(batch).is_err() {
                self.metrics.panics.inc();
                outbox = Outbox::new(BATCH, MAX_UDP);
                tally = Tally::default();
            }
            if rests.behind(received) {
                std::thread::sleep(REST);
            }
        }
    }

    fn batch(&self, inbox: &Inbox, outbox: &mut Outbox, tally: &mut Tally, turn: &mut u32) {
        let started = Instant::now();
        let routes = self.routes.load();
        for (packet, peer) in inbox.iter() {
            let Some(slot) = outbox.slot() else { break };
            *turn = turn.wrapping_add(1);
            let (outcome, route) = at_once(&routes, packet, slot, false, *turn);
            match outcome {
                AtOnce::Reply { length, code, by } => {
                    let v6 = peer.address().is_some_and(|address| address.is_ipv6());
                    let (n_asked, n_answered) = (packet.len(), length);
                    tally.add(route, Transport { tcp: false, v6 }, asked(packet), (code, by), n_asked, n_answered);
                    outbox.push(length, &peer);
                }
                AtOnce::Later => {
                    let local = SocketAddr::new(peer.local().unwrap_or(self.address.ip()), self.address.port());
                    let job = Job { packet: packet.into(), peer, local, socket: self.socket.clone(), routes: self.routes.clone() };
                    if self.later.try_send(job).is_err() {
                        tally.dropped += 1;
                    }
                }
                AtOnce::Silence => {}
            }
        }
        let lost = outbox.send(&self.socket);
        self.metrics.take(&routes, tally, lost, started.elapsed());
    }
}

/// When a thread rests.
#[derive(Default)]
struct Rests {
    rested: bool,
    /// Rests in a row that were in vain.
    n_vain: u32,
    /// Batches still to come without one.
    wakeful: u32,
}

impl Rests {
    /// Whether to rest behind a batch of so many.
    fn behind(&mut self, received: usize) -> bool {
        if self.rested {
            self.n_vain = if received < GATHERED { self.n_vain + 1 } else { 0 };
        }
        if self.n_vain == MAX_VAIN {
            (self.n_vain, self.wakeful) = (0, WAKEFUL);
        }
        self.rested = self.wakeful == 0 && CROWD.contains(&received);
        self.wakeful = self.wakeful.saturating_sub(1);
        self.rested
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_rests_while_a_crowd_gathers_and_not_for_a_few() {
        let mut rests = Rests::default();
        assert_eq!([1, 3, BATCH / 2, BATCH].map(|received| rests.behind(received)), [false; 4], "none comes, or all are here");
        assert_eq!([8, 20, 40, 30].map(|received| rests.behind(received)), [true; 4], "each gathers more");
        assert_eq!([8, 30, 8, 8, 8].map(|received| rests.behind(received)), [true; 5], "now and then in vain");
        assert!(!rests.behind(8), "four times in a row");
        let without = (1..).take_while(|_| !rests.behind(8)).count();
        assert_eq!(without, WAKEFUL as usize - 1, "it tries again");
    }
}
