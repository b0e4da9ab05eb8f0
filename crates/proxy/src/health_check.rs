//! `healthCheckNodePort`: one small HTTP server per Service of policy Local, which tells load balancers how many endpoints are here.
//!
//! Source: kube-proxy's `pkg/proxy/healthcheck/service_health.go`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use model::node::{HealthCheck, NodeKey};
use model::{Family, NodeView, Revision, ServiceName};
use runtime::Drain;
use runtime::drain::{self, Trigger};
use runtime::status::{self, Page};
use tokio::sync::watch;
use tracing::warn;

use crate::{Config, Health};

/// Keeps one server for each health-check node port of the applied view, until `drain` starts.
pub(crate) async fn run(
    config: Arc<Config>,
    views: watch::Receiver<Arc<NodeView>>,
    mut applied: watch::Receiver<Revision>,
    health: Health,
    drain: Drain,
) {
    let mut servers = Servers { config, health, running: HashMap::new() };
    let mut last = Revision(0);
    loop {
        tokio::select! {
            () = drain.started() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
        // The answer may be a view ahead of the rules for a moment: a load balancer asks every few seconds.
        let view = views.borrow().clone();
        for key in view.since(last).or_all(&view.services, servers.running.keys()) {
            let wanted = view.services.get(&key).and_then(|service| service.health_check);
            servers.update(key, wanted, &view);
        }
        last = view.revision;
    }
}

struct Servers {
    config: Arc<Config>,
    health: Health,
    running: HashMap<NodeKey, Server>,
}

struct Server {
    port: u16,
    local_endpoints: watch::Sender<usize>,
    /// Dropping it ends the server.
    _stop: Trigger,
}

impl Servers {
    fn update(&mut self, key: NodeKey, wanted: Option<HealthCheck>, view: &NodeView) {
        match (wanted, self.running.get(&key)) {
            (None, None) => {}
            (None, Some(_)) => drop(self.running.remove(&key)),
            (Some(check), Some(server)) if server.port == check.port.0 => {
                server.local_endpoints.send_replace(check.local_endpoints);
            }
            (Some(check), _) => {
                self.running.remove(&key);
                let server = self.start(&key, check, view);
                self.running.insert(key, server);
            }
        }
    }

    fn start(&self, key: &NodeKey, check: HealthCheck, view: &NodeView) -> Server {
        let (local_endpoints, count) = watch::channel(check.local_endpoints);
        let (stop, drain) = drain::channel();
        for address in addresses(&self.config, key.family, view) {
            let (count, health, service) = (count.clone(), self.health.clone(), key.service.clone());
            let asked = service.clone();
            let pages = Arc::new(move |_: &status::Ask<'_>| Some(answer(&asked, *count.borrow(), health.is_healthy())));
            if let Err(error) = status::serve(SocketAddr::new(address, check.port.0), pages, drain.clone()) {
                warn!(service = %service, %error, "a health-check node port is not served");
            }
        }
        Server { port: check.port.0, local_endpoints, _stop: stop }
    }
}

/// Where node ports of one family are, as addresses to listen on.
fn addresses(config: &Config, family: Family, view: &NodeView) -> Vec<IpAddr> {
    let chosen = config.node_ports.of_family(family);
    if chosen.all {
        return vec![match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }];
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    if chosen.primary
        && let Some(node) = &view.node
    {
        addresses.extend(node.internal_ips.iter().filter(|ip| Family::of(**ip) == family));
    }
    if !chosen.cidrs.is_empty() {
        // Addresses that come later are not served: load balancers ask at the node's lasting ones.
        let local = kernel::rtnl::addresses().unwrap_or_default();
        addresses.extend(local.iter().map(|a| a.address).filter(|ip| chosen.cidrs.iter().any(|cidr| cidr.contains(ip))));
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn answer(service: &ServiceName, local_endpoints: usize, healthy: bool) -> Page {
    let body = serde_json::json!({
        "service": { "namespace": &*service.namespace, "name": &*service.name },
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": healthy,
    });
    Page::json(if healthy && local_endpoints > 0 { 200 } else { 503 }, body.to_string())
        .header("X-Content-Type-Options", "nosniff".to_owned())
        .header("X-Load-Balancing-Endpoint-Weight", local_endpoints.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_healthy_with_an_endpoint_here_and_a_proxy_that_keeps_up() {
        let service = ServiceName::new("default", "web");
        for (n, healthy, status) in [(2, true, 200), (0, true, 503), (2, false, 503)] {
            let page = answer(&service, n, healthy);
            assert_eq!(page.status, status);
            assert_eq!(
                String::from_utf8_lossy(&page.body),
                format!(r#"{{"localEndpoints":{n},"service":{{"name":"web","namespace":"default"}},"serviceProxyHealthy":{healthy}}}"#)
            );
            assert!(page.headers.contains(&("X-Load-Balancing-Endpoint-Weight", n.to_string())));
        }
    }
}
