//! The certificate authority of one server, and what it signs.
//!
//! The authority is made once; the server's own certificate and the administrator's are made anew at every start, so that addresses may change
//! and nobody has to renew anything.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use runtime::time::Rfc3339;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::kubeconfig::{Client, write_private};
use super::{AUTHENTICATED, User};

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no key that can be used; remove the folder to start anew")]
    Key { path: PathBuf },
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("client certificates cannot be checked")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("a certificate that was just made cannot be read")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

const DAY: Duration = Duration::from_secs(86_400);
const CA_DAYS: u32 = 3_650;
const LEAF_DAYS: u32 = 365;

/// Signs certificates, and says whose the others are.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, in PEM.
    pub(crate) pem: String,
}

impl Authority {
    /// Reads key and certificate from `folder`, or makes them.
    pub(crate) fn open(folder: &Path) -> Result<Authority, PkiError> {
        let (key_path, pem_path) = (folder.join("ca.key"), folder.join("ca.crt"));
        // The issuer needs the name and the key alone: the certificate is never parsed.
        let params = authority_params();
        match std::fs::read_to_string(&key_path) {
            Ok(key) => {
                let key = KeyPair::from_pem(&key).map_err(|_| PkiError::Key { path: key_path })?;
                let pem = std::fs::read_to_string(&pem_path).map_err(|source| PkiError::File { path: pem_path, source })?;
                Ok(Authority { issuer: Issuer::new(params, key), pem })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                let pem = params.self_signed(&key)?.pem();
                write_private(&pem_path, pem.as_bytes())?;
                write_private(&key_path, key.serialize_pem().as_bytes())?;
                Ok(Authority { issuer: Issuer::new(params, key), pem })
            }
            Err(source) => Err(PkiError::File { path: key_path, source }),
        }
    }

    /// A certificate by which a client is `name`, member of `group`.
    pub(crate) fn client(&self, name: &str, group: &str) -> Result<Client, PkiError> {
        let mut params = leaf_params();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(params)
    }

    /// How the server presents itself, under these names and addresses, and whose client certificates it believes.
    pub(crate) fn server_config(&self, names: &[String], addresses: &[IpAddr]) -> Result<Arc<ServerConfig>, PkiError> {
        let mut params = leaf_params();
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        let leaf = self.sign(params)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        // Whoever shows no certificate may have a token.
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?;
        let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn sign(&self, params: CertificateParams) -> Result<Client, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Client { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = valid_for(CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "rutter");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = valid_for(LEAF_DAYS);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// From yesterday on: clocks differ.
fn valid_for(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let now = SystemTime::now();
    let date = |time: SystemTime| {
        let text = Rfc3339(time).to_string();
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|text| text.parse::<u8>().ok()).unwrap_or(1);
        rcgen::date_time_ymd(text.get(..4).and_then(|year| year.parse().ok()).unwrap_or(1970), part(5..7), part(8..10))
    };
    params.not_before = date(now - DAY);
    params.not_after = date(now + DAY * days);
    params
}

/// Whom a certificate that TLS has accepted speaks of: the common name, and the organizations as groups.
pub(crate) fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.to_owned());
    Some(User { name, groups, ..User::default() })
}
