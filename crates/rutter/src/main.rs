//! Rutter: Kubernetes service networking in one binary.
//!
//! This crate holds flags, wiring and signals; it holds no rule of its own. `flags` says what can be typed, `commands` has one room
//! per subcommand, `app` starts the parts and connects them.

mod app;
mod commands;
mod echo;
mod feed;
mod flags;
mod node_local;
mod output;
mod process;
mod trace;
mod usage;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    kernel::memory::return_big_blocks();
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let ended = match Path::new(&called).file_name().and_then(OsStr::to_str) {
        Some("kube-proxy") => commands::kube_proxy::run(args),
        Some("coredns") => commands::coredns::run(args),
        Some("node-cache") => commands::node_cache::run(args),
        _ => match flags::parse(std::iter::once(called).chain(args)) {
            Ok(command) => command.run(),
            Err(stop) => return stop,
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rutter: {}", in_one_line(&error));
            if usage::is_mistake(&error) { ExitCode::from(usage::EXIT_CODE) } else { ExitCode::FAILURE }
        }
    }
}

/// The whole chain of causes, without those whose words their consequence has said already.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match &*said {
        "" => cause,
        _ if said.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}
