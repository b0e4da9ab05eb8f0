//! `rutter proxy`: the service proxy of one node, in place of kube-proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use model::resolve::Want;

use super::objects::ObjectsFlags;
use crate::app::{self, App};
use crate::usage::Usage;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub proxy: ProxyFlags,
}

/// kube-proxy's flags: one that is given wins over the file.
#[derive(Args, Debug, Default)]
pub struct ProxyFlags {
    /// A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// auto or nftables (iptables, ipvs and userspace are not in this version)
    #[arg(long, value_name = "MODE")]
    pub proxy_mode: Option<String>,
    /// The name of this node, where it is not the host name
    #[arg(long, value_name = "NAME", alias = "node-name")]
    pub hostname_override: Option<String>,
    /// The pods' addresses: what comes from elsewhere to a cluster IP is masqueraded (two, by a comma, for dual stack)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// Masquerade everything that is sent to a cluster IP
    #[arg(long)]
    pub masquerade_all: bool,
    /// Where /healthz and /livez are served
    #[arg(long, value_name = "ADDR:PORT")]
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where /metrics is served
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_bind_address: Option<SocketAddr>,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    let config = flags.proxy.config()?;
    // What would be refused must not have turned any knob of the machine before.
    flags.objects.origin(config.kubeconfig.as_deref().map(PathBuf::from))?;
    proxy::prepare(&config);
    serve(config, flags.objects, flags.proxy.config).await
}

/// Runs the proxy until it is told to stop, or until `file`, which `config` was read from, says something else: whoever started it
/// starts it again, as with kube-proxy, and the rules stay meanwhile.
pub async fn serve(config: proxy::Config, objects: ObjectsFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let origin = objects.origin(config.kubeconfig.as_deref().map(PathBuf::from))?;
    let model = ProxyFlags::default().model(&config, Want { packets: true, ..Want::default() })?;
    let mut app = App::new("proxy", model.into(), origin).await?;
    app.start_proxy(config)?;
    tokio::select! {
        done = app.run() => done,
        path = changed(file) => anyhow::bail!("{} was changed: ending, to be started with it", path.display()),
    }
}

/// Waits until a file's content is another; for ever if there is none to look at. Looks once a second: the file is small, and a
/// ConfigMap's is behind two links that are swapped, which no watch of the file itself would see.
async fn changed(file: Option<PathBuf>) -> PathBuf {
    let Some(path) = file else { return std::future::pending().await };
    let first = tokio::fs::read(&path).await.ok();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = tokio::fs::read(&path).await.ok();
        // While it is gone it says nothing else.
        if now.is_some() && now != first {
            return path;
        }
    }
}

// === impl ProxyFlags ===

impl ProxyFlags {
    /// The file's configuration with the flags over it; all mistakes at once.
    pub fn config(&self) -> anyhow::Result<proxy::Config> {
        let mut config = match &self.config {
            None => proxy::Config::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading --config {}", path.display()))?;
                proxy::Config::parse(&text).map_err(|error| Usage(format!("--config {}: {error}", path.display())))?
            }
        };
        if let Some(mode) = &self.proxy_mode {
            config.mode = proxy::ModeName::parse(mode)
                .ok_or_else(|| Usage(format!("--proxy-mode {mode}: not one of auto, nftables, iptables, ipvs, userspace")))?;
        }
        if let Some(name) = &self.hostname_override {
            config.node_name = Some(name.to_ascii_lowercase());
        }
        if !self.cluster_cidr.is_empty() {
            config.detector = proxy::config::LocalDetector::ClusterCidr(self.cluster_cidr.clone());
        }
        config.masquerade_all |= self.masquerade_all;
        config.healthz_bind = self.healthz_bind_address.or(config.healthz_bind);
        config.metrics_bind = self.metrics_bind_address.or(config.metrics_bind);
        Ok(config)
    }

    /// What is decided for this node, which is the one named, else the host's name, as kubelet registers it.
    pub fn model(&self, config: &proxy::Config, want: Want) -> anyhow::Result<model::Config> {
        let node_name = match &config.node_name {
            Some(name) => name.clone(),
            None => app::host_name()?,
        };
        Ok(model::Config {
            node_name: node_name.into(),
            want,
            ignore_node_hints: !config.gate("PreferSameTrafficDistribution", true),
            ..model::Config::default()
        })
    }
}
