//! The slow path: a question as a task, through all plugins of its block.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use kernel::udp::{self, Peer};
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use super::chain::{Next, Request};
use super::metrics::{Asked, Metrics, Transport};
use super::{Route, Routes, is_transfer, route_of};
use crate::plugins::acl::Action;
use crate::wire::message::{Message, Question};
use crate::wire::{OPT, Query, flag, rcode, rtype};

/// Questions that wait for a task; a datagram beyond that is dropped and counted, and its client asks again.
pub(crate) const MAX_WAITING: usize = 1_024;
/// Questions that have a task, on all sockets together: some kilobytes each.
pub(crate) const MAX_TASKS: usize = 4_096;

/// A datagram that the fast path could not answer.
pub(crate) struct Job {
    pub(crate) packet: Box<[u8]>,
    pub(crate) peer: Peer,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) routes: Routes,
}

/// Answers jobs until all senders are gone.
pub(crate) async fn run(mut jobs: mpsc::Receiver<Job>, metrics: Arc<Metrics>) {
    let free = Arc::new(Semaphore::new(MAX_TASKS));
    while let Some(job) = jobs.recv().await {
        let permit = free.clone().acquire_owned().await.expect("BUG: the semaphore was closed");
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // Both were checked before the job was made.
            let (Ok(mut query), Some(client)) = (Query::parse(&job.packet), job.peer.address()) else { return };
            let routes = job.routes.load_full();
            for reply in answer(&routes, &mut query, client, false, &metrics).await {
                if let Err(error) = udp::send_one(&job.socket, &reply, &job.peer) {
                    metrics.lost(1);
                    debug!(%client, %error, "a reply could not be sent");
                }
            }
        });
    }
    // The tasks that still run hold the rest.
    let _ = free.acquire_many(MAX_TASKS as u32).await;
}

/// Answers one question: with one message, with those of a transfer, or (`acl`) not at all.
pub(crate) async fn answer(routes: &[Route], query: &mut Query<'_>, client: SocketAddr, tcp: bool, metrics: &Metrics) -> Vec<Vec<u8>> {
    let started = Instant::now();
    let route = route_of(routes, &query.name);
    let block = route.map(|(_, route)| &*route.block);
    query.cap(block.and_then(|block| block.max_udp));
    let query = &*query;
    let request = Request::new(query, client, tcp);
    let acls = block.map_or(&[][..], |block| &block.acls);
    let verdict = acls.iter().find_map(|acl| acl.verdict(&request));
    let answers = if let Some(verdict) = verdict.filter(|verdict| *verdict != Action::Allow) {
        match verdict {
            Action::Drop => return Vec::new(),
            Action::Filter => vec![Message { by: "acl", ..request.failed(rcode::NOERROR) }],
            Action::Block | Action::Allow => vec![Message { by: "acl", ..request.failed(rcode::REFUSED) }],
        }
    } else if is_transfer(query.qtype) {
        let transfer = route.and_then(|(_, route)| route.block.transfer.as_ref());
        transfer.map_or_else(|| vec![request.failed(rcode::REFUSED)], |transfer| transfer.answer(&request))
    } else {
        vec![Next::start(routes).whole(&request).await]
    };
    let (code, by) = (answers[0].rcode, answers[0].by);
    let limit = query.limit(tcp);
    let replies: Vec<_> = answers.into_iter().map(|answer| finish(answer, query, limit)).collect();
    let transport = Transport { tcp, v6: client.is_ipv6() };
    let kind = Asked { qtype: query.qtype, dnssec_ok: request.dnssec_ok };
    let sizes = (query.bytes.len(), replies.iter().map(Vec::len).sum());
    metrics.one(routes, route.map(|(at, _)| at), transport, kind, (code, by), sizes, started.elapsed());
    for log in block.map_or(&[][..], |block| &block.logs) {
        log.note(query, &replies[0], sizes.1, &request, started.elapsed());
    }
    replies
}

/// An answer as the reply to this very query: its id, its letter case, its RD and CD, its EDNS.
pub(crate) fn finish(answer: Message, query: &Query<'_>, limit: usize) -> Vec<u8> {
    let question = Question { name: crate::name::Name::from_wire(query.name_as_sent()), qtype: query.qtype, qclass: query.qclass };
    let kept = flag::AA | flag::TC | flag::RA | flag::AD;
    let copied = query.flags() & (flag::OPCODE | flag::RD | flag::CD);
    let opt = query.edns.map(|edns| {
        let mut opt = [0; OPT];
        opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
        opt[3..5].copy_from_slice(&edns.size.to_be_bytes());
        opt[5] = answer.rcode >> 4;
        opt[7] = if edns.dnssec_ok { 0x80 } else { 0 };
        opt
    });
    let reply = Message { id: query.id(), flags: flag::QR | copied | answer.flags & kept, question, ..answer };
    reply.encode(limit, opt.as_ref().map(<[u8; OPT]>::as_slice))
}

#[cfg(test)]
mod tests;
