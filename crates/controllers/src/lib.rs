//! Controllers: what the API's objects make happen to other objects.
//!
//! Each controller is a room with one pure function, [`Controller::reconcile`]: a key and what is known go in, the writes that are
//! still missing come out. The driver feeds the cache from watches, hands out keys, and sends the writes. Ordinary clients of the
//! API, event-driven; must not know the store, nor what a Service is good for.
//!
//! Objects are JSON values here: a template must reach the pods that are made of it with every field, known to us or not.

mod cache;
pub mod deployment;
mod driver;
pub mod endpoints;
pub mod garbage;
mod json;
pub mod kinds;
pub mod load_balancers;
pub mod mirror;
pub mod namespaces;
mod plan;
mod pods;
pub mod replica_set;
pub mod service_accounts;
pub mod slices;
#[cfg(test)]
mod world;

pub use cache::{Cache, Key, Words};
pub use driver::run;
pub use plan::{Plan, Write};

use std::time::SystemTime;

use api::Kind;
use serde_json::Value;

/// One controller.
pub trait Controller: Send + Sync {
    /// As events and logs name it: `deployment-controller`.
    fn name(&self) -> &'static str;

    /// What it has to see.
    fn reads(&self) -> &'static [&'static Kind];

    /// By which words it finds objects again ([`Cache::found_by`]); they begin with what no other controller's begin with.
    fn words(&self) -> Option<Words> {
        None
    }

    /// The keys that have to be looked at again once `object` changed. Called with the object before and after each change.
    fn touched(&self, kind: &Kind, object: &Value, cache: &Cache) -> Vec<Key>;

    /// What has to be written so that the objects of `key` are as they should be.
    fn reconcile(&self, key: &Key, cache: &Cache, now: SystemTime) -> Plan;
}

/// All controllers of the embedded API. `root_ca` (PEM) is what pods trust the API by.
pub fn all(root_ca: String) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(deployment::Deployments),
        Box::new(replica_set::ReplicaSets),
        Box::new(slices::Slices),
        Box::new(endpoints::EndpointsOfServices),
        Box::new(mirror::Mirrors),
        Box::new(garbage::GarbageCollector),
        Box::new(namespaces::Namespaces),
        Box::new(service_accounts::ServiceAccounts { root_ca }),
    ]
}
