//! One connection to an upstream: HTTP/1.1 by hyper. The place where the upstream's protocol is decided.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::{Request, Response};
use hyper_util::rt::TokioIo;
use model::Text;
use model::options::UpstreamProtocol;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::RequestBody;

/// Whom a connection is to, and how it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub endpoint: SocketAddr,
    pub protocol: UpstreamProtocol,
    /// The name that a TLS peer is asked for (SNI); none: not said.
    pub name: Option<Text>,
}

pub(crate) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// Requests that went over it before: it may have been closed in the meantime.
    pub n_requests: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within the time")]
    TimedOut,
    #[error("HTTP/2 to an upstream is not spoken yet")]
    NoHttp2,
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

/// TLS towards upstreams: encrypted, but nobody's certificate is checked, as in nginx (`proxy_ssl_verify off`).
pub(crate) fn tls_connector() -> TlsConnector {
    TlsConnector::from(Arc::new(runtime::tls::trusting_everybody()))
}

// === impl Connection ===

impl Connection {
    /// Connects, TLS included, within `timeout`.
    pub(crate) async fn open(peer: &Peer, tls: &TlsConnector, timeout: Duration) -> Result<Self, ConnectError> {
        let opening = async {
            let stream = TcpStream::connect(peer.endpoint).await?;
            stream.set_nodelay(true)?;
            match peer.protocol {
                UpstreamProtocol::Http => Self::over(stream).await,
                UpstreamProtocol::Https => {
                    let name = peer.name.as_ref().and_then(|name| ServerName::try_from(name.to_string()).ok());
                    // An address is a name that is never said.
                    Self::over(tls.connect(name.unwrap_or_else(|| peer.endpoint.ip().into()), stream).await?).await
                }
                UpstreamProtocol::Grpc | UpstreamProtocol::Grpcs => Err(ConnectError::NoHttp2),
            }
        };
        tokio::time::timeout(timeout, opening).await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, ConnectError> {
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
