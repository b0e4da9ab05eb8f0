//! Tokens of service accounts: JSON Web Tokens (RFC 7519) signed with ES256.
//!
//! Source: KEP-1205 (bound service account tokens); pkg/serviceaccount/claims.go.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{PkiError, kubeconfig::write_private};
use crate::names;
use crate::value::Get;

/// Signs tokens and knows its own.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    key_id: String,
    issuer: String,
}

/// The object with which a token ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// `pod`, `secret`, `node`.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) account_uid: String,
    pub(crate) bound: Option<Bound>,
}

/// A longer one is none of ours.
const MAX_TOKEN: usize = 8 << 10;

impl Tokens {
    /// Reads the key from `folder`, or makes one. `issuer` is who the tokens say they are from and, by default, for.
    ///
    /// The file is PEM (PKCS #8), so that kube-controller-manager's --service-account-private-key-file can name it; an older one, which holds
    /// the same key in DER, is rewritten.
    pub(crate) fn open(folder: &Path, issuer: String) -> Result<Tokens, PkiError> {
        let path = folder.join("service-account.key");
        let unusable = || PkiError::Key { path: path.clone() };
        let (pkcs8, is_pem) = match std::fs::read(&path) {
            Ok(text) if text.starts_with(b"-----BEGIN") => {
                let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| unusable())?;
                (key.secret_pkcs8_der().to_vec(), true)
            }
            Ok(der) => (der, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                (made.map_err(|_| unusable())?.as_ref().to_vec(), false)
            }
            Err(source) => return Err(PkiError::File { path, source }),
        };
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| unusable())?;
        if !is_pem {
            write_private(&path, pem(&pkcs8).as_bytes())?;
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key().as_ref());
        Ok(Tokens { key, key_id: BASE64.encode(digest), issuer })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token for an account that is good for `seconds`.
    pub(crate) fn issue(
        &self,
        namespace: &str,
        account: &str,
        uid: &str,
        bound: Option<&Bound>,
        audiences: &[String],
        seconds: i64,
    ) -> String {
        let now = now();
        let mut about = json!({"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}});
        if let Some(bound) = bound {
            about[&bound.kind] = json!({"name": bound.name, "uid": bound.uid});
        }
        let claims = json!({
            "aud": audiences,
            "exp": now.saturating_add(seconds),
            "iat": now,
            "iss": self.issuer,
            "jti": names::uid(),
            "kubernetes.io": about,
            "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        });
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("BUG: the system has no random numbers");
        format!("{text}.{}", BASE64.encode(signature))
    }

    /// What a token says, if it is ours, for us, and good now.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(text.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        let (header, claims) = text.split_once('.')?;
        let read = |part: &str| -> Option<Value> { serde_json::from_slice(&BASE64.decode(part).ok()?).ok() };
        let (header, claims) = (read(header)?, read(claims)?);
        let now = now();
        let good = header.text("alg") == "ES256"
            && claims.text("iss") == self.issuer
            && claims.texts("aud").contains(&self.issuer.as_str())
            && claims.int("nbf") <= now
            && now < claims.int("exp");
        if !good {
            return None;
        }
        let about = claims.at("kubernetes.io");
        let bound = ["pod", "secret", "node"].into_iter().find(|kind| about.has(kind)).map(|kind| Bound {
            kind: kind.to_owned(),
            name: about[kind].text("name").to_owned(),
            uid: about[kind].text("uid").to_owned(),
        });
        Some(Claims {
            namespace: about.text("namespace").to_owned(),
            account: about["serviceaccount"].text("name").to_owned(),
            account_uid: about["serviceaccount"].text("uid").to_owned(),
            bound,
        })
    }

    /// The public key as a JSON Web Key Set (RFC 7517), for `/openid/v1/jwks`.
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: 4, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32.min(point.len().saturating_sub(1)));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": BASE64.encode(x), "y": BASE64.encode(y)}]})
    }
}

/// RFC 7468: lines of 64 characters.
fn pem(pkcs8: &[u8]) -> String {
    let text = STANDARD.encode(pkcs8);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|start| &text[start..text.len().min(start + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
