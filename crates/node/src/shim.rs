//! The shim: parent and reaper of one container's process, a small program of its own that outlives a killed Rutter.
//!
//! `rutter shim DIR` reads `DIR/spec.json`, starts the container, writes its log, keeps how it ended, and answers on `DIR/shim.sock`.
//! Whoever starts Rutter again finds all there is to know in `DIR`. Must not know the API.
//!
//! | file in DIR | says |
//! |---|---|
//! | `spec.json` | what to start |
//! | `running.json` | its process and when it was started |
//! | `ended.json` | how and when it ended; written once, after the last line of the log |
//! | `shim.sock` | one request a connection: a signal to send, or a command to run beside it |

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kernel::sandbox::{self, Mount, MountKind, Root, Sandbox, User};
use serde::{Deserialize, Serialize};

use crate::log::{LogFile, Stream};

/// What to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments; a program without `/` is looked up in the container's PATH.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub netns: PathBuf,
    pub hostname: String,
    /// The folder of the private layer: `upper`, `work` and `merged` are made in it.
    pub layer: PathBuf,
    pub volumes: Vec<Volume>,
    pub work_dir: Option<PathBuf>,
    /// User and group number; `None`: root.
    pub user: Option<(u32, u32)>,
    pub log: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// `None`: memory.
    pub source: Option<PathBuf>,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub started_at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// 128 and the signal's number if a signal ended it, as shells count; 128 if it could not be started.
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// Why it could not be started.
    pub message: Option<String>,
    pub started_at_ms: u64,
    pub finished_at_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Signal(i32),
    Exec { argv: Vec<String>, timeout_ms: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// Both streams together, the first [`MAX_OUTPUT_BYTES`] of them.
    Exited { exit_code: i32, output: String },
    TimedOut,
    Failed(String),
}

/// A probe's output is cut here (kubelet's limit for probes).
pub const MAX_OUTPUT_BYTES: u64 = 10 * 1024;

/// `exec` found no such program, as shells count it.
const NOT_STARTED: i32 = 128;

