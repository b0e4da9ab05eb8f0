//! TLS towards clients: which certificate a name gets.
//!
//! Owns certificates and the choice among them (the choice by host is the table's). A new certificate is there for the next
//! handshake; connections that live are not touched. Must not know requests.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::core::Shared;

pub(crate) mod certificate;

/// TLS 1.2 and 1.3, HTTP/1.1; no session tickets and no session cache, as in ingress-nginx: resumption across virtual hosts was a hole
/// (CVE-2025-23419).
pub(crate) fn server_config(shared: Arc<Shared>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(BySni { shared }));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

struct BySni {
    shared: Arc<Shared>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        Some(self.shared.table.load().certificate(name.as_deref()))
    }
}

impl fmt::Debug for BySni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BySni")
    }
}
