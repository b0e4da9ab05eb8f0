//! Flags: what can be typed, each defined once, and whose it is. Help is generated from these definitions.
//!
//! Owns names and texts; what a flag means is the command's business.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{commands, echo, process, usage};

#[derive(Parser)]
#[command(name = "rutter", about = "Kubernetes service networking in one binary", version = commands::version::LONG)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// A whole service network on this machine: API, controllers, pods, packets, names, URLs
    Up(Box<commands::up::Flags>),
    /// Packets, names and URLs of one node in one process
    Agent(Box<commands::agent::Flags>),
    /// The service proxy of one node, in place of kube-proxy
    Proxy(Box<commands::proxy::Flags>),
    /// The cluster's DNS server, in place of CoreDNS
    Dns(commands::dns::Flags),
    /// The ingress controller and its data plane, in place of ingress-nginx
    Ingress(Box<commands::ingress::Flags>),
    /// The embedded Kubernetes API and its controllers alone
    Apiserver(commands::apiserver::Flags),
    /// The controllers of the embedded API alone, on any Kubernetes API
    #[command(hide = true)]
    Controllers(commands::controllers::Flags),
    /// What happens to a packet, a name or a URL, step by step, and why
    Trace(Box<commands::trace::Flags>),
    /// The rules that would be programmed, as text; touches nothing
    Render(Box<commands::render::Flags>),
    /// The objects of the embedded API into one file, while it runs or not
    Backup(commands::backup::Flags),
    /// The objects of a backup into a data folder
    Restore(commands::restore::Flags),
    /// Remove what any mode (ours or kube-proxy's) left in the kernel
    Cleanup(commands::cleanup::Flags),
    /// A small HTTP, TCP and UDP server that says who it is, who asked and with which headers
    Echo(echo::Flags),
    /// The parent of one container's process
    #[command(hide = true)]
    Shim(commands::shim::Flags),
    /// Version, commit, kernel features found
    Version(commands::version::Flags),
}

// === impl Command ===

impl Command {
    /// Runs it to its end.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Up(flags) => process::serve("info", commands::up::run(flags)),
            Command::Agent(flags) => process::serve("info", commands::agent::run(flags)),
            Command::Proxy(flags) => process::serve(flags.log_level(), commands::proxy::run(flags)),
            Command::Dns(flags) => process::serve("info", commands::dns::run(flags)),
            Command::Ingress(flags) => process::serve("info", commands::ingress::run(flags)),
            Command::Apiserver(flags) => process::serve("info", commands::apiserver::run(flags)),
            Command::Controllers(flags) => process::serve("info", commands::controllers::run(flags)),
            Command::Trace(flags) => process::block_on(commands::trace::run(flags)),
            Command::Render(flags) => process::block_on(commands::render::run(flags)),
            Command::Backup(flags) => commands::backup::run(&flags),
            Command::Restore(flags) => commands::restore::run(&flags),
            Command::Cleanup(flags) => process::block_on(commands::cleanup::run(flags)),
            Command::Echo(flags) => process::block_on(echo::run(flags)),
            Command::Shim(flags) => commands::shim::run(&flags),
            Command::Version(flags) => commands::version::run(&flags),
        }
    }
}

/// Reads the command line, or gives the code to exit with: 0 after help, 64 after a mistake.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let parsed = Cli::command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| cli.command).map_err(|error| {
        // To standard output for help, to standard error for mistakes; if nobody reads it, nobody misses it.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(usage::EXIT_CODE) } else { ExitCode::SUCCESS }
    })
}
