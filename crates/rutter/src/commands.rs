//! The subcommands, one room each: a room has its flags, and turns them into a running thing.

pub mod agent;
mod api_flags;
pub mod apiserver;
pub mod backup;
pub mod cleanup;
pub mod controllers;
pub mod coredns;
pub mod dns;
mod go_flags;
pub mod ingress;
pub mod kube_proxy;
pub mod node_cache;
pub mod objects;
pub mod proxy;
pub mod render;
pub mod restore;
pub mod shim;
pub mod trace;
pub mod up;
pub mod version;

use std::future::Future;

use anyhow::Context as _;

use crate::flags::Command;

/// Runs one command to its end.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(flags) => serve("info", up::run(flags)),
        Command::Agent(flags) => serve("info", agent::run(flags)),
        Command::Proxy(flags) => serve(flags.log_level(), proxy::run(flags)),
        Command::Dns(flags) => serve("info", dns::run(flags)),
        Command::Ingress(flags) => serve("info", ingress::run(flags)),
        Command::Apiserver(flags) => serve("info", apiserver::run(flags)),
        Command::Controllers(flags) => serve("info", controllers::run(flags)),
        Command::Trace(flags) => block_on(trace::run(flags)),
        Command::Render(flags) => block_on(render::run(flags)),
        Command::Backup(flags) => backup::run(&flags),
        Command::Restore(flags) => restore::run(&flags),
        Command::Cleanup(flags) => block_on(cleanup::run(flags)),
        Command::Echo(flags) => block_on(crate::echo::run(flags)),
        Command::Shim(flags) => shim::run(&flags),
        Command::Version(flags) => version::run(&flags),
    }
}

/// As `block_on`, for what goes on running and so has something to log.
fn serve(level: &str, main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    runtime::log::init(level, runtime::log::Format::Text);
    version::log();
    if let Err(error) = kernel::limits::raise_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    block_on(main)
}

/// Runs `main` on the process's tokio runtime. 2 workers: clients, forwarding and status pages; packets, queries and requests have
/// threads of their own.
fn block_on(main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting the async runtime")?;
    runtime.block_on(main)
}
