//! What all pods of this node share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;
use tokio::sync::watch;

use crate::Gone;
use crate::events::Events;
use crate::files::ClusterDns;
use crate::network::Network;
use crate::objects::Objects;

pub(crate) struct Host {
    /// The Node's name.
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    /// The file of this program, for containers that run it. By its path: /proc/self/exe belongs to the node's mounts and cannot be bound
    /// in a container's, and a newer version at the same path serves as well.
    pub(crate) program: PathBuf,
    /// The node's own, the first is told as `hostIP`.
    pub(crate) addresses: watch::Receiver<Vec<IpAddr>>,
    pub(crate) dns: ClusterDns,
    pub(crate) client: Client,
    pub(crate) network: Network,
    pub(crate) objects: Objects,
    pub(crate) events: Events,
    pub(crate) gone: Gone,
}

impl Host {
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.addresses.borrow().first().copied()
    }
}

/// Runs what blocks on disk or kernel outside of the async workers.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

pub(crate) type Shared = Arc<Host>;
