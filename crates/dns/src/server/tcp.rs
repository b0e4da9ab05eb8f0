//! DNS over TCP: two octets of length before each message, several questions at once on one connection (RFC 7766).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

use super::metrics::{Metrics, Transport};
use super::{AtOnce, Routes, at_once, slow};
use crate::wire::{MAX_TCP, Query};

/// Connections of one listener; more wait in the backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Questions of one connection in work at once; a client that sends more is read no further until some are answered.
const MAX_PIPELINED: usize = 32;
/// Idle time, time for a message to arrive whole, and time for the client to take one: CoreDNS's.
const IDLE: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(3);
const WRITE: Duration = Duration::from_secs(5);

pub(crate) async fn serve(listener: TcpListener, routes: Routes, metrics: Arc<Metrics>, drain: Drain) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = free.clone().acquire_owned().await.expect("BUG: the semaphore was closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            () = drain.started() => return,
        };
        match accepted {
            Ok((stream, client)) => {
                let connection = connection(stream, client, routes.clone(), metrics.clone(), drain.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
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

async fn connection(stream: TcpStream, client: SocketAddr, routes: Routes, metrics: Arc<Metrics>, drain: Drain) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (replies, waiting) = mpsc::channel(MAX_PIPELINED);
    let writing = tokio::spawn(write(writer, waiting));
    tokio::select! {
        () = read(reader, client, &routes, &metrics, &replies) => {}
        // What was asked is still answered: the tasks hold senders of their own.
        () = drain.started() => {}
    }
    drop(replies);
    let _ = writing.await;
}

async fn read(mut reader: OwnedReadHalf, client: SocketAddr, routes: &Routes, metrics: &Arc<Metrics>, replies: &mpsc::Sender<Vec<u8>>) {
    let free = Arc::new(Semaphore::new(MAX_PIPELINED));
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, reader.read_u16()).await {
        let mut packet = vec![0; usize::from(length)];
        let Ok(Ok(_)) = tokio::time::timeout(READ, reader.read_exact(&mut packet)).await else { return };
        let permit = free.clone().acquire_owned().await.expect("BUG: the semaphore was closed");
        let (routes, metrics, replies) = (routes.load_full(), metrics.clone(), replies.clone());
        let started = Instant::now();
        let mut out = vec![0; MAX_TCP];
        let (outcome, route) = at_once(&routes, &packet, &mut out, true, started.elapsed().subsec_nanos());
        match outcome {
            AtOnce::Reply { length, code, by } => {
                out.truncate(length);
                let transport = Transport { tcp: true, v6: client.is_ipv6() };
                let sizes = (packet.len(), length);
                metrics.one(&routes, route, transport, super::metrics::asked(&packet), (code, by), sizes, started.elapsed());
                if replies.send(out).await.is_err() {
                    return;
                }
            }
            // Whoever breaks the format here has lost the message borders as well.
            AtOnce::Silence => return,
            AtOnce::Later => {
                tokio::spawn(async move {
                    let _permit = permit;
                    let Ok(mut query) = Query::parse(&packet) else { return };
                    for reply in slow::answer(&routes, &mut query, client, true, &metrics).await {
                        if replies.send(reply).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = waiting.recv().await {
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        match tokio::time::timeout(WRITE, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return debug!(%error, "a client went away"),
            Err(_) => return debug!("a client does not take its answers"),
        }
    }
}
