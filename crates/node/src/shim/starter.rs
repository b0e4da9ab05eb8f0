//! The other side of a shim: starting it, and waiting for the end of its container.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kernel::sandbox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Ended, Request, Socket, Spec, alive, ended, now_ms, running, write_spec};

/// What kubelet says of a container whose end nobody saw.
const LOST_EXIT_CODE: i32 = 137;

/// Starts a shim in `dir`, a process that outlives this one. Afterwards the container runs, or has ended already.
///
/// # Errors
/// When there is no shim: nothing is known of a container then.
pub fn start(dir: &Path, spec: &Spec) -> io::Result<Child> {
    write_spec(dir, spec)?;
    let errors = dir.join("shim.err");
    let mut child = shim(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors)?).spawn()?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.is_empty() {
        child.wait()?;
        let why = std::fs::read_to_string(&errors).unwrap_or_default();
        return Err(io::Error::other(format!("the shim ended: {}", why.trim())));
    }
    Ok(child)
}

/// Waits until the container of `dir` has ended. `child` is its shim, if this process started it.
pub async fn wait(dir: PathBuf, child: Option<Child>) -> Ended {
    // No answer means that the shim is gone.
    let _ = wait_for_shim(&dir).await;
    let read = tokio::task::spawn_blocking(move || {
        if let Some(mut child) = child {
            let _ = child.wait();
        }
        ended(&dir).ok().flatten().unwrap_or_else(|| lost(&dir))
    });
    read.await.unwrap_or_else(|error| unknown(error.to_string(), now_ms()))
}

/// A stream that gives bytes whenever the log of the container of `dir` grew and ends with the container; `None` if it has ended.
pub async fn follow(dir: &Path) -> Option<UnixStream> {
    open(dir, &Request::Follow).await.ok()
}

async fn wait_for_shim(dir: &Path) -> io::Result<()> {
    open(dir, &Request::Wait).await?.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn open(dir: &Path, request: &Request) -> io::Result<UnixStream> {
    let socket = Socket::of(dir)?;
    let mut stream = UnixStream::connect(socket.path()).await?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream)
}

/// A shim that was killed left its container without a parent: it is ended, and nobody knows how it would have.
fn lost(dir: &Path) -> Ended {
    let running = running(dir).ok().flatten();
    if let Some(pid) = alive(dir) {
        let _ = sandbox::kill(pid, 9);
    }
    let ended = unknown(
        "the container could not be located when its shim was gone".to_string(),
        running.map_or(0, |running| running.started_at_ms),
    );
    // The next one to ask gets the same answer.
    let _ = super::write_json(&dir.join("ended.json"), &ended);
    ended
}

fn unknown(why: String, started_at_ms: u64) -> Ended {
    Ended { exit_code: LOST_EXIT_CODE, signal: None, message: Some(why), started_at_ms, finished_at_ms: now_ms() }
}

/// This same program, even if its file was replaced meanwhile.
#[allow(clippy::disallowed_methods)] // A pod's process is no child process on a packet's path.
fn shim(dir: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("shim").arg(dir);
    command
}
