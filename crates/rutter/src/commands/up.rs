//! `rutter up`: a whole service network on this machine, in one process: API, controllers, pods, packets, names, URLs.
//!
//! Owns the order of the start (each part finds what it leans on) and of the end (pods first, the API last). The parts know one
//! another through the API alone; what is wired here besides is a node's logs for the API, and the word that nothing is sent to a
//! pod any more for the node.

mod apply;
mod base;
mod kubelet;
mod unreachable;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use client::Client;
use ipnet::IpNet;
use kernel::link::Links;
use model::resolve::Want;
use node::network::{BRIDGE, Network};
use runtime::{Readiness, Registry, drain};
use source::Origin;

use crate::app::{self, App};
use crate::usage::Usage;

/// The Kubernetes version that the embedded API speaks.
const VERSION: &str = "v1.37.0";

/// Pods of this machine: the first 256 addresses of the cluster's, as a node of a bigger cluster would have.
const NODE_PREFIX_V4: u8 = 24;
const NODE_PREFIX_V6: u8 = 64;

#[derive(Args, Debug)]
pub struct Flags {
    /// Everything that is stored
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rutter")]
    pub data_dir: PathBuf,
    /// Where the kubeconfig is written (default: DIR/kubeconfig)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,
    /// Where the API is served (TLS)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub api_listen: SocketAddr,
    /// The pods' addresses, one range for each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub cluster_cidr: Vec<IpNet>,
    /// The Services' addresses, one range for each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cidr: Vec<IpNet>,
    /// The address of the cluster's DNS Service
    #[arg(long, value_name = "IP", default_value = "10.96.0.10")]
    pub dns_ip: IpAddr,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The name of the node (default: the host name)
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// auto or nftables
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub proxy_mode: String,
    /// Where the ingress answers HTTP
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:80")]
    pub ingress_http: SocketAddr,
    /// Where the ingress answers HTTPS
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:443")]
    pub ingress_https: SocketAddr,
    /// Pods as plain processes (the only runtime of this version)
    #[arg(long, value_name = "ENDPOINT", default_value = "process")]
    pub container_runtime_endpoint: String,
    /// Apply these objects at the start: a file, a folder, or - for standard input (repeatable)
    #[arg(short, long = "filename", value_name = "PATH")]
    pub filename: Vec<PathBuf>,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    flags.check()?;
    let node_name = flags.node_name.clone().map_or_else(app::host_name, Ok)?;
    let kubeconfig = flags.kubeconfig_out.clone().unwrap_or_else(|| flags.data_dir.join("kubeconfig"));
    let gateways = flags.set_up_network()?;
    let gateway = gateways[0];

    let (api_trigger, api_drain) = drain::channel();
    let (node_trigger, node_drain) = drain::channel();
    let readiness = Readiness::default();
    let kubelet = Arc::new(kubelet::NodeLogs::default());
    let api = apiserver::start(flags.api(kubeconfig, gateway, kubelet.clone()), api_drain.clone(), Registry::default());
    let api = api.await.context("--api-listen")?;
    println!("api ready: https://{}, kubeconfig {}", api.address, api.kubeconfig.display());

    let origin = client::Origin::Kubeconfig(api.kubeconfig.clone());
    let client = Client::connect(&origin).await?;
    let controllers = controllers::all(api.ca);
    tokio::spawn(controllers::run(client.clone(), controllers, readiness.register("controllers"), api_drain));
    base::ensure(&client, flags.dns_ip, gateway, &node_name).await.context("making the objects of the cluster's own DNS")?;
    readiness.wait().await;
    println!("controllers ready");

    let mut app = App::new("up", Flags::model(&node_name).into(), Origin::Api(origin)).await?;
    let proxy = flags.proxy(&node_name)?;
    app.start_proxy(proxy)?;
    let corefile = dns::config::Corefile::kubeadm(&flags.cluster_domain)
        .map_err(|mistakes| Usage(format!("--cluster-domain {}: {}", flags.cluster_domain, mistakes[0])))?;
    app.start_dns(dns::Config { corefile, listen: vec![SocketAddr::new(gateway, 53)] }, "--cluster-cidr")?;
    let config = ingress::Config {
        http: vec![flags.ingress_http],
        https: vec![flags.ingress_https],
        access_log: ingress::AccessLog::Stdout,
        ..ingress::Config::default()
    };
    app.start_ingress(config, SocketAddr::from(([0, 0, 0, 0], 10254)), "the status pages of the ingress")?;

