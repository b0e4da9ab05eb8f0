//! Network namespaces: entering one, and a harness for tests that send real packets.
//!
//! [`Netns`] is for tests: it makes namespaces, links and addresses with ip(8), runs closures on threads inside, and removes all of
//! it when dropped. Product code uses [`enter`] alone.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Errno;

/// Moves the calling thread (not its process) into the network namespace at `path`; sockets made from then on belong to it.
pub fn enter(path: &Path) -> Result<(), Errno> {
    let file = std::fs::File::open(path)?;
    // SAFETY: setns(2) takes a descriptor, which `file` keeps open, and no pointer. It changes this thread alone.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Makes a network namespace that lives for as long as `path`, a file that is made for it, as `ip netns add` does.
pub fn create(path: &Path) -> Result<(), Errno> {
    std::fs::File::create(path)?;
    // A namespace belongs to a thread: one of its own is made in it and ends, and the mount keeps it.
    let made = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: takes no pointers; changes this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
                return Err(Errno::last());
            }
            bind(c"/proc/thread-self/ns/net", path)
        });
        inside.join().unwrap_or(Err(Errno(libc::EIO)))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Keeps the network namespace that the process `pid` lives in by `path`, as `ip netns attach` does.
pub fn attach(path: &Path, pid: u32) -> Result<(), Errno> {
    std::fs::File::create(path)?;
    bind(&CString::new(format!("/proc/{pid}/ns/net")).map_err(|_| Errno(libc::EINVAL))?, path)
}

fn bind(source: &std::ffi::CStr, path: &Path) -> Result<(), Errno> {
    let target = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: C strings that live across the call; the other two pointers may be null for a bind mount.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Lets go of the namespace at `path`. The kernel keeps it while a process is inside. One that is not there is no error.
pub fn remove(path: &Path) -> Result<(), Errno> {
    let target = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: a C string that lives across the call. A file that is no mount (EINVAL) is only left to be removed.
    let _ = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Runs `body` on a thread inside the network namespace at `path`.
pub fn run_in<T: Send>(path: &Path, body: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter(path)?;
            body()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A named network namespace of a test; removed when dropped. Needs root.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new namespace with its loopback up. `prefix` says whose it is; the rest of the name is unique on this machine.
    ///
    /// # Panics
    /// If it cannot be made: the test cannot run without.
    pub fn new(prefix: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let ns = Self { name };
        ns.ip("link set lo up");
        // Nobody else is on these links: addresses work at once.
        ns.run(|| crate::sysctl::write("net.ipv6.conf.default.accept_dad", "0").expect("no duplicate address detection"));
        ns
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs ip(8) inside, its arguments split at spaces.
    pub fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all);
    }

    /// A pair of veth links: `here` in this namespace, `there` in the other, both up.
    pub fn veth(&self, here: &str, other: &Netns, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    /// Runs `body` on a thread inside this namespace and gives its result. A panic inside goes on outside, behind the line that
    /// shows how to look.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let result = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.path()).expect("entering the namespace");
                body()
            });
            inside.join()
        });
        result.unwrap_or_else(|panic| {
            eprintln!("failed inside; look with: nsenter --net={} nft list ruleset", self.path().display());
            std::panic::resume_unwind(panic)
        })
    }

    /// What a command prints inside this namespace.
    ///
    /// # Panics
    /// If it fails: tests use it for tools that must work, such as `nft list ruleset`.
    pub fn output(&self, command: &[&str]) -> String {
        let net = format!("--net={}", self.path().display());
        let mut all = vec!["nsenter", net.as_str()];
        all.extend(command);
        output(&all)
    }

    pub fn path(&self) -> std::path::PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("KEEP_NETNS").is_some() {
            eprintln!("kept: nsenter --net={}", self.path().display());
            return;
        }
        let _ = command(&["ip", "netns", "del", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let mut all = vec!["ip"];
    all.extend(arguments);
    output(&all);
}

fn output(arguments: &[&str]) -> String {
    let out = command(arguments).output().unwrap_or_else(|error| panic!("{}: {error}", arguments.join(" ")));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}: {}{}", arguments.join(" "), said, String::from_utf8_lossy(&out.stderr));
    said
}

#[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
fn command(arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(arguments[0]);
    command.args(&arguments[1..]).stdin(std::process::Stdio::null());
    command
}
