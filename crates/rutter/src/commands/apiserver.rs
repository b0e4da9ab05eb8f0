//! `rutter apiserver`: the embedded API and its controllers alone, no node and no datapath.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;
use runtime::{Readiness, Registry, drain};

use crate::app;

#[derive(Args, Debug)]
pub struct Flags {
    /// Everything that is stored
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rutter")]
    pub data_dir: PathBuf,
    /// Where the administrator's kubeconfig is written (default: DIR/kubeconfig)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,
    /// Where the API is served (TLS)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub api_listen: SocketAddr,
    /// Where Services get their addresses from, one range for each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cidr: Vec<IpNet>,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Who may do what: any authenticated user everything
    #[arg(long, value_name = "MODE", default_value = "AlwaysAllow", value_parser = ["AlwaysAllow"])]
    pub authorization_mode: String,
    /// Without our controllers: another controller manager runs on this API
    #[arg(long)]
    pub without_controllers: bool,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let (trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    let config = apiserver::Config {
        kubeconfig_out: flags.kubeconfig_out.unwrap_or_else(|| flags.data_dir.join("kubeconfig")),
        data_dir: flags.data_dir,
        listen: flags.api_listen,
        also_listen: Vec::new(),
        advertise: advertised(flags.api_listen),
        service_cidrs: flags.service_cidr,
        cluster_domain: flags.cluster_domain,
        kubelet: Arc::new(apiserver::NoKubelet),
    };
    let api = apiserver::start(config, drain.clone(), Registry::default()).await?;
    if !flags.without_controllers {
        let client = client::Client::connect(&client::Origin::Kubeconfig(api.kubeconfig)).await?;
        tokio::spawn(controllers::run(client, controllers::all(api.ca), readiness.register("controllers"), drain.clone()));
    }
    drop(drain);
    readiness.wait().await;
    println!("ready");
    app::stop_signal().await?;
    trigger.drain().await;
    Ok(())
}

/// The endpoint of Service `kubernetes`. Loopback addresses may be none (they mean another machine to everybody else): then the first
/// address of this machine stands for it, as kube-apiserver chooses, and without any the Service has no endpoint.
fn advertised(listen: SocketAddr) -> Option<SocketAddr> {
    let of_machine = || kernel::rtnl::addresses().unwrap_or_default().into_iter().map(|it| it.address);
    let is_usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified() && ip.is_ipv4() == listen.is_ipv4();
    let ip = std::iter::once(listen.ip()).chain(of_machine()).find(is_usable)?;
    Some(SocketAddr::new(ip, listen.port()))
}
