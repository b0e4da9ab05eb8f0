//! DNS over TLS (RFC 7858): which authorities are trusted, and who we are.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// How connections to one set of servers are made.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// The name that their certificates must hold; their addresses where there is none.
    server_name: Option<ServerName<'static>>,
}

/// What a Corefile says of it.
#[derive(Default)]
pub(crate) struct Files {
    /// Certificate and key.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
    /// In place of the system's authorities.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: {source}", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("this machine has no authorities to trust{}", told(.0))]
    NoAuthorities(Vec<String>),
    #[error("`{0}` is no name of a server")]
    Name(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

fn told(errors: &[String]) -> String {
    errors.first().map(|error| format!(": {error}")).unwrap_or_default()
}

impl Files {
    pub(crate) fn load(self) -> Result<Tls, TlsError> {
        runtime::tls::install_provider();
        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(found.certs);
                if added == 0 {
                    return Err(TlsError::NoAuthorities(found.errors.iter().map(ToString::to_string).collect()));
                }
            }
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key_of = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem { path: key.clone(), source })?;
                builder.with_client_auth_cert(certificates(certificate)?, key_of)?
            }
        };
        let server_name = self.server_name.map(|name| server_name(&name).map_err(|_| TlsError::Name(name))).transpose()?;
        Ok(Tls { config: Arc::new(config), server_name })
    }
}

impl Tls {
    /// The name to ask a server's certificate for.
    pub(crate) fn name_of(&self, own: Option<&str>, ip: IpAddr) -> ServerName<'static> {
        own.and_then(|name| server_name(name).ok()).or_else(|| self.server_name.clone()).unwrap_or_else(|| ServerName::IpAddress(ip.into()))
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(name.to_owned())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    if found.is_empty() { Err(failed(pem::Error::Io(io::ErrorKind::InvalidData.into()))) } else { Ok(found) }
}
