//! Called as `kube-proxy`: its way to write flags, and its rule that a file beats them; then as [`super::proxy`].

use std::ffi::OsString;

use proxy::dialect::{self, Precedence};

use super::objects::ObjectsFlags;
use super::proxy::{IDLE, log_level, obey};
use crate::usage::Usage;
use crate::{output, process};

/// Runs what `args`, the words behind the program's name, ask for. Mistakes are a [`Usage`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let told = dialect::parse(args.into_iter().map(|arg| arg.to_string_lossy().into_owned())).map_err(|error| Usage(error.to_string()))?;
    if told.help {
        output::lines(help());
        return Ok(());
    }
    if told.version {
        super::version::name();
        return Ok(());
    }
    process::serve(log_level(told.verbosity), obey(told, ObjectsFlags::default(), Precedence::File))
}

fn help() -> String {
    let mut text = String::from("The service proxy of one node, in place of kube-proxy\n\nUsage: kube-proxy [FLAGS]\n\nFlags:\n");
    let line = |flag: &dialect::Flag| {
        let name = format!("--{}{}{}", flag.name, if flag.is_switch() { "" } else { " " }, flag.value);
        format!("  {name:<52} {}\n", flag.help)
    };
    let (idle, used): (Vec<_>, Vec<_>) = dialect::flags().filter(|flag| !flag.is_retired()).partition(|flag| flag.is_idle());
    text.extend(used.into_iter().map(line));
    text.push_str(&format!("\n{IDLE}:\n"));
    text.extend(idle.into_iter().map(line));
    text
}
