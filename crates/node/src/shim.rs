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
//! | `shim.sock` | one request a connection: a signal to send, a command to run beside it, or to be told of its log and its end |
//! | `shim.err` | what went wrong with the shim itself |
//!
//! Once `running.json` or `ended.json` is there the shim writes one line to its standard output.

mod starter;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kernel::sandbox::{self, Mount, MountKind, Root, Sandbox, User};
use serde::{Deserialize, Serialize};

pub use starter::{follow, start, wait};

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
    /// When the kernel says that it was started, in its own ticks: a number that was used again is told apart by it.
    pub ticks: u64,
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
    Exec {
        argv: Vec<String>,
        timeout_ms: u64,
    },
    /// Answered by the end of the connection, once `ended.json` is there.
    Wait,
    /// A byte whenever entries were added to the log; the connection ends as that of `Wait` does.
    Follow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// Both streams together, the first [`MAX_OUTPUT_BYTES`] of them.
    Exited {
        exit_code: i32,
        output: String,
    },
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
    let socket = Socket::of(dir)?;
    let _ = std::fs::remove_file(socket.path());
    let listener = UnixListener::bind(socket.path())?;

    let ended = match start_container(&spec) {
        Ok(child) => {
            let pid = child.id();
            let container = Container { pid, env: spec.env.clone(), log: log.clone() };
            std::thread::spawn(move || answer_all(&listener, &Arc::new(container)));
            write_json(&dir.join("running.json"), &Running { pid, started_at_ms, ticks: ticks(pid).unwrap_or(0) })?;
            say_started();
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
    // In this order: where nobody answers any more, the end can be read.
    write_json(&dir.join("ended.json"), &ended)?;
    let _ = std::fs::remove_file(socket.path());
    if ended.message.is_some() {
        say_started();
    }
    Ok(())
}

/// Whoever started the shim may have gone away: nobody is left to tell.
fn say_started() {
    let _ = io::stdout().write_all(b"started\n").and_then(|()| io::stdout().flush());
}

/// Asks the shim of `dir`. `NotFound` or `ConnectionRefused`: it has ended.
pub fn ask(dir: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(Socket::of(dir)?.path())?;
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

/// The process of the container of `dir`, if it still is one.
pub fn alive(dir: &Path) -> Option<u32> {
    let Running { pid, ticks: at_start, .. } = running(dir).ok()??;
    (ticks(pid) == Some(at_start)).then_some(pid)
}

/// Writes what the shim of `dir` is to start.
pub fn write_spec(dir: &Path, spec: &Spec) -> io::Result<()> {
    write_json(&dir.join("spec.json"), spec)
}

/// A socket's name has at most 107 bytes, a pod's folder more: it is named by way of an open folder.
struct Socket {
    folder: File,
}

/// What the answering threads know of the container.
struct Container {
    pid: u32,
    env: Vec<(String, String)>,
    log: Arc<LogFile>,
}

fn start_container(spec: &Spec) -> io::Result<Child> {
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

fn answer_all(listener: &UnixListener, container: &Arc<Container>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let container = container.clone();
        std::thread::spawn(move || {
            // Whoever asked went away: nobody is left to tell.
            let _ = answer(stream, &container);
        });
    }
}

fn answer(mut stream: UnixStream, container: &Container) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).take(1 << 20).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line)? {
        Request::Signal(signal) => sandbox::kill(container.pid, signal).map(|()| Answer::Done),
        Request::Exec { argv, timeout_ms } => exec(container.pid, &argv, &container.env, Duration::from_millis(timeout_ms)),
        Request::Wait => {
            // Stays open until this process ends, and no thread waits with it.
            let _ = stream.into_raw_fd();
            return Ok(());
        }
        Request::Follow => return tell_growth(stream, &container.log),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Until the follower has gone, or this process ends.
fn tell_growth(mut stream: UnixStream, log: &LogFile) -> io::Result<()> {
    let mut n_seen = 0;
    loop {
        n_seen = log.wait_for_more(n_seen);
        stream.write_all(b"\n")?;
    }
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

/// When the kernel started the process `pid`, in ticks since the machine's start (proc_pid_stat(5), field 22).
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
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

// === impl Socket ===

impl Socket {
    fn of(dir: &Path) -> io::Result<Self> {
        Ok(Self { folder: File::open(dir)? })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/shim.sock", self.folder.as_raw_fd()))
    }
}
