//! The slow path: a question as a task, through all plugins of its block.

use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use kernel::udp::{Outbox, Peer};
use tokio::sync::{Semaphore, mpsc};

use super::chain::{Next, Request};
use super::metrics::{Asked, Metrics, Transport};
use super::{Route, Routes, route_of};
use crate::plugins::log::{Kind, Noted, Replied};
use crate::plugins::transfer;
use crate::wire::message::{Message, Question};
use crate::wire::{MAX_UDP, OPT, Query, flag, rcode, rtype, u16_at};

/// Questions that wait for a task; a datagram beyond that is dropped and counted, and its client asks again.
pub(crate) const MAX_WAITING: usize = 1_024;
/// Questions that have a task, on all sockets together: some kilobytes each.
pub(crate) const MAX_TASKS: usize = 4_096;
/// Replies that are sent together.
const MAX_TOGETHER: usize = 32;

/// A datagram that the fast path could not answer.
pub(crate) struct Job {
    pub(crate) packet: Box<[u8]>,
    pub(crate) peer: Peer,
    /// The address that was asked.
    pub(crate) local: SocketAddr,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) routes: Routes,
}

/// A reply that waits to be sent.
struct Ready {
    reply: Vec<u8>,
    peer: Peer,
    socket: Arc<UdpSocket>,
}

/// Answers jobs until all senders are gone.
pub(crate) async fn run(mut jobs: mpsc::Receiver<Job>, metrics: Arc<Metrics>) {
    let free = Arc::new(Semaphore::new(MAX_TASKS));
    let (ready, replies) = mpsc::channel(MAX_TASKS);
    let sending = tokio::spawn(send(replies, metrics.clone()));
    while let Some(job) = jobs.recv().await {
        let permit = free.clone().acquire_owned().await.expect("BUG: the semaphore was closed");
        let (metrics, ready) = (metrics.clone(), ready.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let Job { packet, peer, local, socket, routes } = job;
            // Both were checked before the job was made.
            let (Ok(query), Some(client)) = (Query::parse(&packet), peer.address()) else { return };
            // Apart from the task, so that neither is too large for what the allocator keeps at hand.
            let mut query = Box::new(query);
            let routes = routes.load_full();
            for reply in answer(&routes, &mut query, (client, local), false, &metrics).await {
                let _ = ready.send(Ready { reply, peer, socket: socket.clone() }).await;
            }
        });
    }
    // The tasks that still run hold the rest.
    let _ = free.acquire_many(MAX_TASKS as u32).await;
    drop(ready);
    let _ = sending.await;
}

/// Sends what is ready at one time together, until nobody answers any more.
async fn send(mut replies: mpsc::Receiver<Ready>, metrics: Arc<Metrics>) {
    let mut outbox = Outbox::new(MAX_TOGETHER, MAX_UDP);
    let mut together = Vec::with_capacity(MAX_TOGETHER);
    while replies.recv_many(&mut together, MAX_TOGETHER).await > 0 {
        together.sort_by_key(|ready: &Ready| Arc::as_ptr(&ready.socket));
        for of_socket in together.chunk_by(|one, other| Arc::ptr_eq(&one.socket, &other.socket)) {
            for Ready { reply, peer, .. } in of_socket {
                let Some(slot) = outbox.slot() else { break };
                slot[..reply.len()].copy_from_slice(reply);
                outbox.push(reply.len(), peer);
            }
            metrics.lost(outbox.send_now(&of_socket[0].socket));
        }
        together.clear();
    }
}

/// Answers one question that came from the first of two `ends` to the second: with one message, with those of a transfer, or (`acl`)
/// not at all.
pub(crate) async fn answer(
    routes: &[Route],
    query: &mut Query<'_>,
    ends: (SocketAddr, SocketAddr),
    tcp: bool,
    metrics: &Metrics,
) -> Vec<Vec<u8>> {
    let started = Instant::now();
    let route = route_of(routes, &query.name);
    let block = route.map(|(_, route)| &*route.block);
    query.cap(block.and_then(|block| block.max_udp));
    let query = &*query;
    let mut request = Request::new(query, ends, tcp);
    request.metadata = block.and_then(|block| block.metadata.as_ref()).map(|metadata| metadata.of(&request));
    // One question that hits a mistake of ours is answered like any other that fails.
    let mut asking = Next::start(routes).whole(&request);
    let answer = poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| asking.as_mut().poll(context))).unwrap_or_else(|_| {
            metrics.panics.inc();
            Poll::Ready(request.failed(rcode::SERVFAIL))
        })
    })
    .await;
    let (code, by, kind, asked) = (answer.rcode, answer.by, Kind::of(query, &answer), answer.question.clone());
    let upstream = answer.upstream;
    let limit = query.limit(tcp);
    let replies = match answer {
        answer if answer.dropped => Vec::new(),
        answer if rtype::is_transfer(query.qtype) => transfer::messages(answer).map(|part| finish(part, query, limit)).collect(),
        answer => vec![finish(answer, query, limit)],
    };
    let transport = Transport { tcp, v6: request.client.is_ipv6() };
    // As CoreDNS: of the type that `rewrite` made of what was asked.
    let of = Asked { qtype: asked.qtype, dnssec_ok: request.dnssec_ok };
    let (size, took) = (replies.iter().map(Vec::len).sum(), started.elapsed());
    metrics.one(routes, route.map(|(at, _)| at), transport, of, (code, by), (query.bytes.len(), size), took);
    // As CoreDNS: the first that fits, and no other.
    if let Some(log) = block.and_then(|block| block.logs.iter().find(|log| log.is_about(&request.question.name))) {
        let reply = replies.first().map(|reply| Replied { code, flags: u16_at(reply, 2) });
        log.note(&Noted { query, request: &request, asked, kind, upstream, reply, size, took });
    }
    replies
}

/// An answer as the reply to this very query: its id, its letter case, its RD and CD, its EDNS.
pub(crate) fn finish(answer: Message, query: &Query<'_>, limit: usize) -> Vec<u8> {
    let question = Question { name: crate::name::Name::from_wire(query.name_as_sent()), qtype: query.qtype, qclass: query.qclass };
    let kept = flag::AA | flag::TC | flag::RA | flag::AD;
    let opt = query.edns.map(|edns| {
        let mut opt = vec![0; OPT];
        opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
        opt[3..5].copy_from_slice(&edns.size.to_be_bytes());
        opt[5] = answer.rcode >> 4;
        opt[7] = if edns.dnssec_ok { 0x80 } else { 0 };
        if let Some(why) = &answer.why {
            opt.extend(why.option());
            let length = (opt.len() - OPT) as u16;
            opt[OPT - 2..OPT].copy_from_slice(&length.to_be_bytes());
        }
        opt
    });
    let reply = Message { id: query.id(), flags: flag::QR | query.echoed() | answer.flags & kept, question, ..answer };
    reply.encode(limit, opt.as_deref())
}

#[cfg(test)]
mod tests;
