//! Processes in namespaces of their own, over the host's files with a private layer on top.
//!
//! What is to be done between fork and exec is prepared as a list of system calls beforehand, since a child of a process with
//! threads may neither allocate nor lock. Must not know what a pod is.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command};

/// Where a process is to live.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// A network namespace by its file (`/run/netns/NAME`); `None`: the caller's.
    pub netns: Option<PathBuf>,
    pub hostname: Option<String>,
    pub root: Option<Root>,
    /// Mounted in this order, on top of `root`.
    pub mounts: Vec<Mount>,
    /// Inside `root`.
    pub work_dir: Option<PathBuf>,
    pub user: Option<User>,
}

/// A root file system: `lower` to be read, `upper` for what is written (overlayfs).
#[derive(Clone, Debug)]
pub struct Root {
    pub lower: PathBuf,
    pub upper: PathBuf,
    /// An empty folder on the file system of `upper`.
    pub work: PathBuf,
    /// The folder to mount it on.
    pub merged: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Mount {
    /// Absolute, as seen from inside.
    pub target: PathBuf,
    pub what: MountKind,
    pub read_only: bool,
}

#[derive(Clone, Debug)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind(PathBuf),
    Tmpfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// One system call of the child.
enum Step {
    SetNs(OwnedFd, libc::c_int),
    Unshare(libc::c_int),
    Hostname(CString),
    MakeDir(CString),
    MakeFile(CString),
    Mount { source: CString, target: CString, kind: CString, flags: libc::c_ulong, data: CString },
    Pivot(CString),
    ChangeDir(CString),
    Become(User),
}

/// Starts `command` as the first process of a new PID namespace, inside `sandbox`. When it ends, the kernel ends all it started.
pub fn spawn(mut command: Command, sandbox: &Sandbox) -> io::Result<Child> {
    let steps = prepare(sandbox)?;
    run_before_exec(&mut command, steps);
    // Only the children of the thread that unshares go into the new PID namespace; a thread of its own keeps ours as it is.
    in_thread(move || {
        // SAFETY: takes no pointers.
        check(unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
        command.spawn()
    })
}

/// Starts `command` in all namespaces of the process `pid`, as `kubectl exec` does.
pub fn spawn_beside(pid: u32, mut command: Command) -> io::Result<Child> {
    let pidfd = pidfd(pid)?;
    let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    run_before_exec(&mut command, vec![Step::SetNs(pidfd.try_clone()?, namespaces)]);
    in_thread(move || {
        // SAFETY: takes no pointers; the descriptor is open.
        check(unsafe { libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWPID) })?;
        command.spawn()
    })
}

/// Sends `signal` to the process `pid`; one that has ended is no error.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    match check(unsafe { libc::kill(pid as libc::pid_t, signal) }) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        done => done,
    }
}

/// Starts a session of its own: signals of the terminal and of the old group no longer reach this process.
pub fn leave_session() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setsid() })
}

