//! NameView from facts: one Service, import, namespace or pod at a time.
//!
//! Owns which endpoints a name may show: ready ones of either family, each with its slice's ports. Every Service has an entry, also
//! one without endpoints, so that DNS can tell "nothing there now" from "no such name".

use std::net::IpAddr;
use std::sync::Arc;

use super::take::Touched;
use crate::facts::{Facts, ServiceKind, Slice};
use crate::name::{NameView, NamedEndpoint, NamedImport, NamedKind, NamedService};
use crate::names::{Family, Revision, ServiceName, Text};

/// Which cluster a slice was imported from (KEP-1645).
const CLUSTER_LABEL: &str = "multicluster.kubernetes.io/source-cluster";

/// Takes up what was touched; tells whether the view changed.
pub(super) fn resolve(view: &mut Arc<NameView>, facts: &Facts, touched: &Touched, revision: Revision) -> bool {
    let before = view.revision;
    for name in touched.services.keys() {
        let now = named_service(facts, name);
        if view.services.get(name) != now.as_ref() {
            writable(view, revision).services.put(revision, name.clone(), now);
        }
    }
    for name in &touched.imports {
        let now = named_import(facts, name);
        if view.imports.get(name) != now.as_ref() {
            writable(view, revision).imports.put(revision, name.clone(), now);
        }
    }
    for name in &touched.namespaces {
        writable(view, revision).namespaces.put(revision, name.clone(), facts.namespaces.get(name).cloned());
    }
    for name in &touched.pods {
        writable(view, revision).pods.put(revision, name.clone(), facts.pods.get(name).cloned());
    }
    view.revision != before
}

fn writable(view: &mut Arc<NameView>, revision: Revision) -> &mut NameView {
    let view = Arc::make_mut(view);
    view.revision = revision;
    view
}

fn named_service(facts: &Facts, name: &ServiceName) -> Option<Arc<NamedService>> {
    let service = facts.services.get(name)?;
    let mut endpoints: Vec<NamedEndpoint> = facts.slices_of(name).flat_map(named_endpoints).collect();
    sort(&mut endpoints, |endpoint| endpoint);
    Some(Arc::new(NamedService {
        kind: match &service.kind {
            ServiceKind::ClusterIp => NamedKind::ClusterIp(service.cluster_ips.clone()),
            ServiceKind::Headless => NamedKind::Headless,
            ServiceKind::ExternalName(host) => NamedKind::ExternalName(host.clone()),
        },
        ports: service.ports.clone(),
        endpoints: endpoints.into(),
        external_ips: service.external_ips.clone(),
        load_balancer: service.load_balancer_names.clone(),
        labels: service.labels.clone(),
        triggered_at_ms: facts.slices_of(name).filter_map(|slice| slice.triggered_at_ms).max(),
    }))
}

fn named_import(facts: &Facts, name: &ServiceName) -> Option<Arc<NamedImport>> {
    let import = facts.service_imports.get(name)?.clone();
    let slices = facts.imported_slices.get(name).into_iter().flat_map(|slices| slices.values());
    let mut endpoints: Vec<(Text, NamedEndpoint)> = slices
        .flat_map(|slice| {
            let cluster = slice.labels.get(CLUSTER_LABEL).cloned().unwrap_or_default();
            named_endpoints(slice).map(move |endpoint| (cluster.clone(), endpoint))
        })
        .collect();
    sort(&mut endpoints, |(_, endpoint)| endpoint);
    Some(Arc::new(NamedImport { import, endpoints }))
}

fn named_endpoints(slice: &Slice) -> impl Iterator<Item = NamedEndpoint> {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready && Family::of(endpoint.address) == slice.family);
    ready.map(|endpoint| NamedEndpoint {
        address: endpoint.address,
        hostname: endpoint.hostname.clone(),
        pod: endpoint.pod.clone(),
        zone: endpoint.zone.clone(),
        ports: slice.ports.clone(),
    })
}

/// By address, else as the slices have it; one that two slices tell alike is there once.
fn sort<T: PartialEq>(endpoints: &mut Vec<T>, endpoint: fn(&T) -> &NamedEndpoint) {
    endpoints.sort_by_key(|entry| -> IpAddr { endpoint(entry).address });
    endpoints.dedup();
}
