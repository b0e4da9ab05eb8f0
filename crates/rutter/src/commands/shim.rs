//! `rutter shim DIR`: the parent of one container's process. Started by `rutter up`, never by people.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
pub struct Flags {
    /// The container's folder
    pub dir: PathBuf,
}

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    Ok(node::shim::run(&flags.dir)?)
}
