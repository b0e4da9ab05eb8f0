//! Node ports on loopback: a listener of our own for each TCP node port.
//!
//! Packets for 127.0.0.0/8 never leave loopback unless `route_localnet` opens a hole that CVE-2020-8558 came through, so a connection
//! is taken here and carried to an endpoint. What the endpoint sees is the node's address, as with any connection from the node.
//! UDP and SCTP are not served. A connection ends with this process, unlike those that the kernel carries.
//!
//! Source: KEP-6032.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::node::NodeKey;
use model::{Family, NodeView, Protocol, Revision};
use runtime::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::Config;

/// Connections carried at once, over all ports; more wait in the listeners' queues. Two descriptors each.
const MAX_CONNECTIONS: usize = 2_048;
/// An endpoint that does not answer in this time is passed over, as kube-proxy's userspace mode did.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

type Endpoints = Arc<[SocketAddr]>;

/// Keeps a listener for each TCP node port of the applied view, until `drain` starts.
pub(crate) async fn run(config: Arc<Config>, views: watch::Receiver<Arc<NodeView>>, mut applied: watch::Receiver<Revision>, drain: Drain) {
    if config.localhost_node_ports.is_empty() {
        return;
    }
    let mut listeners = Listeners {
        families: config.localhost_node_ports.clone(),
        running: HashMap::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    let mut last = Revision(0);
    loop {
        tokio::select! {
            () = drain.started() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
        let view = views.borrow().clone();
        for key in view.since(last).or_all(&view.services, listeners.running.keys().map(|(key, _)| key)) {
            listeners.update(&key, wanted(&view, &key));
        }
        last = view.revision;
    }
}

/// The TCP node ports of a Service that lead somewhere, from the node itself.
fn wanted(view: &NodeView, key: &NodeKey) -> Vec<(u16, Endpoints)> {
    let ports = view.services.get(key).map_or(&[][..], |service| &service.ports);
    let tcp = ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    tcp.filter_map(|port| match &port.external_from_inside {
        model::node::Verdict::To(endpoints) => Some((port.node_port?.0, endpoints.clone())),
        _ => None, // nobody listens: refused, as it should be
    })
    .collect()
}

struct Listeners {
    families: Vec<Family>,
    running: HashMap<(NodeKey, u16), Listener>,
    room: Arc<Semaphore>,
}

struct Listener {
    endpoints: watch::Sender<Endpoints>,
    task: JoinHandle<()>,
}

// === impl Listeners ===

impl Listeners {
    fn update(&mut self, key: &NodeKey, wanted: Vec<(u16, Endpoints)>) {
        if !self.families.contains(&key.family) {
            return;
        }
        self.running.retain(|(service, port), _| service != key || wanted.iter().any(|(wanted, _)| wanted == port));
        for (port, endpoints) in wanted {
            if let Some(listener) = self.running.get(&(key.clone(), port)) {
                listener.endpoints.send_replace(endpoints);
                continue;
            }
            let address = SocketAddr::new(loopback(key.family), port);
            match bind(address) {
                Ok(listener) => {
                    let (sender, receiver) = watch::channel(endpoints);
                    let task = tokio::spawn(serve(listener, receiver, self.room.clone()));
                    self.running.insert((key.clone(), port), Listener { endpoints: sender, task });
                }
                Err(error) => warn!(service = %key.service, %address, %error, "a node port is not served on loopback"),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort(); // the listener closes; connections go on
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR: a restart binds over what its predecessor left in TIME_WAIT.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn serve(listener: TcpListener, endpoints: watch::Receiver<Endpoints>, room: Arc<Semaphore>) {
    let mut next = 0;
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let now = endpoints.borrow().clone();
                let first = next;
                next = (next + 1) % now.len().max(1);
                tokio::spawn(async move {
                    carry(client, &now, first).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection to a node port on loopback was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await; // no descriptors are left: others have to end first
            }
        }
    }
}

/// To the endpoint whose turn it is, or the next that answers; nobody: the client's connection is closed.
async fn carry(mut client: TcpStream, endpoints: &[SocketAddr], first: usize) {
    for endpoint in endpoints.iter().cycle().skip(first).take(endpoints.len()) {
        if let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(endpoint)).await {
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            // An end that resets is the ordinary end of many a connection.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read as _;

    use kernel::netns::Netns;
    use model::node::{NodeService, NodeServicePort, Verdict};
    use model::{NodePort, ServiceName};

    use super::*;

    pub(crate) fn service(endpoints: &[SocketAddr]) -> NodeService {
        let verdict = if endpoints.is_empty() { Verdict::Reject } else { Verdict::To(endpoints.into()) };
        let port = NodeServicePort { node_port: Some(NodePort(30_080)), ..NodeServicePort::new(Protocol::Tcp, 80, verdict) };
        NodeService { ports: vec![port], ..NodeService::new("10.96.0.10".parse().expect("an address")) }
    }

    #[test]
    fn a_node_port_on_loopback_follows_its_endpoints_and_is_refused_without_any() {
        let ns = Netns::new("proxy-localhost");
        ns.run(|| {
            kernel::link::Links::open().and_then(|mut links| links.set_loopback_up()).expect("loopback");
            // Each says one letter; the port of `gone` is nobody's.
            let say = |letter: &'static [u8]| {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
                let address = listener.local_addr().expect("bound");
                std::thread::spawn(move || {
                    while let Ok((mut client, _)) = listener.accept() {
                        let _ = std::io::Write::write_all(&mut client, letter);
                    }
                });
                address
            };
            let (a, b) = (say(b"a"), say(b"b"));
            let gone: SocketAddr = "127.0.0.1:1".parse().expect("an address");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let config = Arc::new(Config::default());
                let (views, view) = watch::channel(Arc::new(NodeView::default()));
                let (done, applied) = watch::channel(Revision(0));
                let (trigger, drain) = runtime::drain::channel();
                let task = tokio::spawn(run(config, view, applied, drain));
                for (revision, endpoints, expected) in
                    [(1, vec![a], "aa"), (2, vec![a, b], "ab"), (3, vec![gone, b], "bb"), (4, vec![], "-"), (5, vec![b], "bb")]
                {
                    let mut new = NodeView::clone(&views.borrow());
                    new.revision = Revision(revision);
                    let key = NodeKey { service: ServiceName::new("default", "web"), family: Family::V4 };
                    new.services.put(new.revision, key, Some(Arc::new(service(&endpoints))));
                    views.send_replace(Arc::new(new));
                    done.send_replace(Revision(revision));
                    let mut said = String::new();
                    for _ in 0..500 {
                        said = tokio::task::spawn_blocking(ask_twice).await.expect("no panic");
                        if said == expected {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    assert_eq!(said, expected, "revision {revision}");
                }
                trigger.drain().await;
                task.await.expect("ends with the drain");
            });
        });
    }

    /// What two connections get, in order; `-` if they are refused.
    fn ask_twice() -> String {
        let mut said: Vec<String> = Vec::new();
        for _ in 0..2 {
            let Ok(mut stream) = std::net::TcpStream::connect("127.0.0.1:30080") else { return "-".to_owned() };
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            said.push(text);
        }
        said.sort();
        said.concat()
    }
}
