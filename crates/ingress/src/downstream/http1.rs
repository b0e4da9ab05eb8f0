//! HTTP/1.1 towards a client, by hyper.
//!
//! hyper refuses what could be read in two ways: lengths that differ, a broken or doubled `Transfer-Encoding`, folded lines, blanks
//! before a colon; a `Content-Length` beside `Transfer-Encoding` is dropped (RFC 9112 6.3). What it lets through is checked in `proxy`.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::{Core, Membership};
use crate::filter::forwarded::Peer;
use crate::proxy;

/// While draining: how long a connection that has not asked yet may take to. Its first request is on the way, mostly.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

pub(super) async fn serve<S>(core: &Rc<Core>, membership: &Membership, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Rc::new(peer);
    let config = &core.shared.config;
    let asked = Cell::new(false);
    let service = service_fn(|request| {
        asked.set(true);
        let (core, peer) = (core.clone(), peer.clone());
        async move { Ok::<_, Infallible>(proxy::answer(core, peer, request).await) }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.header)
        .max_headers(config.limits.headers)
        .max_header_size(config.limits.header_bytes)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut told = false;
    let mut grace = None;
    let mut registered = false;
    let served = poll_fn(|cx| {
        if let Poll::Ready(done) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(done);
        }
        if !registered {
            // A task keeps its waker for life.
            membership.wake_on_drain(cx.waker());
            registered = true;
        }
        if !core.connections.are_draining() || told {
            return Poll::Pending;
        }
        // hyper would close a new connection over the request that it has yet to read.
        let grace = grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(FIRST_REQUEST)));
        if asked.get() || grace.as_mut().poll(cx).is_ready() {
            told = true;
            // An idle connection ends here; a request in flight is answered with `Connection: close`.
            connection.as_mut().graceful_shutdown();
            return Pin::new(&mut connection).poll(cx);
        }
        Poll::Pending
    });
    if let Err(error) = served.await {
        tracing::debug!(client = %peer.address, %error, "a client's connection broke");
    }
}
