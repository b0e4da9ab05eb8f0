//! A process of a test: in a namespace, with what it says in a file, gone when dropped.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use kernel::netns::Netns;

use super::until;

const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;

pub struct Process {
    child: Child,
    log: PathBuf,
    is_pod: bool,
    ended: Option<ExitStatus>,
}

/// The binary under test.
#[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
pub fn rutter() -> Command {
    Command::new(std::env::var_os("RUTTER").unwrap_or_else(|| env!("CARGO_BIN_EXE_rutter").into()))
}

// === impl Process ===

impl Process {
    /// Starts it inside `net`; standard output and error go to `log`.
    pub fn start(net: &Netns, mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = net.run(|| command.spawn()).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_path_buf(), is_pod: false, ended: None }
    }

    pub fn of_a_pod(mut self) -> Self {
        self.is_pod = true;
        self
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits until it says that it is ready.
    pub fn is_ready(&self) {
        until("it is ready", || self.said().lines().any(|line| line == "ready").then_some(()));
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal_term(&self) {
        kernel::sandbox::kill(self.child.id(), SIGTERM).expect("SIGTERM");
    }

    pub fn signal_hup(&self) {
        kernel::sandbox::kill(self.child.id(), SIGHUP).expect("SIGHUP");
    }

    /// SIGKILL; returns once it is gone.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.ended = Some(self.child.wait().expect("its end"));
    }

    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("its state");
        }
        self.ended.is_some()
    }

    /// Waits for its end and gives its exit code, or what it was killed by.
    pub fn exit_code(&mut self) -> Result<i32, String> {
        until("it ends", || self.has_ended().then_some(()));
        let status = self.ended.expect("BUG: it has ended");
        status.code().ok_or_else(|| format!("killed by signal {:?}", status.signal()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_pod {
            let said = self.said();
            // Requests are not what went wrong.
            let lines: Vec<_> = said.lines().filter(|line| !line.contains(" HTTP/1.1\" ")).collect();
            // The end of it: what went wrong is told last.
            eprintln!("--- {}\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
