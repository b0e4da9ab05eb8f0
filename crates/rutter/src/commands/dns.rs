//! `rutter dns`: the cluster's DNS server, in place of CoreDNS.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use dns::config::Corefile;
use dns::plugins::kubernetes::Pods;
use model::resolve::Want;

use super::objects::ObjectsFlags;
use crate::app::App;
use crate::usage::Usage;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub dns: DnsFlags,
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

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    serve(flags.dns.corefile()?, &flags.objects, flags.listen).await
}

/// Runs the server until it is told to stop.
pub async fn serve(corefile: Corefile, objects: &ObjectsFlags, listen: Vec<SocketAddr>) -> anyhow::Result<()> {
    let origin = objects.origin(corefile.kubernetes().and_then(|options| Some(options.kubeconfig.as_ref()?.path.clone())))?;
    let model = model::Config { want: Want { names: true, ..Want::default() }, ..model::Config::default() };
    let mut app = App::new("dns", source::Config { model, pods: needs_pods(&corefile) }, origin).await?;
    app.start_dns(dns::Config { corefile, listen }, "--listen")?;
    app.run().await
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
