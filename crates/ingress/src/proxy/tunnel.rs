//! Tunnels: after `101 Switching Protocols` bytes go both ways and nobody reads them (WebSocket and its like).

use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::record::Record;
use crate::body::{Done as _, ResponseBody};
use crate::filter::hop;

/// Bytes in flight per direction.
const BUFFER: usize = 16 * 1024;

/// Answers 101 and ties both sides together once the client has the answer.
pub(super) fn open(mut record: Record, mut response: Response<Incoming>, on_client: OnUpgrade, idle: Duration) -> Response<ResponseBody> {
    let on_upstream = hyper::upgrade::on(&mut response);
    let protocol = response.headers().get(UPGRADE).cloned();
    hop::strip(response.headers_mut());
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    let member = record.core().member();
    tokio::task::spawn_local(async move {
        let _member = member;
        if let (Ok(client), Ok(upstream)) = tokio::join!(on_client, on_upstream) {
            let bytes = relay(TokioIo::new(client), TokioIo::new(upstream), idle).await;
            record.sent(bytes);
        }
    });
    Response::from_parts(head, ResponseBody::Page(None))
}

/// Copies both ways until both are at their end, one breaks, or nothing moves for `idle` (`proxy-read-timeout`, as in nginx). Gives the
/// bytes that the client got.
async fn relay(client: TokioIo<Upgraded>, upstream: TokioIo<Upgraded>, idle: Duration) -> usize {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let mut upstream_buffer = vec![0; BUFFER];
    let mut client_buffer = vec![0; BUFFER];
    let (mut client_open, mut upstream_open) = (true, true);
    let mut sent = 0;
    while client_open || upstream_open {
        let moved = tokio::time::timeout(idle, async {
            tokio::select! {
                read = from_upstream.read(&mut upstream_buffer), if upstream_open => {
                    let n = read?;
                    upstream_open = n > 0;
                    sent += n;
                    pass(&mut to_client, &upstream_buffer[..n]).await
                }
                read = from_client.read(&mut client_buffer), if client_open => {
                    let n = read?;
                    client_open = n > 0;
                    pass(&mut to_upstream, &client_buffer[..n]).await
                }
            }
        });
        if !matches!(moved.await, Ok(Ok(()))) {
            break;
        }
    }
    sent
}

/// Passes bytes on; none is the end.
async fn pass(to: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() { to.shutdown().await } else { to.write_all(bytes).await }
}
