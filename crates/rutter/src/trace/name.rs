//! A name: what the DNS server would answer, as it says itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dns::config::Corefile;
use dns::trace::Asker;
use model::name::NamedKind;
use model::{Facts, Model, NameView, ServiceName};

use super::{Sender, Trace};

/// Who asks (`None`: the node), with the search list of a pod where it is one.
pub fn asker(facts: &Facts, from: Option<&Sender>, trace: &mut Trace) -> Asker {
    let Some(sender) = from else { return Asker { address: Ipv4Addr::LOCALHOST.into(), namespace: None } };
    let address = sender.address(facts, None, trace);
    if address.is_none() {
        trace.say(format!("{sender} has no address that is known here"));
    }
    // Somebody, and not this machine.
    Asker { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), namespace: sender.search_list_of(facts, trace) }
}

/// Follows one query of `asker`.
pub fn trace(names: &Arc<NameView>, corefile: Option<&Corefile>, name: &str, record_type: &str, asker: &Asker, mut trace: Trace) -> Trace {
    let Some(corefile) = corefile else { return Trace::default().end("this process runs no DNS server") };
    match dns::trace::trace(corefile, names, name, record_type, asker) {
        Err(error) => Trace::default().end(error.to_string()),
        Ok(followed) => {
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
