//! `rutter up` and `rutter apiserver` as people use them: the real kubectl on real pods, loads that lose nothing, kills that lose nothing.
//!
//! ```text
//! pods 10.244.0.2, .3, ... -- rutter0 10.244.0.1 [node: rutter up] 192.0.2.1 -- 192.0.2.10 outside
//! ```
//! What needs kubectl (`KUBECTL`, the PATH) or the real control plane (`PEERS`, `.cache/peers`) and finds none says so by name and is
//! skipped.

mod backup;
mod balanced;
mod killed;
mod load;
mod peers;
mod pods;
mod readme;
mod session;
mod starts;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use client::{Client, Method, Origin};
use kernel::netns::Netns;
use kernel::sysctl;
use serde_json::{Value, json};

use crate::cluster::{Folder, Process, rutter, until};

pub const NODE_IP: &str = "192.0.2.1";
pub const OUTSIDE_IP: &str = "192.0.2.10";

/// A machine that `rutter up` or `rutter apiserver` runs on, and somebody outside. Everything ends in `Drop`.
pub struct Machine {
    process: RefCell<Option<Process>>,
    pub node: Netns,
    pub outside: Netns,
    pub files: Folder,
    n_starts: Cell<u32>,
    has_pods: Cell<bool>,
}

// === impl Machine ===

impl Machine {
    pub fn new() -> Self {
        runtime::tls::install_provider();
        let (node, outside) = (Netns::new("e2e-up"), Netns::new("e2e-upout"));
        node.veth("out0", &outside, "eth0");
        node.ip(&format!("addr add {NODE_IP}/24 dev out0"));
        outside.ip(&format!("addr add {OUTSIDE_IP}/24 dev eth0"));
        outside.ip(&format!("route add default via {NODE_IP}"));
        node.run(|| sysctl::write("net.ipv4.ip_forward", "1").expect("forwarding"));
        Self { process: RefCell::default(), node, outside, files: Folder::new(), n_starts: Cell::new(0), has_pods: Cell::new(false) }
    }

    /// A machine with `rutter up` on it, ready.
    pub fn up() -> Self {
        let machine = Self::new();
        machine.start_up();
        machine
    }

    pub fn start_up(&self) {
        self.has_pods.set(true);
        self.start(&["up", "--node-name", "node1"]);
    }

    pub fn start_apiserver(&self, flags: &[&str]) {
        let mut all = vec!["apiserver"];
        all.extend(flags);
        self.start(&all);
    }

    /// A command on this machine's data folder, ready.
    fn start(&self, arguments: &[&str]) {
        let mut command = rutter();
        command.args(arguments).arg("--data-dir").arg(self.data_dir());
        let process = self.process(command, arguments[0]);
        process.is_ready();
        self.process.replace(Some(process));
    }

    /// Any process on the node, what it says in a file named after `name`.
    pub fn process(&self, command: Command, name: &str) -> Process {
        let n = self.n_starts.replace(self.n_starts.get() + 1);
        Process::start(&self.node, command, &self.files.path(&format!("{name}-{n}.log")))
    }

    /// SIGKILL to what was started.
    pub fn kill_9(&self) {
        self.process.borrow_mut().as_mut().expect("a started machine").kill_9();
    }

    /// SIGTERM, and how it ends.
    pub fn stop(&self) -> Result<i32, String> {
        let mut process = self.process.borrow_mut();
        let process = process.as_mut().expect("a started machine");
        process.signal_term();
        let code = process.exit_code();
        let said = process.said();
        let (_, last) = said.split_once("\nstopping\n").unwrap_or_default();
        assert!(!last.contains(" WARN ") && !last.contains(" ERROR "), "an end as it should be:\n{last}");
        code
    }

    pub fn data_dir(&self) -> PathBuf {
        self.files.path("data")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// Talks to the API from the node.
    pub fn api<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce(Client) -> F + Send) -> T {
        talk(&self.node, &self.kubeconfig(), work)
    }

