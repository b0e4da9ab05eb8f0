//! The process around a command: its log, its limits, and the runtime that its tasks run on.

use std::future::Future;

use anyhow::Context as _;

use crate::commands;

/// As `block_on`, for what goes on running and so has something to log.
pub fn serve(level: &str, main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    runtime::log::init(level, runtime::log::Format::Text);
    commands::version::log();
    if let Err(error) = kernel::limits::raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    block_on(main)
}

/// Runs `main` on the process's tokio runtime. 2 workers: clients, forwarding and status pages; packets, queries and requests have
/// threads of their own.
pub fn block_on(main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting the async runtime")?;
    runtime.block_on(main)
}
