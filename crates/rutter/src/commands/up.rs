//! `rutter up`: a whole service network on this machine, in one process: API, controllers, pods, packets, names, URLs.
//!
//! Owns the order of the start (each part finds what it leans on) and of the end (pods first, the API last). The parts know one
//! another through the API alone; what is wired here besides is a node's logs for the API, and the word that nothing is sent to a
//! pod any more for the node.

mod addresses;
mod apply;
mod base;
mod kubelet;
mod unreachable;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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

use super::api_flags::{self, ApiFlags};
use crate::app::{self, App};
use crate::feed::OfSource;
use crate::output;
use crate::usage::Usage;

/// The Kubernetes version that the embedded API speaks.
const VERSION: &str = "v1.37.0";

/// Pods of this machine: the first 256 addresses of the cluster's, as a node of a bigger cluster would have.
const NODE_PREFIX_V4: u8 = 24;
const NODE_PREFIX_V6: u8 = 64;

/// Where ingress-nginx has its status pages as well.
const INGRESS_STATUS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10254);

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    api: ApiFlags,
    /// The pods' addresses, one range for each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub cluster_cidr: Vec<IpNet>,
    /// The address of the cluster's DNS Service
    #[arg(long, value_name = "IP", default_value = "10.96.0.10")]
    pub dns_ip: IpAddr,
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
    let manifests = flags.filename.iter().map(|path| apply::Manifest::read(path)).collect::<Result<Vec<_>, _>>()?;
    let _lock = flags.api.lock()?;
    let gateways = flags.set_up_network()?;
    let gateway = gateways[0];

    let (api_trigger, api_drain) = drain::channel();
    let (node_trigger, node_drain) = drain::channel();
    let (controllers_trigger, controllers_drain) = drain::channel();
    let readiness = Readiness::default();
    let kubelet = Arc::new(kubelet::NodeLogs::default());
    let api = apiserver::start(flags.api(gateway, kubelet.clone()), api_drain.clone(), Registry::default());
    let api = api.await.map_err(api_flags::named)?;
    output::line(format_args!("api ready: https://{}, kubeconfig {}", api.address, api.kubeconfig.display()));

    let origin = client::Origin::Kubeconfig(api.kubeconfig.clone());
    let client = Client::connect(&origin).await?;
    let mut controllers = controllers::all(api.ca);
    controllers.push(Box::new(controllers::load_balancers::LoadBalancers { taken: flags.listeners() }));
    tokio::spawn(controllers::run(client.clone(), controllers, readiness.register("controllers"), controllers_drain));
    base::ensure(&client, flags.dns_ip, gateway, &node_name).await.context("making the objects of the cluster's own DNS")?;
    readiness.wait().await;
    output::line("controllers ready");

    let mut app = App::new("up", Flags::model(&node_name).into(), Origin::Api(origin)).await?;
    let proxy = flags.proxy(&node_name)?;
    app.start_proxy(proxy)?;
    let corefile = dns::config::Corefile::kubeadm(&flags.api.cluster_domain)
        .map_err(|mistakes| Usage(format!("--cluster-domain {}: {}", flags.api.cluster_domain, mistakes[0])))?;
    let feed = OfSource::new(app.demand(), None, None);
    app.start_dns(dns::Config { corefile, listen: vec![SocketAddr::new(gateway, 53)] }, "--cluster-cidr", feed)?;
    let config = ingress::Config {
        http: vec![flags.ingress_http],
        https: vec![flags.ingress_https],
        access_log: ingress::AccessLog::Stdout,
        ..ingress::Config::default()
    };
    app.start_ingress(config, INGRESS_STATUS, "the status pages of the ingress")?;

    let own = proxy::own_addresses::follow(api_drain).context("asking for this machine's addresses")?;
    let addresses = addresses::follow(own, flags.cluster_cidr.clone(), gateways);
    let config = node::Config {
        name: node_name,
        data_dir: flags.api.data_dir.clone(),
        cidrs: flags.node_cidrs(),
        cluster_cidrs: flags.cluster_cidr.clone(),
        cluster_dns: flags.dns_ip,
        cluster_domain: flags.api.cluster_domain.clone(),
        addresses: addresses.clone(),
        labels: Default::default(),
        version: VERSION.to_string(),
        client: client.clone(),
        gone: unreachable::watch(app.node_views(), app.route_views(), app.applied(), app.served()),
    };
    let running = node::start(config, node_drain, &readiness).await?;
    kubelet.set(running);
    app.publish_ingress_status(addresses);
    app.announce().await;
    for (condition, line) in [("rules", "proxy ready"), ("names", "dns ready"), ("routes", "ingress ready")] {
        app.readiness().wait_for(condition).await;
        output::line(line);
    }
    readiness.wait().await;
    output::line("node ready");
    for manifest in &manifests {
        manifest.apply(&client).await?;
    }
    output::line("ready");

    app::stop_signal().await?;
    output::line("stopping");
    // Pods first, while the rest still serves them; the API last, since all the others tell it how they end.
    node_trigger.drain().await;
    app.drain().await;
    controllers_trigger.drain().await;
    drop(readiness);
    api_trigger.drain().await;
    Ok(())
}

