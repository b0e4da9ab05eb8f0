//! Who asks: client certificates of our own authority, and tokens of service accounts.
//!
//! Owns the keys in `DATA-DIR/pki` and what is made with them. Authorization is none of it: whoever is known may do everything.

mod certificates;
mod kubeconfig;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;

use crate::kinds::{Kind, Kinds};
use crate::store::{Store, key};
use crate::value::Get;

pub use certificates::PkiError;
pub(crate) use certificates::{Authority, user_of_certificate};
pub(crate) use kubeconfig::{kubeconfig, write_private};
pub(crate) use tokens::{Bound, Claims, Tokens};

/// Somebody whom the server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, String>,
}

/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";

/// Whose token this is: signed by us, not over, meant for us, and of an account that still exists.
pub(crate) fn user_of_token(tokens: &Tokens, kinds: &Kinds, store: &Store, token: &str) -> Option<User> {
    let uid_of = |kind: &Kind, namespace: &str, name: &str| {
        let found = store.get(kind.stored?, &key(namespace, name))?.parse();
        Some(found["metadata"].text("uid").to_owned())
    };
    let claims = tokens.verify(token)?;
    if uid_of(kinds.core("serviceaccounts"), &claims.namespace, &claims.account)? != claims.account_uid {
        return None;
    }
    let mut extra = BTreeMap::new();
    if let Some(bound) = &claims.bound {
        let kind = kinds.core(&format!("{}s", bound.kind));
        let namespace = if kind.namespaced { claims.namespace.as_str() } else { "" };
        if uid_of(kind, namespace, &bound.name)? != bound.uid {
            return None;
        }
        extra.insert(format!("authentication.kubernetes.io/{}-name", bound.kind), bound.name.clone());
        extra.insert(format!("authentication.kubernetes.io/{}-uid", bound.kind), bound.uid.clone());
    }
    let Claims { namespace, account, account_uid, .. } = claims;
    Some(User {
        name: format!("system:serviceaccount:{namespace}:{account}"),
        uid: account_uid,
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), AUTHENTICATED.to_owned()],
        extra,
    })
}
