//! One connection to an upstream: HTTP/1.1 by hyper. The place where the upstream's protocol is decided.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::RequestBody;

pub(crate) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// Requests that went over it before: it may have been closed in the meantime.
    pub n_requests: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within the time")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Why there is no answer.
pub(crate) struct SendError {
    pub error: hyper::Error,
    /// The request, if nothing of it was written.
    pub unsent: Option<Box<Request<RequestBody>>>,
}

/// As nginx: a pooled connection is given up after 10,000 requests (`upstream-keepalive-requests`).
const MAX_REQUESTS: u32 = 10_000;

// === impl Connection ===

impl Connection {
    pub(crate) async fn open(address: SocketAddr, timeout: Duration) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await.map_err(|_| ConnectError::TimedOut)??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Whoever sent a request hears of the error; an idle connection that breaks is of no interest.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, n_requests: 0 })
    }

    /// Waits until the exchange before is wholly done. False: it is closed.
    pub(crate) async fn is_usable(&mut self) -> bool {
        self.n_requests < MAX_REQUESTS && self.sender.ready().await.is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.n_requests += 1;
        self.sender.try_send_request(request).await.map_err(|mut failed| {
            let unsent = failed.take_message().map(Box::new);
            SendError { error: failed.into_error(), unsent }
        })
    }
}
