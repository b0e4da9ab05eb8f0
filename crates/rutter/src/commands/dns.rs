//! `rutter dns`: the cluster's DNS server, in place of CoreDNS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use dns::config::Corefile;
use dns::plugins::kubernetes::Pods;
use model::resolve::Want;
use runtime::{Drain, Registry};
use tokio::sync::watch;
use tracing::info;

use super::objects::ObjectsFlags;
use crate::app::App;
use crate::node_local::OfService;
use crate::output;
use crate::usage::Usage;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub dns: DnsFlags,
    #[command(flatten)]
    pub node_local: NodeLocalFlags,
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

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    serve(flags.dns.corefile()?, &flags.objects, flags.listen, flags.node_local.service()).await
}

/// Runs the server until it is told to stop. `service`: the one that is to be answered on this node.
pub async fn serve(corefile: Corefile, objects: &ObjectsFlags, listen: Vec<SocketAddr>, service: Option<&str>) -> anyhow::Result<()> {
    if corefile.kubernetes().is_none() && service.is_none() && objects.are_unsaid() {
        return serve_alone(corefile, listen).await;
    }
    let origin = objects.origin(corefile.kubernetes().and_then(|options| Some(options.kubeconfig.as_ref()?.path.clone())))?;
    let model = model::Config { want: Want { names: true, ..Want::default() }, ..model::Config::default() };
    let mut app = App::new("dns", source::Config { model, pods: needs_pods(&corefile) }, origin).await?;
    start(&mut app, dns::Config { corefile, listen }, "--listen", service).await?.run(app).await
}

/// Starts the server of `app`; what it gives has to run the rest.
pub async fn start(app: &mut App, mut config: dns::Config, flag: &'static str, service: Option<&str>) -> anyhow::Result<Started> {
    let Some(service) = service else {
        app.start_dns(config, flag)?;
        return Ok(Started::Plain);
    };
    let Some(node_local) = OfService::place(app, service).await? else { return Ok(Started::Stopped) };
    config.listen.extend(node_local.listen());
    app.start_dns(config, "--node-local")?;
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

/// A server whose Corefile asks for nothing of Kubernetes: there is no API to follow, and no right to it is needed.
async fn serve_alone(corefile: Corefile, listen: Vec<SocketAddr>) -> anyhow::Result<()> {
    let (trigger, drain) = runtime::drain::channel();
    let running = start_alone(corefile, listen, drain)?;
    running.readiness.wait().await;
    output::line("ready");
    crate::app::stop_signal().await?;
    trigger.drain().await;
    Ok(())
}

/// Starts a server without any names of its own.
pub fn start_alone(corefile: Corefile, listen: Vec<SocketAddr>, drain: Drain) -> anyhow::Result<dns::Running> {
    let flagged = !listen.is_empty();
    // The last view is there for ever; nobody sends another.
    let (_, names) = watch::channel(Arc::default());
    let inputs = dns::Inputs { names, applied: None, fresh: None };
    let running = dns::start_with(dns::Config { corefile, listen }, inputs, drain, Registry::default());
    let running = if flagged { running.context("--listen")? } else { running? };
    info!(listening = ?running.listening, "dns");
    Ok(running)
}

/// All mistakes of a Corefile, each on a line.
pub fn usage(mistakes: Vec<dns::config::Mistake>) -> Usage {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Usage(lines.join("\n"))
}

/// Whether a zone answers for Pods only if they are there: only then all of them have to be followed.
pub fn needs_pods(corefile: &Corefile) -> bool {
    corefile.kubernetes().is_some_and(|options| options.pods == Pods::Verified)
}

// === impl NodeLocalFlags ===

impl NodeLocalFlags {
    /// The Service to answer for, if any.
    pub fn service(&self) -> Option<&str> {
        self.node_local.then_some(&*self.dns_service)
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
