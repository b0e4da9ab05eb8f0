//! What a hook may use beside its object.

use ipnet::IpNet;
use serde_json::Value;

use crate::kinds::{CollectionId, Kind, Kinds};
use crate::store::{Txn, key};

/// What the whole cluster agrees on.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// One per family; the first is the default family's.
    pub(crate) service_cidrs: Vec<IpNet>,
}

/// What a hook may use beside its object.
pub(crate) struct World<'a, 'b> {
    pub(crate) txn: &'a mut Txn<'b>,
    pub(crate) kinds: &'a Kinds,
    pub(crate) cluster: &'a Cluster,
    pub(crate) kind: &'a Kind,
    /// RFC 3339.
    pub(crate) now: &'a str,
}

// === impl World ===

impl World<'_, '_> {
    /// A core object by its name.
    pub(super) fn core(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.txn.get(self.collection(resource), &key(namespace, name)).map(|stored| stored.parse())
    }

    pub(super) fn collection(&self, resource: &str) -> CollectionId {
        self.kinds.core(resource).stored.expect("BUG: a core kind is not stored")
    }

    pub(super) fn ip_addresses(&self) -> CollectionId {
        self.kinds.networking("ipaddresses").stored.expect("BUG: IPAddress is not stored")
    }
}
