//! DNS over TCP: two octets of length before each message, several questions at once on one connection (RFC 7766).
//!
//! What clients may hold of this process is bounded for all connections together ([`Bounds`]): how many ask at once says nothing of
//! that, since a client need not take its answers. One client ([`Client`]) has a part of it, however many connections it opens, so that
//! the others have the rest. Whoever finds a bound met is read no further until there is room.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use runtime::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, warn};

use super::chain::NOWHERE;
use super::metrics::{Metrics, Transport, asked};
use super::{AtOnce, Routes, at_once, slow};
use crate::wire::{self, MAX_TCP, Query, rtype};

/// Connections of all listeners; more wait in the backlog, those of a client that has its part already are closed.
const MAX_CONNECTIONS: usize = 2_048;
/// Questions of one connection in work at once; a client that sends more is read no further until some are answered.
const MAX_PIPELINED: usize = 32;
/// Questions that have a task, on all connections together. The cluster's own names and what is cached need none.
const MAX_TASKS: usize = 512;
/// Octets of answers that wait to be taken, on all connections together: a few hundred of the largest, many thousands of usual ones. With
/// one answer of each task under way it is 48 MiB at the very most, and the zones that are transferred.
const MAX_ROOM: usize = 16 << 20;
/// One client's part of each of these: a node's cache asks for all of its pods, and a proxy may stand in front of many clients.
const ONE_OF: usize = 4;
/// Zones that are on their way whole, on all connections together: each is in memory as it is sent.
const MAX_TRANSFERS: usize = 2;
/// Larger queries than this are no queries.
const MAX_QUERY: u16 = 4_096;
/// Octets that are read, and written, with one system call where more is there: dozens of small messages.
const READ_AHEAD: usize = 2_048;
const WRITE_TOGETHER: usize = 16_384;
/// Idle time, time for a message to arrive whole, and time for the client to take one: CoreDNS's.
const IDLE: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(3);
const WRITE: Duration = Duration::from_secs(5);

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Bounds {
    all: Share,
    of_client: [usize; 3],
    transfers: Arc<Semaphore>,
    /// The clients that have connections.
    clients: Arc<Mutex<HashMap<IpAddr, Weak<Client>>>>,
}

