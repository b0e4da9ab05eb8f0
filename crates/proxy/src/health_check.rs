//! `healthCheckNodePort`: one small HTTP server per Service of policy Local, which tells load balancers how many endpoints are here.
//!
//! It listens where node ports are, also when their addresses change. What was another's port is tried again each sync period.
//!
//! Source: kube-proxy's `pkg/proxy/healthcheck/service_health.go`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::node::{HealthCheck, NodeKey};
use model::{Family, NodeView, Revision, ServiceName};
use runtime::Drain;
use runtime::drain::{self, Trigger};
use runtime::status::{self, Page};
use tokio::sync::watch;
use tracing::warn;

use crate::{Config, Health, node_ports};

/// Keeps one server for each health-check node port of the applied view, until `drain` starts. `changed`: there may be others than before.
pub(crate) async fn run(
    config: Arc<Config>,
    mut own: watch::Receiver<Vec<IpAddr>>,
    views: watch::Receiver<Arc<NodeView>>,
    mut changed: watch::Receiver<Revision>,
    health: Health,
    drain: Drain,
) {
    let mut try_again = tokio::time::interval(config.sync_period);
    let mut servers = Servers { config, health, own: own.clone(), running: HashMap::new() };
    let mut last = Revision(0);
    loop {
        tokio::select! {
            () = drain.started() => return,
            still = changed.changed() => if still.is_err() { return },
            Ok(()) = own.changed() => {
                servers.listen(&views.borrow().clone());
                continue;
            }
            _ = try_again.tick() => {
                servers.listen(&views.borrow().clone());
                continue;
            }
        }
        // The answer may be a view ahead of the rules for a moment: a load balancer asks every few seconds.
        let view = views.borrow().clone();
        if last < view.globals_at {
            servers.listen(&view); // `primary` is the Node's
        }
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
    /// The addresses of this machine.
    own: watch::Receiver<Vec<IpAddr>>,
    running: HashMap<NodeKey, Server>,
}

struct Server {
    port: u16,
    local_endpoints: watch::Sender<usize>,
    /// Dropping one ends the listener.
    listeners: HashMap<IpAddr, Trigger>,
}

// === impl Servers ===

impl Servers {
    fn update(&mut self, key: NodeKey, wanted: Option<HealthCheck>, view: &NodeView) {
        let Some(check) = wanted else { return drop(self.running.remove(&key)) };
        match self.running.get(&key) {
            Some(server) if server.port == check.port.0 => drop(server.local_endpoints.send_replace(check.local_endpoints)),
            _ => {
                let mut server =
                    Server { port: check.port.0, local_endpoints: watch::channel(check.local_endpoints).0, listeners: HashMap::new() };
                server.listen_on(&self.addresses(key.family, view), &key.service, &self.health);
                self.running.insert(key, server);
            }
        }
    }

    /// Listens on addresses that node ports have got since, and no more on those that they lost.
    fn listen(&mut self, view: &NodeView) {
        for family in Family::BOTH {
            let addresses = self.addresses(family, view);
            let running = self.running.iter_mut().filter(|(key, _)| key.family == family);
            running.for_each(|(key, server)| server.listen_on(&addresses, &key.service, &self.health));
        }
    }

    fn addresses(&self, family: Family, view: &NodeView) -> Vec<IpAddr> {
        node_ports::to_listen_on(&self.config, family, view.node.as_deref(), &self.own.borrow())
    }
}

// === impl Server ===

impl Server {
    /// Listens on these addresses and no others; tries those again that it could not have before.
    fn listen_on(&mut self, addresses: &[IpAddr], service: &ServiceName, health: &Health) {
        self.listeners.retain(|address, _| addresses.contains(address));
        for address in addresses {
            if self.listeners.contains_key(address) {
                continue;
            }
            let (count, health, asked) = (self.local_endpoints.subscribe(), health.clone(), service.clone());
            let pages = Arc::new(move |_: &status::Ask<'_>| Some(answer(&asked, *count.borrow(), health.is_healthy())));
            let (stop, drain) = drain::channel();
            match status::serve(SocketAddr::new(*address, self.port), pages, drain) {
                Ok(_) => drop(self.listeners.insert(*address, stop)),
                Err(error) => warn!(%service, %error, "a health-check node port is not served"),
            }
        }
    }
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
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use kernel::netns::Netns;
    use model::NodePort;

    use super::*;

    /// The status line that `address` answers with; `-` if nobody does.
    fn ask(address: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(address) else { return "-".to_owned() };
        let mut said = String::new();
        let _ = write!(stream, "GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut said);
        said.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn an_address_that_comes_later_is_listened_on_and_one_that_went_is_not() {
        let ns = Netns::new("proxy-health");
        ns.ip("link set lo up");
        ns.ip("addr add 10.0.1.1/32 dev lo");
        ns.run(|| {
            let text = "{mode: nftables, nodePortAddresses: [10.0.0.0/8], nftables: {syncPeriod: 1h}}";
            let config = Arc::new(Config::parse(text).expect("valid"));
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut view = NodeView { revision: Revision(1), ..NodeView::default() };
                let key = NodeKey { service: ServiceName::new("default", "web"), family: Family::V4 };
                let check = HealthCheck { port: NodePort(30_900), local_endpoints: 1 };
                let service = crate::localhost::tests::service(&[]);
                view.services.put(view.revision, key, Some(Arc::new(model::node::NodeService { health_check: Some(check), ..service })));
                let (views, view) = watch::channel(Arc::new(view));
                let (done, applied) = watch::channel(Revision(0));
                let (trigger, drain) = drain::channel();
                let health = Health::new(Duration::from_secs(30));
                health.updated(false);
                let own = crate::own_addresses::follow(drain.clone()).expect("addresses");
                let task = tokio::spawn(run(config, own, view, applied, health, drain));
                done.send_replace(Revision(1));
                for (change, expected) in
                    [("", ["200", "-"]), ("addr add 10.0.1.2/32 dev lo", ["200", "200"]), ("addr del 10.0.1.1/32 dev lo", ["-", "200"])]
                {
                    if !change.is_empty() {
                        ns.ip(change);
                    }
                    let mut said = Vec::new();
                    for _ in 0..500 {
                        let both = || ["10.0.1.1:30900", "10.0.1.2:30900"].map(ask).to_vec();
                        said = tokio::task::spawn_blocking(both).await.expect("no panic");
                        if said == expected {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    assert_eq!(said, expected, "{change}");
                }
                trigger.drain().await;
                task.await.expect("ends with the drain");
                drop(views);
            });
        });
    }

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
