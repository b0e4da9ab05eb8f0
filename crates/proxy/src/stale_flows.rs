//! UDP flows that go to an endpoint that is gone.
//!
//! Connection tracking keeps sending a UDP flow where it first went for as long as packets come, so a client that never stops would
//! talk to a dead endpoint for ever. After each sync that changed the endpoints of a UDP port the flows to its addresses are looked
//! through once, and those that no serving endpoint answers are forgotten. Policies and topology are ignored on purpose: a flow to an
//! endpoint that serves is in order wherever that is. Flows that nothing changed for live on, also over a restart.
//!
//! A look walks the whole connection table, some 20 ms with hardly a flow in it, and the next sync waits for it. A look beside the
//! syncs forgot flows that the next one's rules had just made, and with them the way back of their first answer: it would have to know
//! what is about to be applied, too.
//!
//! Source: kube-proxy's conntrack reconciler, with the fix of kubernetes#139629 (no serving endpoint means every flow is stale).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kernel::Errno;
use kernel::conntrack::{Conntrack, Flow};
use model::node::NodeService;
use model::{Changed, Family, NodeView, Protocol};

const UDP: u8 = 17;

/// Where UDP comes in, and who may answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    addresses: HashMap<SocketAddr, Arc<[SocketAddr]>>,
    /// On addresses of the node.
    node_ports: HashMap<(Family, u16), Arc<[SocketAddr]>>,
}

impl Changes {
    /// The UDP fronts whose endpoints differ between two views; of all Services if there is no last one.
    pub(crate) fn between(view: &NodeView, last: Option<&NodeView>) -> Self {
        let changed = last.map_or(Changed::All, |last| view.since(last.revision));
        let keys = changed.or_all(&view.services, last.into_iter().flat_map(|last| last.services.iter()).map(|(key, _)| key));
        let mut changes = Changes::default();
        for key in keys {
            let new = view.services.get(&key);
            let old = last.and_then(|last| last.services.get(&key));
            if old != new {
                // Addresses that it lost first: one that it keeps is then overwritten.
                old.into_iter().for_each(|service| changes.add(key.family, service, true, None));
                new.into_iter().for_each(|service| changes.add(key.family, service, false, old.map(Arc::as_ref)));
            }
        }
        changes
    }

    fn add(&mut self, family: Family, service: &NodeService, gone: bool, old: Option<&NodeService>) {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let serving = if gone { Arc::from([]) } else { port.serving.clone() };
            let same = old.is_some_and(|old| {
                old.cluster_ip == service.cluster_ip
                    && old.external_ips == service.external_ips
                    && old.load_balancer_ips == service.load_balancer_ips
                    && old.ports.iter().any(|o| {
                        o.protocol == port.protocol && o.port == port.port && o.node_port == port.node_port && o.serving == port.serving
                    })
            });
            let ips = [&[service.cluster_ip][..], &service.external_ips, &service.load_balancer_ips].concat();
            for address in ips.into_iter().map(|ip| SocketAddr::new(ip, port.port)) {
                if same {
                    self.addresses.remove(&address)
                } else {
                    self.addresses.insert(address, serving.clone())
                };
            }
            if let Some(node_port) = port.node_port {
                let key = (family, node_port.0);
                if same {
                    self.node_ports.remove(&key)
                } else {
                    self.node_ports.insert(key, serving)
                };
            }
        }
    }

    fn concerns(&self, family: Family) -> bool {
        self.addresses.keys().any(|to| Family::of(to.ip()) == family) || self.node_ports.keys().any(|(of, _)| *of == family)
    }

    fn is_stale(&self, flow: &Flow, local: &HashSet<IpAddr>) -> bool {
        let serving = self.addresses.get(&flow.destination).or_else(|| {
            let to = flow.destination;
            self.node_ports.get(&(Family::of(to.ip()), to.port())).filter(|_| local.contains(&to.ip()))
        });
        serving.is_some_and(|serving| !serving.contains(&flow.reply_source))
    }

    /// Forgets the stale flows of one family; says how many, or `None` if none had to be looked at.
    pub(crate) fn forget_stale_flows(&self, family: Family) -> Result<Option<usize>, Errno> {
        if !self.concerns(family) {
            return Ok(None);
        }
        let local = kernel::rtnl::addresses()?.into_iter().map(|a| a.address).collect();
        let n_deleted = Conntrack::open()?.delete_where(family == Family::V4, UDP, |flow| self.is_stale(flow, &local))?;
        Ok(Some(n_deleted))
    }
}

#[cfg(test)]
mod tests {
    use model::node::{NodeKey, NodeServicePort, Verdict};
    use model::{Revision, ServiceName};

    use super::*;

    fn service(protocol: Protocol, serving: &str) -> NodeService {
        let serving: Arc<[SocketAddr]> = serving.split_whitespace().map(|e| e.parse().expect("an endpoint")).collect();
        let port = NodeServicePort { node_port: Some(model::NodePort(30_053)), ..NodeServicePort::new(protocol, 53, Verdict::To(serving)) };
        NodeService { ports: vec![port], ..NodeService::new("10.96.0.10".parse().expect("an address")) }
    }

    fn view(last: Option<&NodeView>, service: Option<NodeService>) -> NodeView {
        let mut view = last.cloned().unwrap_or_default();
        view.revision = Revision(view.revision.0 + 1);
        let key = NodeKey { service: ServiceName::new("kube-system", "dns"), family: Family::V4 };
        view.services.put(view.revision, key, service.map(Arc::new));
        view
    }

    /// Who may answer at the cluster IP and at the node port after a change; `-` where nothing has to be looked at.
    fn check(old: Option<NodeService>, new: Option<NodeService>, expected: &str) {
        let before = view(None, old);
        let changes = Changes::between(&view(Some(&before), new), Some(&before));
        let said = |serving: Option<&Arc<[SocketAddr]>>| match serving {
            None => "-".to_owned(),
            Some(serving) => format!("{serving:?}"),
        };
        let cluster_ip = changes.addresses.get(&"10.96.0.10:53".parse().expect("an address"));
        let text = format!("{} {}", said(cluster_ip), said(changes.node_ports.get(&(Family::V4, 30_053))));
        assert_eq!(text, expected);
    }

    #[test]
    fn looks_at_udp_ports_whose_serving_endpoints_changed_and_at_no_others() {
        let (udp, tcp) = (|serving| Some(service(Protocol::Udp, serving)), |serving| Some(service(Protocol::Tcp, serving)));
        check(udp("10.0.0.1:53"), udp("10.0.0.2:53"), "[10.0.0.2:53] [10.0.0.2:53]");
        check(udp("10.0.0.1:53"), udp(""), "[] []");
        check(udp("10.0.0.1:53"), None, "[] []");
        check(None, udp("10.0.0.1:53"), "[10.0.0.1:53] [10.0.0.1:53]");
        let sticky = udp("10.0.0.1:53").map(|s| NodeService { affinity: Some(std::time::Duration::from_secs(1)), ..s });
        check(udp("10.0.0.1:53"), sticky, "- -");
        check(tcp("10.0.0.1:53"), tcp("10.0.0.2:53"), "- -");
    }
}