/// What may be held at once.
#[derive(Clone)]
struct Share {
    connections: Arc<Semaphore>,
    tasks: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

/// All connections from one address.
struct Client {
    address: IpAddr,
    own: Share,
    bounds: Bounds,
}

/// The client's own permit, and the one of all.
type Permits = [OwnedSemaphorePermit; 2];

/// A message on its way to a client, with the room that it takes.
struct Waiting {
    message: Vec<u8>,
    room: Permits,
}

pub(crate) async fn serve(listener: Arc<TcpListener>, routes: Routes, bounds: Bounds, metrics: Arc<Metrics>, drain: Drain) {
    loop {
        let next = async {
            let permit = permit(&bounds.all.connections, 1).await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            () = drain.started() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let client = bounds.client(address.ip());
                let Ok(own) = client.own.connections.clone().try_acquire_owned() else {
                    debug!(client = %address, "closed: it has too many connections");
                    continue;
                };
                let connection = connection(stream, address, routes.clone(), client, metrics.clone(), drain.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop([own, permit]);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only burn the core.
                warn!(%error, "could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, routes: Routes, client: Arc<Client>, metrics: Arc<Metrics>, drain: Drain) {
    let _ = stream.set_nodelay(true);
    let ends = (address, stream.local_addr().unwrap_or(NOWHERE));
    let (reader, writer) = stream.into_split();
    let reader = BufReader::with_capacity(READ_AHEAD, reader);
    let (replies, waiting) = mpsc::channel(MAX_PIPELINED);
    let writing = tokio::spawn(write(writer, waiting));
    tokio::select! {
        () = read(reader, ends, &routes, &client, &metrics, &replies) => {}
        // What was asked is still answered: the tasks hold senders of their own.
        () = drain.started() => {}
    }
    drop(replies);
    let _ = writing.await;
}

async fn read(
    mut reader: BufReader<OwnedReadHalf>,
    ends: (SocketAddr, SocketAddr),
    routes: &Routes,
    client: &Arc<Client>,
    metrics: &Arc<Metrics>,
    replies: &mpsc::Sender<Waiting>,
) {
    let free = Arc::new(Semaphore::new(MAX_PIPELINED));
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, reader.read_u16()).await {
        if length > MAX_QUERY {
            return;
        }
        let mut packet = vec![0; usize::from(length)];
        let Ok(Ok(_)) = tokio::time::timeout(READ, reader.read_exact(&mut packet)).await else { return };
        let pipelined = permit(&free, 1).await;
        let (routes, metrics, replies) = (routes.load_full(), metrics.clone(), replies.clone());
        // As much as an answer may take, until it is there and takes less.
        let room = client.room(MAX_TCP).await;
        let started = Instant::now();
        let (outcome, route, message) = wire::with_room(|out| {
            let (outcome, route) = at_once(&routes, &packet, out, true, started.elapsed().subsec_nanos());
            let message = if let AtOnce::Reply { length, .. } = outcome { out[..length].to_vec() } else { Vec::new() };
            (outcome, route, message)
        });
        match outcome {
            AtOnce::Reply { length, code, by } => {
                let transport = Transport { tcp: true, v6: ends.0.is_ipv6() };
                let sizes = (packet.len(), length);
                metrics.one(&routes, route, transport, asked(&packet), (code, by), sizes, started.elapsed());
                if replies.send(Waiting { message, room: narrowed(room, length) }).await.is_err() {
                    return;
                }
            }
            // Whoever breaks the format here has lost the message borders as well.
            AtOnce::Silence => return,
            AtOnce::Later => {
                drop(room);
                let transfer =
                    if rtype::is_transfer(asked(&packet).qtype) { Some(permit(&client.bounds.transfers, 1).await) } else { None };
                let task = client.task().await;
                let client = client.clone();
                tokio::spawn(async move {
                    let _permits = (pipelined, transfer);
                    let Ok(mut query) = Query::parse(&packet) else { return };
                    let answers = slow::answer(&routes, &mut query, ends, true, &metrics).await;
                    let mut task = Some(task);
                    for message in answers {
                        let room = client.room(message.len()).await;
                        // A client that does not take its answers holds nobody's task.
                        task.take();
                        if replies.send(Waiting { message, room }).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let (mut framed, mut rooms) = (Vec::new(), Vec::new());
        let mut next = Ok(first);
        while let Ok(Waiting { message, room }) = next {
            framed.extend((message.len() as u16).to_be_bytes());
            framed.extend(message);
            rooms.push(room);
            if framed.len() >= WRITE_TOGETHER {
                break;
            }
            next = waiting.try_recv();
        }
        match tokio::time::timeout(WRITE, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return debug!(%error, "a client went away"),
            Err(_) => return debug!("a client does not take its answers"),
        }
    }
}

// === impl Bounds ===

impl Bounds {
    /// `max_room` holds a message of any size.
    fn new(max_tasks: usize, max_room: usize) -> Self {
        let all = [MAX_CONNECTIONS, max_tasks, max_room];
        // No less than one of each, and a message of any size.
        let of_client = std::array::from_fn(|at| (all[at] / ONE_OF).max([1, 1, MAX_TCP][at]));
        Self { all: Share::new(all), of_client, transfers: Arc::new(Semaphore::new(MAX_TRANSFERS)), clients: Arc::default() }
    }

    fn client(&self, address: IpAddr) -> Arc<Client> {
        let address = address.to_canonical();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&address).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(Client { address, own: Share::new(self.of_client), bounds: self.clone() });
        clients.insert(address, Arc::downgrade(&client));
        client
    }
}

// === impl Share ===

impl Share {
    fn new(most: [usize; 3]) -> Self {
        let [connections, tasks, room] = most.map(|permits| Arc::new(Semaphore::new(permits)));
        Self { connections, tasks, room }
    }
}

// === impl Client ===

impl Client {
    async fn task(&self) -> Permits {
        [permit(&self.own.tasks, 1).await, permit(&self.bounds.all.tasks, 1).await]
    }

    /// A message has 65,535 octets at the most.
    async fn room(&self, octets: usize) -> Permits {
        [permit(&self.own.room, octets).await, permit(&self.bounds.all.room, octets).await]
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.bounds.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have come back meanwhile.
        if clients.get(&self.address).is_some_and(|client| client.strong_count() == 0) {
            clients.remove(&self.address);
        }
    }
}

async fn permit(of: &Arc<Semaphore>, n: usize) -> OwnedSemaphorePermit {
    of.clone().acquire_many_owned(n as u32).await.expect("BUG: the semaphore was closed")
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(MAX_TASKS, MAX_ROOM)
    }
}

/// As much of the room as a message of `octets` takes.
fn narrowed(room: Permits, octets: usize) -> Permits {
    room.map(|mut room| room.split(octets).unwrap_or(room))
}

#[cfg(test)]
mod tests;
