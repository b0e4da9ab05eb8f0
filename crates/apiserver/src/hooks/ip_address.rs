//! IPAddresses: each says whose an address of the ServiceCIDRs is.
//!
//! Source: KEP-1880; pkg/registry/core/service/ipallocator.

use serde_json::{Value, json};

use super::world::World;
use crate::names;
use crate::selectors::Index;
use crate::value::Get;

/// The label of an IPAddress, and its value where the server gave the address to a Service.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// Whether the server gave the address to a Service.
pub(super) fn is_allocated(address: &Index) -> bool {
    address.label(MANAGED_BY) == Some(ALLOCATOR)
}

/// Makes the IPAddress of a Service's address if it is not there.
pub(super) fn ensure(world: &mut World<'_, '_>, ip: &str, service: &Value) {
    let collection = world.ip_addresses();
    if world.txn.get(collection, ip).is_some() {
        return;
    }
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    let meta = service.at("metadata");
    let mut address = json!({
        "metadata": {
            "name": ip,
            "uid": names::uid(),
            "creationTimestamp": world.now,
            "labels": {"ipaddress.kubernetes.io/ip-family": family, MANAGED_BY: ALLOCATOR},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": meta.text("namespace"), "name": meta.text("name")}},
    });
    world.txn.put(collection, &mut address);
}

pub(super) fn release(world: &mut World<'_, '_>, ip: &str) {
    let collection = world.ip_addresses();
    if let Some(stored) = world.txn.get(collection, ip) {
        world.txn.delete(collection, &mut stored.parse());
    }
}