fn prepare(sandbox: &Sandbox) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(netns) = &sandbox.netns {
        steps.push(Step::SetNs(std::fs::File::open(netns)?.into(), libc::CLONE_NEWNET));
    }
    steps.push(Step::Unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC));
    if let Some(hostname) = &sandbox.hostname {
        steps.push(Step::Hostname(text(hostname)?));
    }
    // Without this, what is mounted here would show up on the host.
    steps.push(mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?);
    let (lower, merged) = match &sandbox.root {
        Some(root) => {
            steps.push(overlay(root)?);
            (root.lower.clone(), root.merged.clone())
        }
        None => (PathBuf::from("/"), PathBuf::from("/")),
    };
    if sandbox.root.is_some() {
        steps.push(mount("/dev", merged.join("dev"), "", libc::MS_BIND | libc::MS_REC, "")?);
        steps.push(mount("sysfs", merged.join("sys"), "sysfs", libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?);
    }
    steps.push(mount("proc", merged.join("proc"), "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?);
    for wanted in &sandbox.mounts {
        add_mount(&mut steps, &lower, &merged, wanted)?;
    }
    if sandbox.root.is_some() {
        steps.push(Step::Pivot(path(&merged)?));
    }
    let work_dir = sandbox.work_dir.as_deref().unwrap_or(Path::new("/"));
    steps.push(Step::ChangeDir(path(work_dir)?));
    steps.extend(sandbox.user.map(Step::Become));
    Ok(steps)
}

fn overlay(root: &Root) -> io::Result<Step> {
    let mut data = Vec::new();
    for (name, folder) in [("lowerdir", &root.lower), (",upperdir", &root.upper), (",workdir", &root.work)] {
        let folder = folder.as_os_str().as_bytes();
        // overlayfs reads `,` and `:` as separators.
        if folder.iter().any(|byte| matches!(byte, b',' | b':' | b'\\')) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a folder of the root file system has `,`, `:` or `\\` in its name"));
        }
        data.extend_from_slice(name.as_bytes());
        data.push(b'=');
        data.extend_from_slice(folder);
    }
    mount("overlay", &root.merged, "overlay", 0, OsStr::from_bytes(&data))
}

fn add_mount(steps: &mut Vec<Step>, lower: &Path, merged: &Path, wanted: &Mount) -> io::Result<()> {
    let inside = &resolve_within(lower, &wanted.target)?;
    let target = merged.join(inside);
    let is_file = matches!(&wanted.what, MountKind::Bind(source) if !source.is_dir());
    let mut folder = merged.to_path_buf();
    let folders = if is_file { inside.parent().unwrap_or(Path::new("")) } else { inside };
    for part in folders.components() {
        folder.push(part);
        steps.push(Step::MakeDir(path(&folder)?));
    }
    match &wanted.what {
        MountKind::Bind(source) => {
            if is_file {
                steps.push(Step::MakeFile(path(&target)?));
            }
            steps.push(mount(source, &target, "", libc::MS_BIND | libc::MS_REC, "")?);
            if wanted.read_only {
                steps.push(mount("none", &target, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "")?);
            }
        }
        MountKind::Tmpfs => {
            let read_only = if wanted.read_only { libc::MS_RDONLY } else { 0 };
            steps.push(mount("tmpfs", &target, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV | read_only, "")?);
        }
    }
    Ok(())
}

/// Where `path` leads once `root` is `/`, relative to it. Mounts happen before the root is changed: a link such as /var/run would
/// lead the kernel back to the host.
fn resolve_within(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut left: Vec<OsString> = parts(path);
    let mut resolved = PathBuf::new();
    // 40: where the kernel gives up (path_resolution(7)).
    let mut n_links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        let Ok(link) = std::fs::read_link(root.join(&next)) else {
            resolved = next;
            continue;
        };
        n_links += 1;
        if n_links > 40 {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        if link.is_absolute() {
            resolved = PathBuf::new();
        }
        left.extend(parts(&link));
    }
    Ok(resolved)
}

/// The components of a path, the last one first, without `/` and `.`.
fn parts(path: &Path) -> Vec<OsString> {
    let wanted = |part: Component<'_>| match part {
        Component::Normal(part) => Some(part.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(wanted).collect()
}

fn run_before_exec(command: &mut Command, steps: Vec<Step>) {
    // SAFETY: `run` makes system calls on memory prepared before the fork; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || steps.iter().try_for_each(Step::run));
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; gives a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    check(fd as libc::c_int)?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn mount(
    source: impl AsRef<OsStr>,
    target: impl AsRef<OsStr>,
    kind: &str,
    flags: libc::c_ulong,
    data: impl AsRef<OsStr>,
) -> io::Result<Step> {
    Ok(Step::Mount { source: text(source)?, target: text(target)?, kind: text(kind)?, flags, data: text(data)? })
}

fn path(path: &Path) -> io::Result<CString> {
    text(path)
}

fn text(text: impl AsRef<OsStr>) -> io::Result<CString> {
    Ok(CString::new(text.as_ref().as_bytes())?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// === impl Step ===

impl Step {
    /// Runs in the child of a fork: no allocation, no lock.
    fn run(&self) -> io::Result<()> {
        match self {
            // SAFETY: here and in all arms below pointers lead to C strings that live in `self`, descriptors are open.
            Step::SetNs(fd, kind) => check(unsafe { libc::setns(fd.as_raw_fd(), *kind) }),
            // SAFETY: takes no pointers.
            Step::Unshare(kinds) => check(unsafe { libc::unshare(*kinds) }),
            // SAFETY: the length is the string's own.
            Step::Hostname(name) => check(unsafe { libc::sethostname(name.as_ptr(), name.as_bytes().len()) }),
            // SAFETY: a C string.
            Step::MakeDir(path) => ignore_existing(check(unsafe { libc::mkdir(path.as_ptr(), 0o755) })),
            Step::MakeFile(path) => {
                // SAFETY: a C string.
                let fd = unsafe { libc::open(path.as_ptr(), libc::O_CREAT | libc::O_CLOEXEC | libc::O_WRONLY, 0o644) };
                check(fd)?;
                // SAFETY: the descriptor was just opened here.
                check(unsafe { libc::close(fd) })
            }
            Step::Mount { source, target, kind, flags, data } => {
                // SAFETY: four C strings.
                let done = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), *flags, data.as_ptr().cast()) };
                check(done)
            }
            Step::Pivot(new_root) => {
                // SAFETY: C strings. The old root ends up stacked on the new one and is taken off: pivot_root(2), "pivot_root(".", ".")".
                unsafe {
                    check(libc::chdir(new_root.as_ptr()))?;
                    check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) as libc::c_int)?;
                    check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))
                }
            }
            // SAFETY: a C string.
            Step::ChangeDir(path) => check(unsafe { libc::chdir(path.as_ptr()) }),
            Step::Become(user) => {
                // SAFETY: the list of groups is empty. Groups go first: afterwards there is no right to change them.
                unsafe {
                    check(libc::setgroups(0, std::ptr::null()))?;
                    check(libc::setgid(user.gid))?;
                    check(libc::setuid(user.uid))
                }
            }
        }
    }
}

