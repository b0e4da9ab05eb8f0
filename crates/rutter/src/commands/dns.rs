//! `rutter dns`: the cluster's DNS server, in place of CoreDNS.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dns::config::Corefile;
use runtime::{Drain, Registry};
use source::Origin;
use tracing::info;

use super::objects::ObjectsFlags;
use crate::app::{App, host_name};
use crate::feed::{self, Late, OfSource};
use crate::node_local::OfService;
use crate::output;
use crate::usage::Usage;

/// Of these flags in the help of commands that have others besides.
pub const HEADING: &str = "Names, as `rutter dns`";

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub dns: DnsFlags,
    #[command(flatten)]
    pub node_local: NodeLocalFlags,
    /// The name of this node, whose pods a server with --node-local looks for among those that ask (default: the host name)
    #[arg(long, value_name = "NAME", requires = "node_local")]
    pub node_name: Option<String>,
    /// Answer here in place of the Corefile's ports and addresses (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,
}

#[derive(Args, Debug)]
pub struct DnsFlags {
    /// A Corefile (default: as kubeadm writes it)
    #[arg(long, value_name = "FILE")]
    pub corefile: Option<PathBuf>,
    /// The cluster's domain, for the default Corefile
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}

#[derive(Args, Debug)]
pub struct NodeLocalFlags {
    /// Answer on this node, without connection tracking, what the Service of the cluster's DNS is asked
    #[arg(long)]
    pub node_local: bool,
    /// The Service of the cluster's DNS
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "kube-system/kube-dns", requires = "node_local")]
    pub dns_service: String,
}

/// The Service of the cluster's DNS, to be answered on a node, which is where all who ask are then.
pub struct OnNode {
    pub service: String,
    pub node: String,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let on_node = flags.node_local.on(|| flags.node_name.map_or_else(host_name, Ok))?;
    serve(flags.dns.corefile()?, &flags.objects, flags.listen, on_node).await
}

/// Runs the server until it is told to stop.
pub async fn serve(corefile: Corefile, objects: &ObjectsFlags, listen: Vec<SocketAddr>, on_node: Option<OnNode>) -> anyhow::Result<()> {
    let needs = corefile.needs();
    if !needs.names && on_node.is_none() && objects.are_unsaid() {
        return serve_alone(corefile, listen, objects.clone()).await;
    }
    let origin = objects.origin(feed::api(&needs))?;
    let node = on_node.as_ref().map(|on_node| &*on_node.node);
    let mut app = App::new("dns", feed::names_alone(&needs, node), origin.clone()).await?;
    let by_corefile = Some((objects.clone(), origin));
    start(&mut app, dns::Config { corefile, listen }, "--listen", on_node, by_corefile).await?.run(app).await
}

/// Starts the server of `app`; what it gives has to run the rest. `origin` is as [`OfSource::new`] has it.
pub async fn start(
    app: &mut App,
    mut config: dns::Config,
    flag: &'static str,
    on_node: Option<OnNode>,
    origin: Option<(ObjectsFlags, Origin)>,
) -> anyhow::Result<Started> {
    let Some(OnNode { service, node }) = on_node else {
        app.start_dns(config, flag, OfSource::new(app.demand(), None, origin))?;
        return Ok(Started::Plain);
    };
    let Some(node_local) = OfService::place(app, &service).await? else { return Ok(Started::Stopped) };
    config.listen.extend(node_local.listen());
    app.start_dns(config, "--node-local", OfSource::new(app.demand(), Some(node), origin))?;
    Ok(Started::NodeLocal(node_local))
}

/// How a server was started.
pub enum Started {
    Plain,
    NodeLocal(OfService),
    /// It was not: the process was told to stop before.
    Stopped,
}

impl Started {
    /// Runs everything until it is told to stop.
    pub async fn run(self, app: App) -> anyhow::Result<()> {
        match self {
            Started::Plain => app.run().await,
            Started::Stopped => Ok(()),
            Started::NodeLocal(node_local) => {
                let ending = app.ending();
                tokio::select! {
                    done = app.run() => done,
                    moved = node_local.serve(ending) => moved,
                }
            }
        }
    }
}

/// A server whose Corefile asks for nothing of Kubernetes: no API is followed, and no right to it is needed, before another one does.
async fn serve_alone(corefile: Corefile, listen: Vec<SocketAddr>, objects: ObjectsFlags) -> anyhow::Result<()> {
    let (trigger, drain) = runtime::drain::channel();
    let registry = Registry::default();
    let (late, names, fresh) = Late::channel(objects, registry.clone());
    let inputs = dns::Inputs { names, early: None, applied: None, fresh: Some(fresh), feed: Some(late.clone()) };
    let running = start_alone(corefile, listen, inputs, drain, registry)?;
    late.tell_corefile(running.corefile.clone());
    running.readiness.wait().await;
    output::line("ready");
    crate::app::stop_signal().await?;
    trigger.drain().await;
    late.drain().await;
    Ok(())
}

/// Starts a server that has no names of its own yet.
pub fn start_alone(
    corefile: Corefile,
    listen: Vec<SocketAddr>,
    inputs: dns::Inputs,
    drain: Drain,
    registry: Registry,
) -> anyhow::Result<dns::Running> {
    let flagged = !listen.is_empty();
    let running = dns::start_with(dns::Config { corefile, listen }, inputs, drain, registry);
    let running = if flagged { running.context("--listen")? } else { running? };
    info!(listening = ?running.listening, "dns");
    Ok(running)
}

/// All mistakes of a Corefile, each on a line.
pub fn usage(mistakes: Vec<dns::config::Mistake>) -> Usage {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Usage(lines.join("\n"))
}

// === impl NodeLocalFlags ===

impl NodeLocalFlags {
    /// What to answer here, if anything; `node` is asked only then.
    pub fn on(self, node: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<Option<OnNode>> {
        if !self.node_local {
            return Ok(None);
        }
        Ok(Some(OnNode { service: self.dns_service, node: node()? }))
    }
}

// === impl DnsFlags ===

impl DnsFlags {
    /// The Corefile; all its mistakes at once.
    pub fn corefile(&self) -> anyhow::Result<Corefile> {
        let read = match &self.corefile {
            Some(path) => Corefile::read(path),
            None => Corefile::kubeadm(&self.cluster_domain),
        };
        Ok(read.map_err(usage)?)
    }
}
