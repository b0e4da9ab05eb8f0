//! Who sends: an address, or a Pod by its name.

use std::fmt;
use std::net::IpAddr;

use model::facts::PodName;
use model::{Facts, Family, ObjectKind, ObjectRef};
use serde::{Deserialize, Serialize};

use super::Trace;

/// As it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sender {
    Address(IpAddr),
    Pod { namespace: String, name: String },
}

// === impl Sender ===

impl Sender {
    /// `IP`, `POD` (of namespace default) or `NAMESPACE/POD`.
    pub fn parse(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Sender::Address(address);
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Sender::Pod { namespace: namespace.to_string(), name: name.to_string() }
    }

    /// The address that it sends from, of `family` if that is given, and what says so; `None` where nothing does.
    ///
    /// Pods are followed only where names need them: else those are known that an EndpointSlice leads to.
    pub fn address(&self, facts: &Facts, family: Option<Family>, trace: &mut Trace) -> Option<IpAddr> {
        let (namespace, name) = match self {
            Sender::Address(address) => return Some(*address),
            Sender::Pod { namespace, name } => (namespace.as_str(), name.as_str()),
        };
        let fits = |address: &IpAddr| family.is_none_or(|family| Family::of(*address) == family);
        let pod = facts.pods.get(&PodName { namespace: namespace.into(), name: name.into() });
        if let Some(address) = pod.and_then(|pod| pod.ips.iter().copied().find(fits)) {
            let object = ObjectRef { kind: ObjectKind::Pod, namespace: namespace.into(), name: name.into() };
            trace.say_by(format!("{self} has {address}"), &object, "status.podIPs");
            return Some(address);
        }
        let of_namespace = facts.slices.iter().filter(|(service, _)| &*service.namespace == namespace);
        for (slice_name, slice) in of_namespace.flat_map(|(_, slices)| slices) {
            let mut named = slice.endpoints.iter().enumerate().filter(|(at, _)| slice.pod(*at) == Some(name));
            if let Some((index, endpoint)) = named.find(|(_, endpoint)| fits(&endpoint.address)) {
                let object = ObjectRef { kind: ObjectKind::EndpointSlice, namespace: namespace.into(), name: slice_name.clone() };
                trace.say_by(format!("{self} has {}", endpoint.address), &object, format!("endpoints[{index}].targetRef"));
                return Some(endpoint.address);
            }
        }
        None
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Address(address) => address.fmt(f),
            Sender::Pod { namespace, name } => write!(f, "Pod {namespace}/{name}"),
        }
    }
}
