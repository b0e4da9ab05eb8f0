//! One certificate with its key: read from a Secret, and what it covers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::facts::Secret;
use model::route::HostPattern;
use model::{Issue, Reason, Text};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    /// Lower case; of the subject's alternative names, or of its common name if there are none.
    names: Arc<[Text]>,
    /// Unix seconds.
    pub expires: i64,
}

/// What is wrong with a Secret that should be a certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadCertificate {
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    #[error("{key} holds no {what}: {why}")]
    Unreadable { key: &'static str, what: &'static str, why: String },
    #[error("tls.key is not the key of the certificate in tls.crt")]
    KeyOfAnother,
}

// === impl Certificate ===

impl Certificate {
    /// Reads `tls.crt` (the chain, the host's own first) and `tls.key`. An expired one is read all the same: that it serves is better
    /// than that nothing does (ingress-nginx).
    pub(crate) fn parse(secret: &Secret) -> Result<Self, BadCertificate> {
        let chain = value(secret, "tls.crt")?;
        let unreadable = |what, why: &dyn std::fmt::Display| BadCertificate::Unreadable { key: "tls.crt", what, why: why.to_string() };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|error| unreadable("PEM certificate", &error))?;
        let Some(own) = chain.first() else { return Err(unreadable("PEM certificate", &"no CERTIFICATE section")) };
        let (_, own) = x509_parser::parse_x509_certificate(own).map_err(|error| unreadable("X.509 certificate", &error))?;
        let names = names(&own);
        let expires = own.validity().not_after.timestamp();

        let unreadable =
            |why: &dyn std::fmt::Display| BadCertificate::Unreadable { key: "tls.key", what: "private key", why: why.to_string() };
        let key = PrivateKeyDer::from_pem_slice(value(secret, "tls.key")?).map_err(|error| unreadable(&error))?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => BadCertificate::KeyOfAnother,
            error => unreadable(&error),
        })?;
        Ok(Self { key: Arc::new(key), names: names.into(), expires })
    }

    pub(crate) fn key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    pub(crate) fn names(&self) -> &[Text] {
        &self.names
    }

    /// Whether a name (lower case) is among the certificate's, or one label below one of its wildcards (RFC 6125 6.4.3).
    pub(crate) fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| **own == *name || own.strip_prefix("*.").is_some_and(|suffix| Some(suffix) == parent))
    }

    /// Whether it covers every name of a pattern; for `Any` that is asked per name, so every certificate is a candidate.
    pub(crate) fn covers_pattern(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.covers(name),
            HostPattern::Wildcard(suffix) => self.names.iter().any(|own| own.strip_prefix("*.") == Some(suffix)),
            HostPattern::Any => true,
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.expires < now.cast_signed()
    }
}

// === impl BadCertificate ===

impl BadCertificate {
    pub(crate) fn issue(&self) -> Issue {
        let field = match self {
            BadCertificate::Missing(key) | BadCertificate::Unreadable { key, .. } => key,
            BadCertificate::KeyOfAnother => "tls.key",
        };
        Issue::new(format!("data[{field}]"), Reason::InvalidValue, format!("{self}; the default certificate serves"))
    }
}

/// The certificate for names that nobody has one for, self-signed and new with each start, under the name that ingress-nginx gives it.
pub(crate) fn make_own() -> Result<Arc<CertifiedKey>, rcgen::Error> {
    let mut request = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    request.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme Co");
    request.distinguished_name.push(rcgen::DnType::CommonName, "Kubernetes Ingress Controller Fake Certificate");
    let key = rcgen::KeyPair::generate()?;
    let certificate = request.self_signed(&key)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let key = CertifiedKey::from_der(vec![certificate.der().clone()], der, &default_provider());
    key.map(Arc::new).map_err(|_| rcgen::Error::CouldNotParseKeyPair)
}

fn value<'a>(secret: &'a Secret, key: &'static str) -> Result<&'a [u8], BadCertificate> {
    secret.data.get(key).map(|value| &**value).filter(|value| !value.is_empty()).ok_or(BadCertificate::Missing(key))
}

fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<Text> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<Text> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(|name| name.to_ascii_lowercase().into()).collect()
}
