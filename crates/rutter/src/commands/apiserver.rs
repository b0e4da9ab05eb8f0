//! `rutter apiserver`: the embedded API and its controllers alone, no node and no datapath.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use runtime::{Readiness, Registry, drain};

use super::api_flags::{self, ApiFlags};
use crate::app;
use crate::output;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    api: ApiFlags,
    /// Who may do what: any authenticated user everything
    #[arg(long, value_name = "MODE", default_value = "AlwaysAllow", value_parser = ["AlwaysAllow"])]
    pub authorization_mode: String,
    /// Without our controllers: another controller manager runs on this API
    #[arg(long)]
    pub without_controllers: bool,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let _lock = flags.api.lock()?;
    let (trigger, drain) = drain::channel();
    let (controllers_trigger, controllers_drain) = drain::channel();
    let readiness = Readiness::default();
    let config = flags.api.config(advertised(flags.api.api_listen), Arc::new(apiserver::NoKubelet));
    let api = apiserver::start(config, drain, Registry::default()).await.map_err(api_flags::named)?;
    if flags.without_controllers {
        drop(controllers_drain);
    } else {
        let client = client::Client::connect(&client::Origin::Kubeconfig(api.kubeconfig)).await?;
        tokio::spawn(controllers::run(client, controllers::all(api.ca), readiness.register("controllers"), controllers_drain));
    }
    readiness.wait().await;
    output::line("ready");
    app::stop_signal().await?;
    controllers_trigger.drain().await;
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
