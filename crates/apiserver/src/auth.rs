//! Who asks: client certificates of our own authority, and tokens of service accounts.
//!
//! Owns the keys in `DATA-DIR/pki` and what is made with them. Authorization is none of it: whoever is known may do everything.

mod certificates;
mod kubeconfig;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;

use crate::api_state::Api;
use crate::store::key;
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
pub(crate) fn authenticate_token(api: &Api, token: &str) -> Option<User> {
    let claims = api.tokens.verify(token)?;
    let account = api.kinds.core("serviceaccounts");
    let found = api.store.get(api.collection(account), &key(&claims.namespace, &claims.account))?.parse();
    if found["metadata"].text("uid") != claims.account_uid {
        return None;
    }
    let mut extra = BTreeMap::new();
    if let Some(bound) = &claims.bound {
        let kind = api.kinds.core(&format!("{}s", bound.kind));
        let namespace = if kind.namespaced { claims.namespace.as_str() } else { "" };
        let object = api.store.get(api.collection(kind), &key(namespace, &bound.name))?.parse();
        if object["metadata"].text("uid") != bound.uid {
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
