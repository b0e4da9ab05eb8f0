//! Flags: what can be typed, each defined once. Help is generated from these definitions.
//!
//! Owns names and texts; what a flag means is the command's business.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// A mistake in flags or configuration: exit code 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

#[derive(Parser)]
#[command(name = "rutter", about = "Kubernetes service networking in one binary", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// A small HTTP, TCP and UDP server that says who it is, who asked and with which headers
    Echo(EchoFlags),
    /// Version, commit, kernel features found
    Version,
}

#[derive(Args)]
pub struct EchoFlags {
    /// Answer HTTP here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Vec<SocketAddr>,
    /// Answer each line of a TCP connection here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub tcp: Vec<SocketAddr>,
    /// Answer each UDP datagram here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub udp: Vec<SocketAddr>,
}

/// Reads the command line, or gives the code to exit with: 0 after help, 64 after a mistake.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let parsed = Cli::command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| cli.command).map_err(|error| {
        // To standard output for help, to standard error for mistakes; if nobody reads it, nobody misses it.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(crate::EXIT_USAGE) } else { ExitCode::SUCCESS }
    })
}
