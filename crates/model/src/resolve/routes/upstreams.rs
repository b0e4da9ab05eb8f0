//! Upstreams: what a backend's Service and port lead to.

use std::net::SocketAddr;

use super::Config;
use crate::choose::{self, Place};
use crate::facts::{BackendPort, Facts, IngressBackend, IngressName, Service, ServiceKind, ServicePort, TargetPort};
use crate::issue::{Issue, Reason};
use crate::names::{Family, Protocol};
use crate::route::{Upstream, UpstreamKey};

/// Where requests for this Service and port go.
///
/// Ready endpoints, wherever they are: hints and policies are for packets. When none is ready, those that still serve while they
/// terminate, as for packets: a Deployment whose Pods are all deleted at once loses no request. They are found by the *name* of the
/// Service's port. An ExternalName Service may list no ports; then a number is taken as it is.
///
/// Source: ingress-nginx's `controller.go` (`serviceEndpoints`), which knows ready ones only; KEP-1669 for the others.
pub(super) fn upstream(config: &Config, facts: &Facts, key: &UpstreamKey) -> Upstream {
    let Some(service) = facts.services.get(&key.service) else { return Upstream::Absent };
    if let ServiceKind::ExternalName(host) = &service.kind {
        if config.ingress.disable_external_names {
            return Upstream::Endpoints([].into());
        }
        return match external_port(service, &key.port) {
            Some(port) => Upstream::External { host: host.clone(), port },
            None => Upstream::Absent,
        };
    }
    let Some(port) = service_port(service, &key.port) else { return Upstream::Absent };
    let candidates = Family::BOTH.map(|family| {
        let slices = facts.slices_of(&key.service);
        choose::candidates(slices, family, &port.name, Protocol::Tcp, Place::default())
    });
    let mut endpoints: Vec<SocketAddr> = candidates.iter().flat_map(|candidates| choose::ready(candidates)).collect();
    if endpoints.is_empty() {
        endpoints.extend(candidates.iter().flat_map(|candidates| choose::serving(candidates)));
    }
    Upstream::Endpoints(endpoints.into())
}

/// What is wrong with a backend, if anything.
pub(super) fn issue(facts: &Facts, ingress: &IngressName, field: &str, backend: &IngressBackend) -> Option<Issue> {
    let (name, port) = match backend {
        IngressBackend::Resource(resource) => {
            let message = format!("resource backend {resource:?} is not served: 404");
            return Some(Issue::new(format!("{field}.resource"), Reason::Unsupported, message));
        }
        IngressBackend::Service { name, port } => (name, port),
    };
    let key = super::hosts::upstream_key(ingress, backend)?;
    let Some(service) = facts.services.get(&key.service) else {
        let message = format!("there is no Service {name:?} in namespace {:?}: 503", ingress.namespace);
        return Some(Issue::new(format!("{field}.service.name"), Reason::NoSuchObject, message));
    };
    let found = match service.kind {
        ServiceKind::ExternalName(_) => external_port(service, port).is_some(),
        ServiceKind::ClusterIp | ServiceKind::Headless => service_port(service, port).is_some(),
    };
    (!found).then(|| {
        let port = match port {
            BackendPort::Number(number) => number.to_string(),
            BackendPort::Name(name) => format!("{name:?}"),
        };
        Issue::new(format!("{field}.service.port"), Reason::NoSuchPort, format!("Service {name:?} has no TCP port {port}: 503"))
    })
}

/// The port of the Service that a backend means: by its number or name, else, as in ingress-nginx, by its target port.
fn service_port<'a>(service: &'a Service, wanted: &BackendPort) -> Option<&'a ServicePort> {
    let mut tcp = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    let own = |port: &&ServicePort| match wanted {
        BackendPort::Number(number) => port.port == *number,
        BackendPort::Name(name) => port.name == *name,
    };
    let target = |port: &&ServicePort| match (&port.target_port, wanted) {
        (TargetPort::Number(target), BackendPort::Number(number)) => target == number,
        (TargetPort::Name(target), BackendPort::Name(name)) => target == name,
        _ => false,
    };
    tcp.clone().find(own).or_else(|| tcp.find(target))
}

fn external_port(service: &Service, wanted: &BackendPort) -> Option<u16> {
    match (service_port(service, wanted), wanted) {
        (Some(ServicePort { target_port: TargetPort::Number(target), .. }), _) if *target != 0 => Some(*target),
        (Some(port), _) => Some(port.port),
        (None, BackendPort::Number(number)) => Some(*number),
        (None, BackendPort::Name(_)) => None,
    }
}
