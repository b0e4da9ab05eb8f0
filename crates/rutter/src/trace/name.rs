//! A name of the cluster: which Service it means, and what its addresses are.

use std::net::IpAddr;

use model::name::{NamedKind, NamedService};
use model::{Model, ServiceName, Text};

use super::Trace;

/// Follows one query. Names that are none of the cluster's go to the upstreams.
pub fn trace(model: &Model, name: &str, record_type: &str) -> Trace {
    let mut trace = Trace::default();
    trace.say(format!("{name} {record_type}"));
    let Some(asked) = Asked::parse(name) else {
        return trace.end("not a name of a Service: forwarded to the upstream servers");
    };
    let names = &model.views().names;
    let Some(service) = names.services.get(&asked.service) else {
        let namespace: Text = asked.service.namespace.clone();
        if names.namespaces.get(&namespace).is_none() {
            trace.say(format!("there is no Namespace {namespace}"));
        } else {
            trace.say(format!("there is no Service {}", asked.service));
        }
        return trace.end("NXDOMAIN");
    };
    let object = asked.service.object();
    let outcome = match &service.kind {
        NamedKind::ExternalName(target) => {
            trace.say_by(format!("an alias of {target}"), &object, "spec.externalName");
            format!("CNAME {target}.")
        }
        NamedKind::ClusterIp(ips) => {
            trace.say_by("has a cluster IP: that is the answer, whether or not endpoints are ready", &object, "spec.clusterIPs");
            records(ips.iter().copied(), record_type)
        }
        NamedKind::Headless => {
            trace.say_by("headless: the answer is its ready endpoints", &object, "spec.clusterIP");
            for endpoint in service.endpoints.iter() {
                let pod = endpoint.pod.as_ref().map(|pod| format!(" (pod {pod})")).unwrap_or_default();
                trace.say(format!("{}{pod}: ready", endpoint.address));
            }
            if service.endpoints.is_empty() {
                "NXDOMAIN: no endpoint is ready".to_string()
            } else {
                records(endpoints(service, asked.hostname.as_deref()), record_type)
            }
        }
    };
    trace.end(outcome)
}

/// The first address of a name, for a packet that is sent to it.
pub fn first_address(model: &Model, name: &str, trace: &mut Trace) -> Option<IpAddr> {
    let asked = Asked::parse(name)?;
    let service = model.views().names.services.get(&asked.service)?;
    let address = match &service.kind {
        NamedKind::ClusterIp(ips) => ips.first().copied(),
        NamedKind::Headless => endpoints(service, asked.hostname.as_deref()).next(),
        NamedKind::ExternalName(_) => None,
    }?;
    trace.say_by(format!("{name} is {address}"), &asked.service.object(), "spec.clusterIPs");
    Some(address)
}

fn endpoints<'a>(service: &'a NamedService, hostname: Option<&'a str>) -> impl Iterator<Item = IpAddr> + 'a {
    let named = service.endpoints.iter().filter(move |it| hostname.is_none_or(|hostname| it.hostname.as_deref() == Some(hostname)));
    named.map(|endpoint| endpoint.address)
}

fn records(addresses: impl Iterator<Item = IpAddr>, record_type: &str) -> String {
    let wanted = |address: &IpAddr| match record_type {
        "A" => address.is_ipv4(),
        "AAAA" => address.is_ipv6(),
        _ => true,
    };
    let found: Vec<_> = addresses.filter(wanted).map(|address| address.to_string()).collect();
    if found.is_empty() { format!("NOERROR without an answer: nothing of type {record_type}") } else { found.join(", ") }
}

/// A Service's name as people write it: from `web` to `web.shop.svc.cluster.local.`
struct Asked {
    service: ServiceName,
    /// One endpoint of it.
    hostname: Option<String>,
}

impl Asked {
    fn parse(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let service = |namespace: &str, name: &str| ServiceName::new(namespace, name);
        match labels.iter().position(|label| *label == "svc") {
            Some(2) => Some(Self { service: service(labels[1], labels[0]), hostname: None }),
            Some(3) => Some(Self { service: service(labels[2], labels[1]), hostname: Some(labels[0].to_string()) }),
            // What a pod of namespace default would find by its search list.
            None if labels.len() == 1 => Some(Self { service: service("default", labels[0]), hostname: None }),
            None if labels.len() == 2 => Some(Self { service: service(labels[1], labels[0]), hostname: None }),
            _ => None,
        }
    }
}
