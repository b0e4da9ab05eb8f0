//! Where objects come from: the same two flags for every command that reads them.

use std::path::PathBuf;

use clap::Args;
use source::Origin;

use crate::usage::Usage;

#[derive(Args, Clone, Debug, Default)]
pub struct ObjectsFlags {
    /// Read objects from a JSON or YAML file, or a folder of them, and follow its changes
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub objects: Option<PathBuf>,
    /// Read objects from the API server that this file leads to (neither flag: the credentials that a pod has)
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

impl ObjectsFlags {
    /// Whether neither flag was given.
    pub fn are_unsaid(&self) -> bool {
        self.objects.is_none() && self.kubeconfig.is_none()
    }

    /// A flag, else what the configuration file says, else the credentials of a pod.
    pub fn origin(&self, configured: Option<client::Origin>) -> anyhow::Result<Origin> {
        if let Some(path) = &self.objects {
            return Ok(Origin::Files(path.clone()));
        }
        if let Some(api) = self.kubeconfig.clone().map(client::Origin::Kubeconfig).or(configured) {
            return Ok(Origin::Api(api));
        }
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            return Ok(Origin::Api(client::Origin::InCluster));
        }
        Err(Usage("no objects: give --objects PATH or --kubeconfig PATH, or run it in a pod".to_string()).into())
    }
}
