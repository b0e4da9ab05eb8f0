//! ServiceCIDRs: the ranges from which Services get their addresses, and when one of them may go.
//!
//! A range is deleted in two steps, as with kube-controller-manager: it gives out no address any more, and it goes once every address taken
//! from it lies in another range too. Both are seen within one transaction here, so that nobody has to wait for caches to agree.
//!
//! Source: KEP-1880; pkg/controller/servicecidrs; pkg/registry/core/service/ipallocator/cidrallocator.go.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::ip_address;
use super::world::World;
use crate::kinds::CollectionId;
use crate::value::Get;

/// The range that the server was started with.
pub(crate) const DEFAULT: &str = "kubernetes";

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Kubernetes Service CIDR is ready";
const IN_USE: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// A ServiceCIDR serves at once, and does not go before [`settle`] lets it.
pub(super) fn prepare(new: &mut Value, old: Option<&Value>) {
    if old.is_none() {
        let time = new["metadata"].text("creationTimestamp").to_owned();
        new["status"] = json!({"conditions": [condition("True", "", READY, &time)]});
    }
    let meta = &mut new["metadata"];
    let mut finalizers = meta.items("finalizers").to_vec();
    if !meta.has("deletionTimestamp") && !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
        meta["finalizers"] = finalizers.into();
    }
}

/// The ranges of one family that give out addresses: those that the server was started with first.
pub(super) fn ranges(world: &World<'_, '_>, is_ipv4: bool) -> Vec<IpNet> {
    let mut ready: Vec<Value> = all(world).into_iter().filter(is_ready).collect();
    ready.sort_by_key(|range| range["metadata"].text("name") != DEFAULT);
    ready.iter().flat_map(nets).filter(|net| net.addr().is_ipv4() == is_ipv4).collect()
}

/// Lets every ServiceCIDR go that is to be deleted and whose addresses other ranges hold as well; says of the others why they stay.
///
/// To be called after whatever may change that: a range or an address has come or gone.
pub(super) fn settle(world: &mut World<'_, '_>) {
    let waiting = all(world).into_iter().filter(|range| range["metadata"].has("deletionTimestamp"));
    let waiting: Vec<Value> = waiting.filter(|range| range["metadata"].texts("finalizers").contains(&FINALIZER)).collect();
    let collection = collection(world);
    for mut range in waiting {
        if is_needed(world, &range) {
            // It is told once: the next time the condition is there.
            if range["status"]["conditions"][0].text("reason") != "Terminating" {
                range["status"] = json!({"conditions": [condition("False", "Terminating", IN_USE, world.now)]});
                world.txn.put(collection, &mut range);
            }
            continue;
        }
        let finalizers: Vec<&str> = range["metadata"].texts("finalizers").into_iter().filter(|name| *name != FINALIZER).collect();
        if finalizers.is_empty() {
            world.txn.delete(collection, &mut range);
        } else {
            let finalizers = json!(finalizers);
            range["metadata"]["finalizers"] = finalizers;
            world.txn.put(collection, &mut range);
        }
    }
}

/// Whether some address would lie in no range without this one.
fn is_needed(world: &World<'_, '_>, range: &Value) -> bool {
    let own = nets(range);
    let name = range["metadata"].text("name");
    let others: Vec<IpNet> = all(world).iter().filter(|other| other["metadata"].text("name") != name).flat_map(nets).collect();
    if own.iter().all(|net| others.iter().any(|other| other.contains(net))) {
        return false;
    }
    let addresses = world.txn.objects(world.ip_addresses());
    let addresses = addresses.iter().filter(|(_, stored)| ip_address::is_allocated(&stored.index));
    let mut addresses = addresses.filter_map(|(name, _)| name.parse::<IpAddr>().ok());
    addresses.any(|ip| own.iter().any(|net| net.contains(&ip)) && !others.iter().any(|net| net.contains(&ip)))
}

/// One that nobody has said anything about is ready, for a cluster without controllers.
fn is_ready(range: &Value) -> bool {
    let condition = range["status"].items("conditions").iter().find(|condition| condition.text("type") == "Ready");
    !range["metadata"].has("deletionTimestamp") && condition.is_none_or(|condition| condition.text("status") == "True")
}

fn condition(status: &str, reason: &str, message: &str, time: &str) -> Value {
    json!({"type": "Ready", "status": status, "lastTransitionTime": time, "reason": reason, "message": message})
}

fn nets(range: &Value) -> Vec<IpNet> {
    range["spec"].texts("cidrs").into_iter().filter_map(|cidr| cidr.parse().ok()).collect()
}

/// There are a handful at most.
fn all(world: &World<'_, '_>) -> Vec<Value> {
    world.txn.objects(collection(world)).iter().map(|(_, stored)| stored.parse()).collect()
}

fn collection(world: &World<'_, '_>) -> CollectionId {
    world.kinds.networking("servicecidrs").stored.expect("BUG: ServiceCIDR is not stored")
}
