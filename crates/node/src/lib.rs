//! Pods on this machine: their networks, their processes, their logs, and what the API hears of them.
//!
//! Owns everything a kubelet does that Rutter does, and the binding of pods to this one node. Must not know DNS or ingress, nor how
//! the API stores anything; of Services it knows the variables that containers find.
//!
//! # The front door
//! - [`start`] runs the pods of one node until draining starts.
//! - [`shim::run`] is what `rutter shim DIR` does, started by this crate for each container.
//! - [`tear_down`] removes everything of a data folder, when nothing runs on it.

mod bind;
mod container;
pub mod env;
mod events;
pub mod files;
mod folder;
mod host;
pub mod ignored;
pub mod links;
pub mod log;
pub mod logs;
pub mod network;
mod objects;
mod pod;
mod pods;
pub mod probe;
mod register;
pub mod shim;
pub mod spec;
pub mod status;
pub mod volumes;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use client::Client;
use ipnet::IpNet;
use runtime::{Drain, Readiness};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use crate::files::ClusterDns;
use crate::folder::Folder;
use crate::host::Host;
use crate::network::{Network, NetworkError};

/// Tells when nothing is sent to these addresses any more: they are out of the rules and routes that are in force. It may take as long
/// as it likes; a pod waits a second at most.
pub type Gone = Arc<dyn Fn(Vec<IpAddr>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// One node.
#[derive(Clone)]
pub struct Config {
    /// The Node's name.
    pub name: String,
    pub data_dir: PathBuf,
    /// This node's share of the pods' addresses, one for each family.
    pub cidrs: Vec<IpNet>,
    /// All of the cluster's.
    pub cluster_cidrs: Vec<IpNet>,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// The node's own addresses, as they change.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// Of the Node, beside those that every Node has: zone and region.
    pub labels: BTreeMap<String, String>,
    /// What `kubectl get nodes` shows; a Kubernetes version such as `v1.37.0`.
    pub version: String,
    pub client: Client,
    pub gone: Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("cannot use the folder {}: {error}", .folder.display())]
    Folder { folder: PathBuf, error: std::io::Error },
}

/// A node that runs. What it was started with ends it.
#[derive(Clone, Debug)]
pub struct Running {
    data_dir: PathBuf,
    /// The addresses of the bridge: this node, as pods see it.
    pub gateways: Vec<IpAddr>,
}

/// Sets up the pods' network and runs the node until draining starts: then containers get TERM, and KILL after 10 s. Network and folders
/// stay; the next start takes everything over.
///
/// # Errors
/// When the network cannot be set up. All later troubles are told by Events, conditions and logs.
pub async fn start(config: Config, drain: Drain, readiness: &Readiness) -> Result<Running, StartError> {
    let pods = folder::pods(&config.data_dir);
    std::fs::create_dir_all(&pods).map_err(|error| StartError::Folder { folder: pods, error })?;
    let namespaces = netns_folder(&config.data_dir);
    let (cidrs, cluster) = (config.cidrs.clone(), config.cluster_cidrs.clone());
    let network = host::blocking(move || Network::set_up(cidrs, cluster, &namespaces)).await?;
    let gateways = network.gateways();
    let host = Arc::new(Host {
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        program: std::env::current_exe().unwrap_or_default(),
        addresses: config.addresses.clone(),
        dns: ClusterDns { server: config.cluster_dns, domain: config.cluster_domain.clone() },
        client: config.client.clone(),
        network,
        objects: objects::Objects::default(),
        events: events::Events::start(config.client.clone(), config.name.clone()),
        gone: config.gone.clone(),
    });
    let data_dir = config.data_dir.clone();
    let (ready_pods, ready_node) = (readiness.register("pods of this node"), readiness.register("node"));
    let node = tokio::spawn(register::run(config, host.clone(), ready_node));
    let bind = tokio::spawn(bind::run(host.clone()));
    tokio::spawn(async move {
        pods::run(host, ready_pods, drain.clone()).await;
        node.abort();
        bind.abort();
        drop(drain);
    });
    Ok(Running { data_dir, gateways })
}

// === impl Running ===

impl Running {
    /// The log of a container; see [`logs::read`].
    ///
    /// # Errors
    /// When there is nothing to read.
    pub async fn logs(&self, uid: &str, container: &str, options: logs::Options) -> Result<Receiver<Bytes>, logs::LogError> {
        logs::read(&self.data_dir, uid, container, options).await
    }
}

/// Removes containers, networks, bridge and folders of `data_dir`. Call it when no node runs on it.
///
/// # Errors
/// The first thing that could not be removed. Calling it again goes on.
pub async fn tear_down(data_dir: &Path) -> Result<(), StartError> {
    let failed = |folder: &Path| {
        let folder = folder.to_path_buf();
        move |error| StartError::Folder { folder, error }
    };
    let all = folder::all(data_dir).map_err(failed(data_dir))?;
    for folder in all.iter().filter_map(|uid| Folder::of(data_dir, uid)) {
        pods::remove(&folder).await;
        folder.remove().map_err(failed(folder.path()))?;
    }
    let namespaces = netns_folder(data_dir);
    host::blocking(move || {
        Network::remove_namespaces(&namespaces)?;
        Network::tear_down()
    })
    .await?;
    Ok(())
}

fn netns_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("netns")
}