/// Runs the shim of `dir` to the container's end.
///
/// # Errors
/// When `dir` cannot be read or written; a container that cannot be started is no error but has ended.
pub fn run(dir: &Path) -> io::Result<()> {
    sandbox::leave_session()?;
    let spec: Spec = read_json(&dir.join("spec.json"))?;
    let started_at_ms = now_ms();
    let log = Arc::new(LogFile::open(&spec.log)?);
    let socket = dir.join("shim.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;

    let ended = match start(&spec) {
        Ok(child) => {
            let pid = child.id();
            write_json(&dir.join("running.json"), &Running { pid, started_at_ms })?;
            let env = spec.env.clone();
            std::thread::spawn(move || answer_all(&listener, pid, &env));
            let status = reap(child, &log)?;
            Ended { exit_code: exit_code(status), signal: status.signal(), message: None, started_at_ms, finished_at_ms: now_ms() }
        }
        Err(error) => Ended {
            exit_code: NOT_STARTED,
            signal: None,
            message: Some(format!("cannot start `{}`: {error}", spec.argv.join(" "))),
            started_at_ms,
            finished_at_ms: now_ms(),
        },
    };
    let _ = std::fs::remove_file(&socket);
    write_json(&dir.join("ended.json"), &ended)
}

/// Asks the shim of `dir`. `NotFound` or `ConnectionRefused`: it has ended.
pub fn ask(dir: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(dir.join("shim.sock"))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// How the container of `dir` ended, if it has.
pub fn ended(dir: &Path) -> io::Result<Option<Ended>> {
    if_there(read_json(&dir.join("ended.json")))
}

/// The process of the container of `dir`, if it was started.
pub fn running(dir: &Path) -> io::Result<Option<Running>> {
    if_there(read_json(&dir.join("running.json")))
}

/// Writes what the shim of `dir` is to start.
pub fn write_spec(dir: &Path, spec: &Spec) -> io::Result<()> {
    write_json(&dir.join("spec.json"), spec)
}

fn start(spec: &Spec) -> io::Result<Child> {
    let [program, arguments @ ..] = spec.argv.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    };
    let layer = |part: &str| {
        let folder = spec.layer.join(part);
        std::fs::create_dir_all(&folder).map(|()| folder)
    };
    let volumes = spec.volumes.iter().map(|volume| Mount {
        target: volume.target.clone(),
        what: volume.source.clone().map_or(MountKind::Tmpfs, MountKind::Bind),
        read_only: volume.read_only,
    });
    let inside = Sandbox {
        netns: Some(spec.netns.clone()),
        hostname: Some(spec.hostname.clone()),
        root: Some(Root { lower: "/".into(), upper: layer("upper")?, work: layer("work")?, merged: layer("merged")? }),
        mounts: volumes.collect(),
        work_dir: spec.work_dir.clone(),
        user: spec.user.map(|(uid, gid)| User { uid, gid }),
    };
    let mut command = command(program, arguments, &spec.env);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    sandbox::spawn(command, &inside)
}

#[allow(clippy::disallowed_methods)] // Starting processes is what a shim is for.
fn command(program: &str, arguments: &[String], env: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}

/// Writes the log until both streams and the process have ended.
fn reap(mut child: Child, log: &Arc<LogFile>) -> io::Result<ExitStatus> {
    let stdout = child.stdout.take().map(|input| pump(log, Stream::Stdout, input));
    let stderr = child.stderr.take().map(|input| pump(log, Stream::Stderr, input));
    let status = child.wait()?;
    // The first process took all others of its PID namespace with it: the pipes are closed by now.
    for pump in [stdout, stderr].into_iter().flatten() {
        let _ = pump.join();
    }
    Ok(status)
}

fn pump(log: &Arc<LogFile>, stream: Stream, mut input: impl io::Read + Send + 'static) -> std::thread::JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        if log.pump(stream, &mut input).is_err() {
            // A full disk: the container must not block on its pipe for that.
            let _ = io::copy(&mut input, &mut io::sink());
        }
    })
}

fn answer_all(listener: &UnixListener, pid: u32, env: &[(String, String)]) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let env = env.to_vec();
        std::thread::spawn(move || {
            // Whoever asked went away: nobody is left to tell.
            let _ = answer(&stream, pid, &env);
        });
    }
}

fn answer(mut stream: &UnixStream, pid: u32, env: &[(String, String)]) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).take(1 << 20).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line)? {
        Request::Signal(signal) => sandbox::kill(pid, signal).map(|()| Answer::Done),
        Request::Exec { argv, timeout_ms } => exec(pid, &argv, env, Duration::from_millis(timeout_ms)),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn exec(pid: u32, argv: &[String], env: &[(String, String)], timeout: Duration) -> io::Result<Answer> {
    let [program, arguments @ ..] = argv else { return Ok(Answer::Failed("no command".to_string())) };
    let (mut reader, writer) = io::pipe()?;
    let mut command = command(program, arguments, env);
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = sandbox::spawn_beside(pid, command)?;
    let child_pid = child.id();
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let _ = (&mut reader).take(MAX_OUTPUT_BYTES).read_to_end(&mut output);
        let _ = io::copy(&mut reader, &mut io::sink());
        let _ = done.send(output);
    });
    let output = match is_done.recv_timeout(timeout) {
        Ok(output) => output,
        Err(RecvTimeoutError::Timeout) => {
            sandbox::kill(child_pid, 9)?;
            child.wait()?;
            return Ok(Answer::TimedOut);
        }
        Err(RecvTimeoutError::Disconnected) => Vec::new(),
    };
    let status = child.wait()?;
    Ok(Answer::Exited { exit_code: exit_code(status), output: String::from_utf8_lossy(&output).into_owned() })
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// By way of a second name, so that nobody ever reads half of it.
fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(value)?)?;
    std::fs::rename(new, path)
}

fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
