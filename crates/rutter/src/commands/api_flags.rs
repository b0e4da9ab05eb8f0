//! What the commands that bring the embedded API have in common.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;

#[derive(Args, Clone, Debug)]
pub struct ApiFlags {
    /// Everything that is stored
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rutter")]
    pub data_dir: PathBuf,
    /// Where the administrator's kubeconfig is written (default: DIR/kubeconfig)
    #[arg(long, value_name = "FILE")]
    kubeconfig_out: Option<PathBuf>,
    /// Where the API is served (TLS)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub api_listen: SocketAddr,
    /// Where Services get their addresses from, one range for each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cidr: Vec<IpNet>,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}

impl ApiFlags {
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_out.clone().unwrap_or_else(|| self.data_dir.join("kubeconfig"))
    }

    /// Makes the data folder, or says why nothing can be stored there. It is this process's until the file is dropped: who comes second is
    /// told before it has touched anything.
    pub fn lock(&self) -> anyhow::Result<File> {
        let named = || format!("--data-dir {}", self.data_dir.display());
        let open = || {
            std::fs::create_dir_all(&self.data_dir)?;
            File::options().create(true).append(true).open(self.data_dir.join("lock"))
        };
        let lock = open().with_context(named)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(anyhow::anyhow!("{}: another rutter runs on it", named())),
            Err(TryLockError::Error(error)) => Err(error).with_context(named),
        }
    }

    /// As it is without pods: listening at one address, which Service `kubernetes` leads to if others can reach it.
    pub fn config(&self, advertise: Option<SocketAddr>, kubelet: Arc<dyn apiserver::Kubelet>) -> apiserver::Config {
        apiserver::Config {
            data_dir: self.data_dir.clone(),
            listen: self.api_listen,
            also_listen: Vec::new(),
            advertise,
            service_cidrs: self.service_cidr.clone(),
            cluster_domain: self.cluster_domain.clone(),
            kubeconfig_out: self.kubeconfig(),
            kubelet,
        }
    }
}

/// With the flag to change, where it is an address that cannot be listened on.
pub fn named(error: apiserver::Error) -> anyhow::Error {
    let is_address = matches!(error, apiserver::Error::Bind(_) | apiserver::Error::Listener { .. });
    let error = anyhow::Error::new(error);
    if is_address { error.context("--api-listen") } else { error }
}
