//! The session of README: what a newcomer types works, and nothing is left of it.

use std::path::PathBuf;
use std::process::Command;

use kernel::netns::Netns;

use crate::cluster::{Folder, Process, project, rutter};

/// The namespaces of `examples/up.sh`, in case it leaves any.
struct Node(String);

#[test]
fn the_session_of_the_readme_works_and_leaves_nothing_behind() {
    // No other test's namespaces may begin so: what is left of these is looked for, and removed.
    let node = Node(format!("e2e-ex-{}", std::process::id()));
    let (outer, logs) = (Netns::new("e2e-readme"), Folder::new());
    let mut up = shell("exec examples/up.sh");
    up.env("NETNS", &node.0).env("RUTTER", rutter().get_program());
    let mut up = Process::start(&outer, up, &logs.path("up.log"));
    up.is_ready();

    for command in commands_of_readme(&node.0) {
        let (code, said) = run(&outer, &logs, &command);
        assert_eq!(code, 0, "{command}: {said}");
        if command.contains(" dig ") {
            assert_eq!(said, "10.96.0.80\n", "{command}");
        } else {
            let pod: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}: {said}"));
            assert!(pod["pod"].as_str().is_some_and(|pod| pod.starts_with("pod-")), "{command}: {said}");
        }
    }
    let printed = up.said();
    let commands: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("  ")?.split("   ").next()).collect();
    assert!(commands.len() >= 5, "{printed}");
    for command in commands {
        let (code, said) = run(&outer, &logs, command);
        assert!(code == 0 && !said.is_empty(), "{command}: {said}");
    }

    // By its whole name: the kernel gives numbers of namespaces again, and who was killed in one left its socket.
    let socket = PathBuf::from(format!("/run/rutter/agent-{}.sock", node.number()));
    assert!(socket.exists(), "{socket:?}");
    up.signal_term();
    assert_eq!(up.exit_code(), Ok(0));
    assert_eq!(node.namespaces(), Vec::<PathBuf>::new());
    assert!(!socket.exists(), "an admin socket is left");
}

/// The lines of README that a user types while `make up` runs; its node is called `rutter` there.
fn commands_of_readme(node: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("README.md");
    let typed = readme.lines().filter_map(|line| line.strip_prefix("    # "));
    let commands: Vec<_> = typed.map(|line| line.replacen("netns exec rutter ", &format!("netns exec {node} "), 1)).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    commands
}

fn run(net: &Netns, logs: &Folder, text: &str) -> (i32, String) {
    // Quiet as a terminal is not: curl shows its progress to files.
    let mut process = Process::start(net, shell(&text.replace(" curl ", " curl -sS ")), &logs.path("command.log"));
    (process.exit_code().expect("an end of its own"), process.said())
}

#[allow(clippy::disallowed_methods, reason = "the session of a user is typed into a shell")]
fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text]).current_dir(project());
    command
}

// === impl Node ===

impl Node {
    fn namespaces(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir("/run/netns").expect("/run/netns").flatten().map(|entry| entry.path());
        all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&self.0))).collect()
    }

    /// The namespace's inode: part of the admin socket's name.
    fn number(&self) -> String {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(format!("/run/netns/{}", self.0)).expect("the node").ino().to_string()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for path in self.namespaces() {
            let _ = kernel::netns::remove(&path);
        }
    }
}
