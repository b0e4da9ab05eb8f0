//! Who sends: an address, or a Pod by its name.

use std::fmt;
use std::net::IpAddr;

use model::facts::{Pod, PodName, Slice};
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

    /// The namespace whose search list kubelet writes for the sender, if it is a pod that is known.
    pub fn search_list_of(&self, facts: &Facts, trace: &mut Trace) -> Option<String> {
        let is_it = |name: &PodName, pod: &Pod| match self {
            Sender::Address(address) => !pod.host_network && pod.ips.contains(address),
            Sender::Pod { namespace, name: its } => *name.namespace == **namespace && *name.name == **its,
        };
        if let Some((name, pod)) = facts.pods.iter().find(|(name, pod)| is_it(name, pod)) {
            if pod.host_network {
                let object = ObjectRef { kind: ObjectKind::Pod, namespace: name.namespace.clone(), name: name.name.clone() };
                trace.say_by(format!("{self} is on its node's network: it has the node's search list"), &object, "spec.hostNetwork");
                return None;
            }
            return Some(name.namespace.to_string());
        }
        let address = match self {
            Sender::Address(address) => *address,
            Sender::Pod { namespace, .. } => return Some(namespace.clone()),
        };
        let leads = |slice: &Slice| (0..slice.endpoints.len()).any(|at| slice.endpoints[at].address == address && slice.pod(at).is_some());
        let found = facts.slices.iter().find(|(_, slices)| slices.values().any(|slice| leads(slice)));
        if found.is_none() {
            trace.say(format!("no pod is known at {address}: its search list is not either"));
        }
        found.map(|(service, _)| service.namespace.to_string())
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
