//! Endpoints, the old form of slices: read from files alone, where no controller has mirrored them.

use api::discovery::{Endpoint, EndpointConditions, EndpointPort};
use api::{EndpointSlice, Endpoints, ObjectMeta};

/// The slices that the mirroring controller would have made of `endpoints`: one for each subset and family.
pub(crate) fn slices_of(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let meta = &endpoints.metadata;
    let mut slices = Vec::new();
    for (index, subset) in endpoints.subsets.iter().enumerate() {
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
        let all: Vec<_> = ready.chain(not_ready).collect();
        for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
            let found: Vec<_> = all.iter().filter(|(address, _)| address.ip.contains(':') == is_v6).map(endpoint).collect();
            if found.is_empty() {
                continue;
            }
            let mut labels = meta.labels.clone();
            labels.0.insert("kubernetes.io/service-name".into(), meta.name.clone());
            let ports = subset.ports.iter().map(|port| EndpointPort {
                name: Some(port.name.clone()),
                protocol: Some(port.protocol.clone()),
                port: Some(port.port),
                app_protocol: port.app_protocol.clone(),
            });
            slices.push(EndpointSlice {
                metadata: ObjectMeta {
                    // No name of the API has such a sign in it: never taken for a slice that somebody wrote.
                    name: format!("{}~{index}-{family}", meta.name).into(),
                    namespace: meta.namespace.clone(),
                    labels,
                    ..ObjectMeta::default()
                },
                endpoints: found,
                ports: ports.collect(),
                address_type: family.into(),
            });
        }
    }
    slices
}

fn endpoint((address, ready): &(&api::core::EndpointAddress, bool)) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: EndpointConditions { ready: Some(*ready), ..EndpointConditions::default() },
        hostname: Some(address.hostname.clone()).filter(|hostname| !hostname.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    }
}
