//! Where objects come from: the same two flags for every command that reads them.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub struct ObjectsFlags {
    /// Read objects from a JSON or YAML file, or a folder of them, and follow its changes
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub objects: Option<PathBuf>,
    /// Read objects from the API server that this file leads to (neither flag: the credentials that a pod has)
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}
