//! NodeView from facts: one Service at a time, each family for itself.
//!
//! Owns which Services are ours, which addresses and policies hold, and what is global to the node. Endpoints are `choose`'s.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::Config;
use super::take::Touched;
use crate::choose::{self, Candidate, Place};
use crate::facts::{Facts, Node, Service, ServiceKind, ServicePort, Slice, TrafficPolicy};
use crate::names::{Family, Revision, ServiceName};
use crate::node::{HealthCheck, NodeKey, NodeService, NodeServicePort, NodeView, Verdict};

const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const BALANCE_ANNOTATION: &str = "rutter.dev/balance";

/// Takes up what was touched; tells whether the view changed.
pub(super) fn resolve(view: &mut Arc<NodeView>, config: &Config, facts: &Facts, touched: &Touched, revision: Revision) -> bool {
    let mut changed = false;
    let mut zone_moved = false;
    if touched.nodes.contains(&config.node_name) {
        let node = facts.nodes.get(&config.node_name).cloned();
        let zone_of = |node: Option<&Arc<Node>>| node.and_then(|node| node.zone.clone());
        zone_moved = zone_of(view.node.as_ref()) != zone_of(node.as_ref());
        let view = Arc::make_mut(view);
        view.node = node;
        view.globals_at = revision;
        changed = true;
    }
    if touched.service_cidrs {
        let cidrs: BTreeSet<IpNet> = facts.service_cidrs.values().flatten().copied().collect();
        if !cidrs.iter().eq(view.service_cidrs.iter()) {
            let view = Arc::make_mut(view);
            view.service_cidrs = cidrs.into_iter().collect();
            view.globals_at = revision;
            changed = true;
        }
    }
    let node = view.node.clone();
    let place = Place {
        node: &config.node_name,
        zone: node.as_ref().and_then(|node| node.zone.as_deref()),
        ignore_node_hints: config.ignore_node_hints,
    };
    let mut look = |name: &ServiceName| {
        for family in [Family::V4, Family::V6] {
            let key = NodeKey { service: name.clone(), family };
            let now = node_service(config, facts, name, family, place).map(Arc::new);
            if view.services.get(&key) != now.as_ref() {
                Arc::make_mut(view).services.put(revision, key, now);
                changed = true;
            }
        }
    };
    if zone_moved {
        // Zone hints mean something else from now on. Services that are gone are among the touched ones.
        facts.services.keys().for_each(&mut look);
    }
    touched.services.keys().for_each(look);
    if changed {
        Arc::make_mut(view).revision = revision;
    }
    changed
}

/// One Service as `family` sees it; `None` if this proxy has nothing to do for it there.
fn node_service(config: &Config, facts: &Facts, name: &ServiceName, family: Family, place: Place<'_>) -> Option<NodeService> {
    let service = facts.services.get(name)?;
    // An ExternalName or headless Service is skipped wholly, whatever else it lists (kube-proxy's `ShouldSkipService`).
    if service.kind != ServiceKind::ClusterIp || service.headless_label || service.proxy_name != config.proxy_name {
        return None;
    }
    let cluster_ip = *service.cluster_ips.iter().find(|ip| Family::of(**ip) == family)?;
    let slices: Vec<&Slice> = slices(config, facts, name).filter(|slice| slice.family == family).collect();
    let external_ips = of_family(&service.external_ips, family);
    let load_balancer_ips = of_family(&service.load_balancer_ips, family);
    let has_external_address = !external_ips.is_empty() || !load_balancer_ips.is_empty();
    let ports = service.ports.iter().map(|port| node_port(service, port, &slices, family, place, has_external_address)).collect();
    let source_ranges: Vec<IpNet> = service.source_ranges.iter().filter(|range| Family::of(range.addr()) == family).copied().collect();
    Some(NodeService {
        cluster_ip,
        external_ips,
        load_balancer_ips,
        // Ranges of the other family alone close nothing here: kube-proxy filters first and then asks whether any is left.
        source_ranges: (!source_ranges.is_empty()).then_some(source_ranges),
        affinity: service.affinity,
        masquerade_external: service.external_policy == TrafficPolicy::Cluster,
        ports,
        health_check: health_check(service, &slices, family, place),
        triggered_at_ms: slices.iter().filter_map(|slice| slice.triggered_at_ms).max(),
        balance: service.annotations.get(BALANCE_ANNOTATION).cloned(),
    })
}

/// The slices of a Service that are this proxy's: the same two labels hold for slices as for Services.
fn slices<'a>(config: &'a Config, facts: &'a Facts, name: &ServiceName) -> impl Iterator<Item = &'a Slice> {
    facts.slices_of(name).filter(|slice| {
        slice.labels.is_empty()
            || (!slice.labels.contains_key(HEADLESS_LABEL) && slice.labels.get(PROXY_NAME_LABEL) == config.proxy_name.as_ref())
    })
}

fn node_port(
    service: &Service,
    port: &ServicePort,
    slices: &[&Slice],
    family: Family,
    place: Place<'_>,
    has_external_address: bool,
) -> NodeServicePort {
    let candidates = choose::candidates(slices.iter().copied(), family, &port.name, port.protocol, place);
    // A policy for addresses that do not exist is no policy.
    let external_policy = if has_external_address || port.node_port.is_some() { service.external_policy } else { TrafficPolicy::Cluster };
    let cluster = choose::verdict(&candidates, TrafficPolicy::Cluster, place);
    let local = if service.internal_policy == TrafficPolicy::Local || external_policy == TrafficPolicy::Local {
        choose::verdict(&candidates, TrafficPolicy::Local, place)
    } else {
        cluster.clone()
    };
    let of = |policy| match policy {
        TrafficPolicy::Cluster => cluster.clone(),
        TrafficPolicy::Local => local.clone(),
    };
    NodeServicePort {
        at: port.at,
        name: port.name.clone(),
        protocol: port.protocol,
        port: port.port,
        node_port: port.node_port,
        internal: of(service.internal_policy),
        external: of(external_policy),
        serving: serving(&candidates, &cluster),
        external_from_inside: cluster,
    }
}

/// Mostly the same list as the one chosen, and then the same memory.
fn serving(candidates: &[Candidate<'_>], cluster: &Verdict) -> Arc<[SocketAddr]> {
    let serving = choose::serving(candidates);
    match cluster {
        Verdict::To(endpoints) if **endpoints == *serving => endpoints.clone(),
        _ => serving.into(),
    }
}

/// Only policy `Local` needs it: under `Cluster` every node is as good as another.
fn health_check(service: &Service, slices: &[&Slice], family: Family, place: Place<'_>) -> Option<HealthCheck> {
    let port = service.health_check_node_port.filter(|_| service.external_policy == TrafficPolicy::Local)?;
    let local: BTreeSet<IpAddr> = slices
        .iter()
        .filter(|slice| slice.ports.iter().any(|port| port.port != 0))
        .flat_map(|slice| slice.endpoints.iter())
        .filter(|endpoint| endpoint.ready && Family::of(endpoint.address) == family && choose::is_local(endpoint, place))
        .map(|endpoint| endpoint.address)
        .collect();
    Some(HealthCheck { port, local_endpoints: local.len() })
}

fn of_family(ips: &[IpAddr], family: Family) -> Vec<IpAddr> {
    ips.iter().filter(|ip| Family::of(**ip) == family).copied().collect()
}
