//! A name: what the DNS server would answer, as it says itself.

use std::net::{IpAddr, Ipv4Addr};

use dns::config::Corefile;
use model::name::NamedKind;
use model::{Model, ServiceName};

use super::Trace;

/// Follows one query of `client` (`None`: the node).
pub fn trace(model: &Model, corefile: Option<&Corefile>, name: &str, record_type: &str, client: Option<IpAddr>) -> Trace {
    let Some(corefile) = corefile else { return Trace::default().end("this process runs no DNS server") };
    let client = client.unwrap_or(Ipv4Addr::LOCALHOST.into());
    match dns::trace::trace(corefile, &model.views().names, name, record_type, client) {
        Err(error) => Trace::default().end(error.to_string()),
        Ok(followed) => {
            let mut trace = Trace::default();
            for step in followed.steps {
                match step.by {
                    Some((object, field)) => trace.say_by(step.what, &object, field),
                    None => trace.say(step.what),
                }
            }
            trace.end(followed.outcome)
        }
    }
}

/// The first address of a Service, named from `web` to `web.shop.svc.cluster.local`, for a packet that is sent to it.
pub fn first_address(model: &Model, name: &str, trace: &mut Trace) -> Option<IpAddr> {
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    let (name_of_service, namespace) = match labels[..] {
        [name] => (name, "default"),
        [name, namespace] => (name, namespace),
        [name, namespace, "svc", ..] => (name, namespace),
        _ => return None,
    };
    let service = ServiceName::new(namespace, name_of_service);
    let named = model.views().names.services.get(&service)?;
    let address = match &named.kind {
        NamedKind::ClusterIp(ips) => ips.first().copied(),
        NamedKind::Headless => named.sorted_endpoints().first().map(|endpoint| endpoint.address),
        NamedKind::ExternalName(_) => None,
    }?;
    trace.say_by(format!("{name} is {address}"), &service.object(), "spec.clusterIPs");
    Some(address)
}
