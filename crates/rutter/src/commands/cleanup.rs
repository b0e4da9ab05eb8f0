//! `rutter cleanup`: removes what any mode left in the kernel of this network namespace, and with `--data-dir` what `up` left.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Flags {
    /// Leave what kube-proxy has, also if it runs: to go back to it without a lost connection
    #[arg(long)]
    pub keep_kube_proxy: bool,

    /// Also the pods, links, namespaces and folders of the `rutter up` that ran on this folder
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    proxy::cleanup(if flags.keep_kube_proxy { proxy::Whose::Ours } else { proxy::Whose::OursAndKubeProxys })?;
    if let Some(data_dir) = flags.data_dir {
        node::tear_down(&data_dir).await?;
        match std::fs::remove_dir_all(&data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
