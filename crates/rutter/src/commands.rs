//! The subcommands, one room each: a room turns its flags into a running thing and waits for it.

mod version;

use std::future::Future;

use anyhow::Context as _;

use crate::flags::Command;

/// Runs one command to its end.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Echo(flags) => block_on(crate::echo::run(flags)),
        Command::Version => version::run(),
    }
}

/// Runs `main` on the process's tokio runtime. 2 workers: clients, forwarding and status pages; packets, queries and requests have
/// threads of their own.
fn block_on(main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting the async runtime")?;
    runtime.block_on(main)
}