    /// One request that must succeed.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let answer = self.api(|client| async move { client.call(method, path, body.map(|body| ("application/json", body))).await });
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None)
    }

    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.call(Method::POST, path, Some(object))
    }

    /// A JSON merge patch.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let answer =
            self.api(|client| async move { client.call(Method::PATCH, path, Some(("application/merge-patch+json", patch))).await });
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The Pods of namespace `default` that carry `app: APP`.
    pub fn pods(&self, app: &str) -> Vec<Value> {
        let list = self.get(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until `n` Pods of `app` are ready and no other is left.
    pub fn settles_at(&self, app: &str, n: usize) -> Vec<Value> {
        until("the pods are as wanted", || {
            let pods = self.pods(app);
            (pods.len() == n && pods.iter().all(is_ready)).then_some(pods)
        })
    }

    /// The process of a container, by its number on this machine.
    pub fn pid(&self, pod: &Value, container: &str) -> Option<u32> {
        let uid = pod["metadata"]["uid"].as_str()?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64()?;
        let path = self.data_dir().join(format!("pods/{uid}/containers/{container}/{restarts}/running.json"));
        let running: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        u32::try_from(running["pid"].as_u64()?).ok()
    }

    /// What a command says inside a container, as its process would see it: its files, its network, its names.
    pub fn inside(&self, pod: &Value, container: &str, command: &[&str]) -> Result<String, String> {
        let pid = self.pid(pod, container).ok_or("no such process")?.to_string();
        let mut all = vec!["nsenter", "--target", &pid, "--mount", "--net", "--uts", "--pid", "--root", "--wd"];
        all.extend(command);
        run(&all, None, &[])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // kill -9, so that nothing waits; what runs on in the pods is removed with them.
        drop(self.process.take());
        if self.has_pods.get() {
            let mut cleanup = rutter();
            cleanup.arg("cleanup").arg("--data-dir").arg(self.data_dir());
            let mut cleanup = self.process(cleanup, "cleanup");
            until("all is cleaned up", || cleanup.has_ended().then_some(()));
        }
        if let Ok(found) = std::fs::metadata(self.node.path()) {
            let _ = std::fs::remove_file(format!("/run/rutter/up-{}.sock", found.ino()));
        }
    }
}

/// Talks to the API of a kubeconfig from a namespace.
pub fn talk<T: Send, F: Future<Output = T>>(net: &Netns, kubeconfig: &Path, work: impl FnOnce(Client) -> F + Send) -> T {
    net.run(|| {
        // One thread: every socket is made where it may be.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::connect(&Origin::Kubeconfig(kubeconfig.to_path_buf())).await.expect("a kubeconfig");
            work(client).await
        })
    })
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True") && pod["metadata"]["deletionTimestamp"].is_null()
}

/// A Deployment of `rutter echo` with label `app: NAME`.
pub fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "rutter/echo", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

/// The kubectl of this machine; without one the test that asks is skipped.
pub fn kubectl(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KUBECTL").map(PathBuf::from);
    let found = named.into_iter().chain(on_path("kubectl")).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED {test}: no kubectl (environment KUBECTL, the PATH)");
    }
    found
}

/// A program of the real control plane; without it the test that asks is skipped.
pub fn peer(name: &str, test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PEERS").map_or_else(|| crate::cluster::project().join(".cache/peers"), PathBuf::from);
    let found = std::iter::once(folder.join(name)).chain(on_path(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED {test}: no {name} (environment PEERS, .cache/peers, the PATH)");
    }
    found
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).collect()
}

/// What a command says on standard output, or all that it says if it fails.
pub fn run(command: &[&str], stdin: Option<&str>, env: &[(&str, &str)]) -> Result<String, String> {
    use std::io::Write as _;
    #[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(|error| format!("{}: {error}", command[0]))?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read has decided already.
        let _ = input.write_all(stdin.unwrap_or("").as_bytes());
    }
    let said = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stdout) + &text(&said.stderr)) }
}
