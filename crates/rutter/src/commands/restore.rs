//! `rutter restore`: puts what `rutter backup` wrote into a data folder on which no API runs.

use std::path::PathBuf;

use clap::Args;

use crate::output;

#[derive(Args, Debug)]
pub struct Flags {
    /// The folder for a `rutter up` or `rutter apiserver`; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rutter")]
    pub data_dir: PathBuf,
    /// Also if the folder holds objects already: they are lost
    #[arg(long)]
    pub overwrite: bool,
    /// What `rutter backup` wrote
    pub file: PathBuf,
}

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    apiserver::restore(&flags.data_dir, &flags.file, flags.overwrite)?;
    output::line(format_args!("{} holds the objects of {}", flags.data_dir.display(), flags.file.display()));
    Ok(())
}
