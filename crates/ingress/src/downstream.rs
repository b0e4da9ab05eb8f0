//! Downstream: a client's connection from accept to close. The place where the client's protocol is decided: TLS or not, and which
//! HTTP. Must not know routes or upstreams: a request goes to [`proxy`](crate::proxy), an answer comes back.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use self::slow::Slow;
use crate::core::{Core, Membership};
use crate::filter::forwarded::Peer;
use crate::listen::Scheme;

mod http1;
mod slow;

/// Serves one connection until it ends.
pub(crate) async fn serve(core: Rc<Core>, membership: Membership, stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>) {
    let Ok(local) = stream.local_addr() else { return };
    // An answer that was written must not wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let timeouts = &core.shared.config.timeouts;
    let stream = Slow::new(stream, timeouts.client);
    match acceptor {
        None => http1::serve(&core, &membership, stream, Peer::new(peer.ip(), Scheme::Http, local.port())).await,
        Some(acceptor) => match tokio::time::timeout(timeouts.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http1::serve(&core, &membership, stream, Peer::new(peer.ip(), Scheme::Https, local.port())).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}
