//! What is wrong with Services and slices by themselves, whichever views are wanted.

use super::ledger::Told;
use crate::facts::{Facts, ServiceKind, ServicePort};
use crate::issue::{Issue, Reason};
use crate::names::{Family, ServiceName, SliceName};

/// Endpoints whose address is not of the family that their slice promises; nobody uses them.
pub(super) fn of_slice(facts: &Facts, name: &SliceName) -> Told {
    let Some(slice) = facts.slice(name) else { return Vec::new() };
    let wrong = slice.endpoints.iter().filter(|endpoint| Family::of(endpoint.address) != slice.family);
    wrong
        .map(|endpoint| {
            let message = format!("{} is no {} address; the endpoint is left out", endpoint.address, slice.family);
            (name.object(), Issue::new(format!("endpoints[{}].addresses[0]", endpoint.at), Reason::WrongFamily, message))
        })
        .collect()
}

/// Ports of a Service that none of its slices has, though they have endpoints: the link is the port's name, which people forget
/// when they write slices by hand.
pub(super) fn of_service(facts: &Facts, name: &ServiceName) -> Told {
    let Some(service) = facts.services.get(name).filter(|service| service.kind == ServiceKind::ClusterIp) else { return Vec::new() };
    let slices = || facts.slices_of(name).filter(|slice| !slice.endpoints.is_empty());
    if slices().next().is_none() {
        return Vec::new();
    }
    let has = |port: &ServicePort| {
        let mut known = slices().flat_map(|slice| slice.ports.iter());
        known.any(|known| known.port != 0 && known.name == port.name && known.protocol == port.protocol)
    };
    let missing = service.ports.iter().filter(|port| !has(port));
    missing
        .map(|port| {
            let message = format!("no EndpointSlice of this Service has a {} port named {:?}", port.protocol, port.name);
            (name.object(), Issue::new(format!("spec.ports[{}].name", port.at), Reason::NoSuchPort, message))
        })
        .collect()
}
