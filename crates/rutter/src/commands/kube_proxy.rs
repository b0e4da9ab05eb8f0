//! Called as `kube-proxy`: its flags, its ways to end, and then `rutter proxy`.

use std::ffi::OsString;

use anyhow::Context as _;
use proxy::dialect;

use crate::usage::Usage;

/// Runs what `args`, the words behind the program's name, ask for. Mistakes are a [`Usage`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let told = dialect::parse(args.into_iter().map(|arg| arg.to_string_lossy().into_owned())).map_err(|error| Usage(error.to_string()))?;
    if told.help {
        println!("The flags of kube-proxy that rutter takes (rutter proxy --help says more):");
        dialect::flags().for_each(|flag| println!("  --{flag}"));
        return Ok(());
    }
    if told.version {
        println!("rutter {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    runtime::log::init(if told.verbosity >= 4 { "debug" } else { "info" }, runtime::log::Format::Text);
    told.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if told.cleanup {
        return Ok(proxy::cleanup()?);
    }
    if let Some(path) = &told.write_config_to {
        return std::fs::write(path, told.to_file()).with_context(|| format!("--write-config-to {path}"));
    }
    let text = match &told.config_file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("reading --config {path}"))?),
    };
    let config = told.config(text.as_deref()).map_err(|error| Usage(error.to_string()))?;
    proxy::prepare(&config);
    if told.init_only {
        return Ok(());
    }
    super::block_on(super::proxy::serve(config, super::objects::ObjectsFlags::default(), told.config_file.map(Into::into)))
}