fn ignore_existing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "starting processes is what is tested")]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rutter-sandbox-{}-{name}", std::process::id()));
        for part in ["upper", "work", "merged"] {
            std::fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        folder
    }

    fn root(folder: &Path) -> Root {
        Root { lower: "/".into(), upper: folder.join("upper"), work: folder.join("work"), merged: folder.join("merged") }
    }

    /// Runs a shell script inside; gives what it printed.
    fn check(script: &str, sandbox: &Sandbox) -> String {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let child = spawn(command, sandbox).expect("a child");
        let output = child.wait_with_output().expect("an end");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn is_alone_under_its_own_name() {
        let folder = folder("alone");
        let sandbox = Sandbox { hostname: Some("web-0".to_string()), root: Some(root(&folder)), ..Sandbox::default() };
        let said = check("echo $$ $(cat /proc/sys/kernel/hostname) $(ls -d /proc/[0-9]* | wc -l)", &sandbox);
        std::fs::remove_dir_all(&folder).expect("removed");
        let mut words = said.split_whitespace();
        assert_eq!((words.next(), words.next()), (Some("1"), Some("web-0")));
        assert!(words.next().expect("a count").parse::<usize>().expect("a number") < 6, "{said}");
    }

    #[test]
    fn what_it_writes_stays_in_its_layer() {
        let folder = folder("layer");
        let volume = folder.join("volume");
        std::fs::create_dir(&volume).expect("a folder");
        std::fs::write(volume.join("key"), "value").expect("a file");
        let hosts = folder.join("hosts");
        std::fs::write(&hosts, "10.0.0.1 web\n").expect("a file");
        let sandbox = Sandbox {
            root: Some(root(&folder)),
            mounts: vec![
                Mount { target: "/data/new/volume".into(), what: MountKind::Bind(volume), read_only: true },
                Mount { target: "/etc/hosts".into(), what: MountKind::Bind(hosts), read_only: false },
                Mount { target: "/scratch".into(), what: MountKind::Tmpfs, read_only: false },
            ],
            work_dir: Some("/data".into()),
            ..Sandbox::default()
        };
        let said = check(
            "cat new/volume/key /etc/hosts; touch /written-inside; touch new/volume/x 2>/dev/null || echo read-only; touch /scratch/x && echo scratch",
            &sandbox,
        );
        let in_layer = folder.join("upper/written-inside").exists();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(said, "value10.0.0.1 web\nread-only\nscratch\n");
        assert!(in_layer && !Path::new("/written-inside").exists());
        assert!(!Path::new("/scratch").exists());
    }

    #[test]
    fn a_second_process_can_be_started_beside_the_first() {
        let folder = folder("beside");
        let sandbox = Sandbox { hostname: Some("db-0".to_string()), root: Some(root(&folder)), ..Sandbox::default() };
        let mut first = Command::new("/bin/sh");
        first.args(["-c", "echo up; read end"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut first = spawn(first, &sandbox).expect("a child");
        let mut up = [0; 3];
        io::Read::read_exact(first.stdout.as_mut().expect("piped"), &mut up).expect("it is up");

        let mut second = Command::new("/bin/sh");
        second.args(["-c", "cat /proc/sys/kernel/hostname /proc/1/comm"]).stdout(Stdio::piped());
        let output = spawn_beside(first.id(), second).expect("a child").wait_with_output().expect("an end");
        drop(first.stdin.take());
        first.wait().expect("an end");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "db-0\nsh\n");
    }

    #[test]
    fn links_are_followed_inside_the_new_root() {
        let root = std::env::temp_dir().join(format!("rutter-sandbox-links-{}", std::process::id()));
        std::fs::create_dir_all(root.join("var/lib")).expect("a folder");
        let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, root.join(from)).expect("a link");
        link("/run", "var/run");
        link("../../etc", "var/lib/up");
        link("loop", "loop");
        let check = |path: &str| resolve_within(&root, Path::new(path)).map(|path| path.display().to_string()).ok();
        assert_eq!(check("/var/run/secrets/x").as_deref(), Some("run/secrets/x"));
        assert_eq!(check("/var/lib/up/hosts").as_deref(), Some("etc/hosts"));
        assert_eq!(check("/../../new/./folder").as_deref(), Some("new/folder"));
        assert_eq!(check("/loop"), None);
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
