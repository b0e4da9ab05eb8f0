//! `rutter shim`: one container each, seen through what it leaves in its folder and what it answers.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use kernel::netns::Netns;
use node::shim::{self, Answer, Request, Spec};

use crate::cluster::{rutter, until};

const TERM: i32 = 15;
const KILL: i32 = 9;

/// A container that is running or has ended. All of it goes when dropped.
struct Container {
    net: Netns,
    dir: PathBuf,
    shim: Child,
}

impl Container {
    /// Runs a shell script as a container.
    fn start(name: &str, script: &str) -> Self {
        let net = Netns::new("shim");
        let dir = std::env::temp_dir().join(format!("rutter-shim-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        let spec = Spec {
            argv: ["sh", "-c", script].map(str::to_string).into(),
            env: vec![("PATH".to_string(), "/usr/bin:/bin".to_string()), ("COLOR".to_string(), "blue".to_string())],
            netns: net.path(),
            hostname: "web-0".to_string(),
            layer: dir.join("layer"),
            volumes: Vec::new(),
            work_dir: None,
            user: None,
            log: dir.join("0.log"),
        };
        shim::write_spec(&dir, &spec).expect("written");
        // As if whoever started it had gone: nobody reads what it says.
        let shim = rutter().arg("shim").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a shim");
        until("the container was started", || (dir.join("running.json").exists() || dir.join("ended.json").exists()).then_some(()));
        Self { net, dir, shim }
    }

    fn ask(&self, request: &Request) -> Answer {
        shim::ask(&self.dir, request).expect("an answer")
    }

    fn exec(&self, argv: &[&str], timeout_ms: u64) -> Answer {
        self.ask(&Request::Exec { argv: argv.iter().map(ToString::to_string).collect(), timeout_ms })
    }

    /// The log without its times.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.join("0.log")).expect("a log");
        text.lines().map(|line| line.split_once(' ').expect("a time").1.to_string()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = shim::ask(&self.dir, &Request::Signal(KILL));
        let _ = self.shim.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn wait(dir: &Path) -> shim::Ended {
    shim::wait(dir.to_path_buf(), None).await
}

#[tokio::test]
async fn a_container_leaves_its_log_and_its_exit_code() {
    let container = Container::start("ends", "echo $COLOR; hostname; echo oops >&2; exit 3");
    let ended = wait(&container.dir).await;
    assert_eq!((ended.exit_code, ended.signal, ended.message), (3, None, None));
    let mut log = container.log();
    log.sort();
    assert_eq!(log, ["stderr F oops", "stdout F blue", "stdout F web-0"]);
}

#[tokio::test]
async fn commands_run_beside_it_and_signals_reach_it() {
    let container = Container::start("beside", "trap 'echo bye; exit 7' TERM; echo > /started; while :; do sleep 0.05; done");
    until("the trap is set", || matches!(container.exec(&["ls", "/started"], 5_000), Answer::Exited { exit_code: 0, .. }).then_some(()));
    let output = "web-0\n".to_string();
    assert_eq!(container.exec(&["cat", "/proc/sys/kernel/hostname"], 5_000), Answer::Exited { exit_code: 0, output });
    assert_eq!(container.exec(&["sleep", "60"], 50), Answer::TimedOut);
    assert!(matches!(container.exec(&["no-such-program"], 5_000), Answer::Failed(_)));
    assert!(!Path::new("/started").exists(), "what it writes is its own");
    assert_eq!(container.ask(&Request::Signal(TERM)), Answer::Done);
    assert_eq!(wait(&container.dir).await.exit_code, 7);
    assert_eq!(container.log(), ["stdout F bye"]);
}

#[tokio::test]
async fn what_cannot_be_started_has_ended_with_the_reason() {
    let mut container = Container::start("never", "exit 0");
    wait(&container.dir).await;
    container.shim.wait().expect("an end");
    for left in ["ended.json", "running.json"] {
        std::fs::remove_file(container.dir.join(left)).expect("removed");
    }
    let spec = std::fs::read_to_string(container.dir.join("spec.json")).expect("a spec").replace("\"sh\"", "\"/no/such/program\"");
    std::fs::write(container.dir.join("spec.json"), spec).expect("written");
    container.shim = rutter().arg("shim").arg(&container.dir).stdout(Stdio::null()).spawn().expect("a shim");
    container.shim.wait().expect("an end");
    let ended = wait(&container.dir).await;
    assert_eq!(ended.exit_code, 128);
    assert!(ended.message.is_some_and(|message| message.starts_with("cannot start `/no/such/program -c exit 0`")));
}

#[tokio::test]
async fn a_container_whose_shim_was_killed_does_not_stay() {
    let mut container = Container::start("orphan", "while :; do sleep 1; done");
    let pid = shim::running(&container.dir).expect("readable").expect("running").pid;
    container.shim.kill().expect("killed");
    container.shim.wait().expect("an end");
    let ended = wait(&container.dir).await;
    assert_eq!(ended.exit_code, 137);
    assert!(ended.message.is_some());
    until("the container is gone", || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // What nobody reaps is a zombie.
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
}

#[tokio::test]
async fn a_follower_is_woken_by_each_line_and_by_the_end() {
    use tokio::io::AsyncReadExt as _;
    let container = Container::start("follow", "while ! [ -e /go ]; do sleep 0.05; done; echo one");
    let mut growth = shim::follow(&container.dir).await.expect("a follower");
    container.exec(&["touch", "/go"], 5_000);
    assert_eq!(growth.read(&mut [0; 16]).await.expect("a byte"), 1);
    assert_eq!(growth.read(&mut [0; 16]).await.expect("the end"), 0);
    assert_eq!(container.log(), ["stdout F one"]);
    assert!(shim::follow(&container.dir).await.is_none(), "{}", container.net.name());
}
