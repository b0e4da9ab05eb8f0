//! Endpoints, the old form of slices: read from files alone, where no controller has mirrored them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::core::{EndpointAddress, EndpointSubset};
use model::facts::{Endpoint, Index, Labels, Slice, SlicePort, Topology};
use model::{Family, ServiceName, SliceName};

use super::Fields;

/// A slice with its own name.
pub(crate) type NamedSlice = (SliceName, Arc<Slice>);

/// Endpoints with this label, or with the annotation of a leader election, are nobody's to mirror.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The slices that the mirroring controller would make: one for each subset and family. Its own limit of 1,000 addresses and its
/// merging of subsets with equal ports change nothing for a reader.
///
/// Source: KEP-2116, and `pkg/controller/endpointslicemirroring`.
pub(super) fn lower(endpoints: &api::Endpoints, fields: &mut Fields<'_>) -> Vec<NamedSlice> {
    let meta = &endpoints.metadata;
    if meta.labels.get(SKIP).is_some_and(|skip| &**skip == "true") || meta.annotations.contains_key(LEADER) {
        return Vec::new();
    }
    let service = ServiceName { namespace: fields.text(&meta.namespace), name: fields.text(&meta.name) };
    let mut labels: Vec<_> = meta.labels.0.iter().map(|(key, value)| (fields.text(key), fields.text(value))).collect();
    labels.push((fields.text(SERVICE_NAME), service.name.clone()));
    let labels: Arc<Labels> = Arc::new(labels.into_iter().collect());
    let mut slices = Vec::new();
    for (index, subset) in endpoints.subsets.iter().enumerate() {
        let ports = ports(index, subset, fields);
        for (family, endpoints) in by_family(index, subset, fields) {
            let (written, endpoints): (Vec<&EndpointAddress>, Vec<Endpoint>) = endpoints.into_iter().unzip();
            let slice = Slice {
                service: service.clone(),
                family,
                ports: ports.clone(),
                endpoints: endpoints.into(),
                names: fields.names(written.iter().map(|it| (Some(&*it.hostname), pod(it)))),
                labels: labels.clone(),
                triggered_at_ms: None,
            };
            // No name of the API has such a sign in it: never taken for a slice that somebody wrote.
            let name = format!("{}~{index}-{}", meta.name, family.to_string().to_ascii_lowercase());
            slices.push((SliceName { namespace: service.namespace.clone(), name: name.into() }, Arc::new(slice)));
        }
    }
    slices
}

fn ports(subset_at: usize, subset: &EndpointSubset, fields: &mut Fields<'_>) -> Arc<[SlicePort]> {
    let mut ports = Vec::new();
    for (index, port) in subset.ports.iter().enumerate() {
        let path = |field: &'static str| move || format!("subsets[{subset_at}].ports[{index}].{field}");
        let number = fields.port(port.port, path("port"));
        let protocol = fields.protocol(&port.protocol, path("protocol"));
        if let (Some(port_number), Some(protocol)) = (number, protocol) {
            ports.push(SlicePort { name: fields.text(&port.name), protocol, port: port_number });
        }
    }
    ports.into()
}

/// Each endpoint with what it was read from.
type Read<'a> = (&'a EndpointAddress, Endpoint);

fn by_family<'a>(subset_at: usize, subset: &'a EndpointSubset, fields: &mut Fields<'_>) -> BTreeMap<Family, Vec<Read<'a>>> {
    let mut families: BTreeMap<Family, Vec<Read<'a>>> = BTreeMap::new();
    let lists = [("addresses", &subset.addresses, true), ("notReadyAddresses", &subset.not_ready_addresses, false)];
    for (list, addresses, ready) in lists {
        for (index, address) in addresses.iter().enumerate() {
            let found = endpoint(index, address, ready, || format!("subsets[{subset_at}].{list}[{index}].ip"), fields);
            if let Some(endpoint) = found {
                families.entry(Family::of(endpoint.address)).or_default().push((address, endpoint));
            }
        }
    }
    families
}

fn endpoint(
    index: usize,
    address: &EndpointAddress,
    ready: bool,
    field: impl FnOnce() -> String,
    fields: &mut Fields<'_>,
) -> Option<Endpoint> {
    let topology = Topology { node: fields.some_text(address.node_name.as_deref()), ..Topology::default() };
    Some(Endpoint {
        at: index as Index,
        address: fields.address(&address.ip, field)?,
        ready,
        serving: ready,
        terminating: false,
        topology: fields.texts().topology(topology),
    })
}

fn pod(address: &EndpointAddress) -> Option<&str> {
    address.target_ref.as_ref().filter(|target| &*target.kind == "Pod").map(|target| &*target.name)
}
