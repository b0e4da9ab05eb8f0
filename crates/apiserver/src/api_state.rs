//! What all requests share.

use std::sync::Arc;
use std::time::SystemTime;

use runtime::Drain;
use runtime::time::Rfc3339;

use crate::auth::{self, Tokens, User};
use crate::hooks::{Cluster, World};
use crate::kinds::{CollectionId, Kind, Kinds};
use crate::kubelet::Kubelet;
use crate::schema::Schema;
use crate::store::{Store, Txn};

pub(crate) struct Api {
    pub(crate) schema: Schema,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) tokens: Tokens,
    pub(crate) kubelet: Arc<dyn Kubelet>,
    /// Watches end when it starts.
    pub(crate) drain: Drain,
}

impl Api {
    /// Where objects of a kind are kept. Only called for kinds that are.
    pub(crate) fn collection(&self, kind: &Kind) -> CollectionId {
        kind.stored.expect("BUG: a kind that is not stored was looked up")
    }

    /// Whose token this is.
    pub(crate) fn user_of_token(&self, token: &str) -> Option<User> {
        auth::user_of_token(&self.tokens, &self.kinds, &self.store, token)
    }

    pub(crate) fn world<'a, 'b>(&'a self, txn: &'a mut Txn<'b>, kind: &'a Kind, now: &'a str) -> World<'a, 'b> {
        World { txn, kinds: &self.kinds, cluster: &self.cluster, kind, now }
    }
}

/// The time as metadata has it.
pub(crate) fn timestamp() -> String {
    Rfc3339(SystemTime::now()).to_string()
}