    let addresses = node_addresses(&flags.cluster_cidr);
    let config = node::Config {
        name: node_name,
        data_dir: flags.data_dir.clone(),
        cidrs: flags.node_cidrs(),
        cluster_cidrs: flags.cluster_cidr.clone(),
        cluster_dns: flags.dns_ip,
        cluster_domain: flags.cluster_domain.clone(),
        addresses: addresses.clone(),
        labels: Default::default(),
        version: VERSION.to_string(),
        client: client.clone(),
        gone: unreachable::watch(app.node_views(), app.route_views(), app.applied(), app.served()),
    };
    let running = node::start(config, node_drain, &readiness).await?;
    kubelet.set(running);
    app.publish_ingress_status(if addresses.is_empty() { gateways } else { addresses });
    app.announce().await;
    for (condition, line) in [("rules", "proxy ready"), ("names", "dns ready"), ("routes", "ingress ready")] {
        app.readiness().wait_for(condition).await;
        println!("{line}");
    }
    readiness.wait().await;
    println!("node ready");
    for path in &flags.filename {
        apply::file(&client, path).await.with_context(|| format!("-f {}", path.display()))?;
    }
    println!("ready");

    app::stop_signal().await?;
    println!("stopping");
    // Pods first, while the rest still serves them; the API last, since all the others tell it how they end.
    node_trigger.drain().await;
    app.drain().await;
    drop(readiness);
    api_trigger.drain().await;
    Ok(())
}

/// The addresses of this machine that are not the pods': the first of each family, as a kubelet reports them.
fn node_addresses(cluster: &[IpNet]) -> Vec<IpAddr> {
    let all = kernel::rtnl::addresses().unwrap_or_default();
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let own: Vec<_> = all.into_iter().map(|it| it.address).filter(|ip| usable(ip) && !cluster.iter().any(|net| net.contains(ip))).collect();
    let first = |v4: bool| own.iter().copied().find(|ip| ip.is_ipv4() == v4);
    [first(true), first(false)].into_iter().flatten().collect()
}

// === impl Flags ===

impl Flags {
    /// What no single flag can be wrong about alone.
    fn check(&self) -> Result<(), Usage> {
        let usage = |text: String| Err(Usage(text));
        if !self.service_cidr.iter().any(|cidr| cidr.contains(&self.dns_ip)) {
            return usage(format!("--dns-ip {}: not inside --service-cidr", self.dns_ip));
        }
        if self.container_runtime_endpoint != "process" {
            return usage(format!(
                "--container-runtime-endpoint {}: this version runs pods as processes only; give `process`",
                self.container_runtime_endpoint
            ));
        }
        for pods in &self.cluster_cidr {
            if let Some(services) = self.service_cidr.iter().find(|services| services.contains(pods) || pods.contains(*services)) {
                return usage(format!("--cluster-cidr {pods} and --service-cidr {services} overlap"));
            }
        }
        Ok(())
    }

    fn node_cidrs(&self) -> Vec<IpNet> {
        let share = |cidr: &IpNet| {
            let prefix = if cidr.addr().is_ipv4() { NODE_PREFIX_V4 } else { NODE_PREFIX_V6 };
            IpNet::new(cidr.network(), prefix.max(cidr.prefix_len())).expect("BUG: a longer prefix of a valid network")
        };
        self.cluster_cidr.iter().map(share).collect()
    }

    /// Makes the pods' bridge, whose address API and DNS listen on, and a route to Services for a node that has no default route.
    fn set_up_network(&self) -> anyhow::Result<Vec<IpAddr>> {
        let folder = self.data_dir.join("netns");
        let network = Network::set_up(self.node_cidrs(), self.cluster_cidr.clone(), &folder).context("setting up the pods' network")?;
        let mut links = Links::open().context("opening rtnetlink")?;
        for cidr in &self.service_cidr {
            if self.cluster_cidr.iter().any(|pods| pods.addr().is_ipv4() == cidr.addr().is_ipv4()) {
                links.add_route(BRIDGE, cidr.network(), cidr.prefix_len()).with_context(|| format!("routing {cidr} to the bridge"))?;
            }
        }
        Ok(network.gateways())
    }

    fn api(&self, kubeconfig_out: PathBuf, gateway: IpAddr, kubelet: Arc<dyn apiserver::Kubelet>) -> apiserver::Config {
        let on_bridge = SocketAddr::new(gateway, self.api_listen.port());
        let everywhere = self.api_listen.ip().is_unspecified();
        apiserver::Config {
            data_dir: self.data_dir.clone(),
            listen: self.api_listen,
            also_listen: if everywhere { Vec::new() } else { vec![on_bridge] },
            advertise: Some(on_bridge),
            service_cidrs: self.service_cidr.clone(),
            cluster_domain: self.cluster_domain.clone(),
            kubeconfig_out,
            kubelet,
        }
    }

    fn model(node_name: &str) -> model::Config {
        let want = Want { packets: true, names: true, routes: true };
        model::Config { node_name: node_name.into(), want, ..model::Config::default() }
    }

    fn proxy(&self, node_name: &str) -> anyhow::Result<proxy::Config> {
        let cidrs: Vec<_> = self.cluster_cidr.iter().map(ToString::to_string).collect();
        let flags = super::proxy::ProxyFlags::given([
            ("proxy-mode", self.proxy_mode.clone()),
            ("hostname-override", node_name.to_string()),
            ("cluster-cidr", cidrs.join(",")),
        ])?;
        flags.config()
    }
}