// === impl Flags ===

impl Flags {
    /// What no single flag can be wrong about alone.
    fn check(&self) -> Result<(), Usage> {
        let usage = |text: String| Err(Usage(text));
        if !self.api.service_cidr.iter().any(|cidr| cidr.contains(&self.dns_ip)) {
            return usage(format!("--dns-ip {}: not inside --service-cidr", self.dns_ip));
        }
        if self.container_runtime_endpoint != "process" {
            return usage(format!(
                "--container-runtime-endpoint {}: this version runs pods as processes only; give `process`",
                self.container_runtime_endpoint
            ));
        }
        for pods in &self.cluster_cidr {
            if let Some(services) = self.api.service_cidr.iter().find(|services| services.contains(pods) || pods.contains(*services)) {
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
        let folder = self.api.data_dir.join("netns");
        let network = Network::set_up(self.node_cidrs(), self.cluster_cidr.clone(), &folder).context("setting up the pods' network")?;
        let mut links = Links::open().context("opening rtnetlink")?;
        for cidr in &self.api.service_cidr {
            if self.cluster_cidr.iter().any(|pods| pods.addr().is_ipv4() == cidr.addr().is_ipv4()) {
                links.add_route(BRIDGE, cidr.network(), cidr.prefix_len()).with_context(|| format!("routing {cidr} to the bridge"))?;
            }
        }
        Ok(network.gateways())
    }

    fn api(&self, gateway: IpAddr, kubelet: Arc<dyn apiserver::Kubelet>) -> apiserver::Config {
        let on_bridge = SocketAddr::new(gateway, self.api.api_listen.port());
        let everywhere = self.api.api_listen.ip().is_unspecified();
        let also_listen = if everywhere { Vec::new() } else { vec![on_bridge] };
        apiserver::Config { also_listen, ..self.api.config(Some(on_bridge), kubelet) }
    }

    /// What this process answers at addresses that may be the node's: no Service of type LoadBalancer gets these ports.
    fn listeners(&self) -> Vec<(SocketAddr, &'static str)> {
        vec![
            (self.ingress_http, "the ingress (--ingress-http)"),
            (self.ingress_https, "the ingress (--ingress-https)"),
            (self.api.api_listen, "the API (--api-listen)"),
            (INGRESS_STATUS, "the status pages of the ingress"),
            (proxy::Config::default().healthz_bind.unwrap_or(INGRESS_STATUS), "the health of the proxy"),
        ]
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
        let config = flags.config()?;
        super::proxy::can_run(&config)?;
        Ok(config)
    }
}
