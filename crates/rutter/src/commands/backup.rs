//! `rutter backup`: the embedded API's objects as one file, whether the API runs or not.

use std::path::PathBuf;

use clap::Args;

use crate::output;

#[derive(Args, Debug)]
pub struct Flags {
    /// The folder of the `rutter up` or `rutter apiserver`
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rutter")]
    pub data_dir: PathBuf,
    /// What is written, whole or not at all; it holds Secrets
    pub file: PathBuf,
}

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    apiserver::backup(&flags.data_dir, &flags.file)?;
    output::line(format_args!("{} holds the objects of {}", flags.file.display(), flags.data_dir.display()));
    Ok(())
}
