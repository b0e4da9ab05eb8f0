//! NameView from facts: one Service, import, namespace or pod at a time.
//!
//! Every Service has an entry, also one without endpoints, so that DNS can tell "nothing there now" from "no such name".

use std::collections::HashMap;
use std::sync::Arc;

use super::take::Touched;
use crate::facts::{Facts, ServiceKind, Slice, Slices};
use crate::name::{NameView, NamedImport, NamedKind, NamedService};
use crate::names::{Revision, ServiceName};

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
    Some(Arc::new(NamedService {
        kind: match &service.kind {
            ServiceKind::ClusterIp => NamedKind::ClusterIp(service.cluster_ips.clone()),
            ServiceKind::Headless => NamedKind::Headless,
            ServiceKind::ExternalName(host) => NamedKind::ExternalName(host.clone()),
        },
        ports: service.ports.clone(),
        slices: slices(&facts.slices, name),
        external_ips: service.external_ips.clone(),
        load_balancer: service.load_balancer_names.clone(),
        labels: service.labels.clone(),
        triggered_at_ms: facts.slices_of(name).filter_map(|slice| slice.triggered_at_ms).max(),
    }))
}

fn named_import(facts: &Facts, name: &ServiceName) -> Option<Arc<NamedImport>> {
    let import = facts.service_imports.get(name)?.clone();
    Some(Arc::new(NamedImport { import, slices: slices(&facts.imported_slices, name) }))
}

fn slices(all: &HashMap<ServiceName, Slices>, name: &ServiceName) -> Box<[Arc<Slice>]> {
    all.get(name).into_iter().flat_map(Slices::values).cloned().collect()
}
