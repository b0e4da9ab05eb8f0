//! TLS of HTTPS probes: a handshake with whoever answers. kubelet does not look at the certificate either.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) async fn connect(stream: TcpStream, host: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(runtime::tls::trusting_everybody()));
    TlsConnector::from(config.clone()).connect(ServerName::IpAddress(host.into()), stream).await
}
