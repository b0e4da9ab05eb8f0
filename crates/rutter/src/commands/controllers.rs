//! `rutter controllers`: our controllers alone, on any Kubernetes API. What proves that they are ordinary clients of it.

use std::path::PathBuf;

use clap::Args;
use runtime::{Readiness, drain};

use crate::app;
use crate::output;
use crate::usage::Usage;

#[derive(Args, Debug)]
pub struct Flags {
    /// The API (default: the credentials of the pod that this runs in)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// What pods are told to trust the API by (PEM): ConfigMap kube-root-ca.crt of each namespace
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: PathBuf,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let root_ca = std::fs::read_to_string(&flags.root_ca_file);
    let root_ca = root_ca.map_err(|error| Usage(format!("--root-ca-file {}: {error}", flags.root_ca_file.display())))?;
    let origin = flags.kubeconfig.map_or(client::Origin::InCluster, client::Origin::Kubeconfig);
    let client = client::Client::connect(&origin).await?;
    let (trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    tokio::spawn(controllers::run(client, controllers::all(root_ca), readiness.register("controllers"), drain));
    readiness.wait().await;
    output::line("ready");
    app::stop_signal().await?;
    trigger.drain().await;
    Ok(())
}
