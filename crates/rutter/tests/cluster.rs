//! A cluster of one node in network namespaces of its own: the harness of all tests that run the binary.
//!
//! ```text
//! pods 10.244.0.11, .12, ... (rutter echo: HTTP 80, lines 9000) -- rutter0 10.244.0.1 [node, rutter agent] 192.0.2.1 -- 192.0.2.2 outside
//! ```
//! Everything ends in `Drop`: processes, namespaces, files. A test that fails prints what its processes said.

pub mod ask;
pub mod load;
pub mod objects;
mod process;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use kernel::sysctl;

pub use process::{Process, rutter};

/// The address of the node, where its DNS and its ingress answer.
pub const NODE: &str = "10.244.0.1";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names without upstreams: nothing leaves the machine.
const COREFILE: &str = "\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa {
        fallthrough in-addr.arpa
    }
}
";

// The order is the order of dropping: processes before the namespaces they live in.
pub struct Cluster {
    pods: BTreeMap<u8, Pod>,
    pub node: Netns,
    /// Somebody who reaches the node and, through it, the Services.
    pub outside: Netns,
    /// What `--objects` is given.
    pub objects: Folder,
    pub files: Folder,
    n_commands: Cell<u32>,
}

/// A pod is its namespace; its process comes and goes.
pub struct Pod {
    process: Option<Process>,
    net: Netns,
    files: PathBuf,
    name: String,
    n_starts: u32,
}

/// A folder of a test, removed when dropped.
pub struct Folder(PathBuf);

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// How often: `few` in `make test`, `many` in `make soak`, which sets `SOAK`.
pub fn times(few: usize, many: usize) -> usize {
    if std::env::var_os("SOAK").is_some() { many } else { few }
}

// === impl Cluster ===

impl Cluster {
    /// A node with pods 1 to `n_pods`, all running; no agent yet. The objects are the Node, the Namespaces and Service kube-dns.
    pub fn new(n_pods: u8) -> Self {
        let cluster = Self {
            pods: BTreeMap::new(),
            node: Netns::new("e2e-node"),
            outside: Netns::new("e2e-out"),
            objects: Folder::new(),
            files: Folder::new(),
            n_commands: Cell::new(0),
        };
        cluster.node.ip("link add rutter0 type bridge");
        cluster.node.ip(&format!("addr add {NODE}/24 dev rutter0"));
        cluster.node.ip("link set rutter0 up");
        cluster.node.veth("out0", &cluster.outside, "eth0");
        cluster.node.ip("addr add 192.0.2.1/24 dev out0");
        cluster.outside.ip("addr add 192.0.2.2/24 dev eth0");
        // The outside knows the cluster and nothing else: what goes astray there is told so at once.
        cluster.outside.ip("route add 10.96.0.0/15 via 192.0.2.1");
        cluster.outside.ip("route add 10.244.0.0/24 via 192.0.2.1");
        // A node reaches Services by whatever route it has.
        cluster.node.ip("route add default via 192.0.2.2");
        // The same for cluster IPs that no rule leads anywhere.
        cluster.node.ip("route add unreachable 10.97.0.0/16");
        for net in [&cluster.node, &cluster.outside] {
            net.run(|| {
                sysctl::write("net.ipv4.ip_forward", "1").expect("forwarding");
                // Each of them, and not one in a second.
                sysctl::write("net.ipv4.icmp_ratelimit", "0").expect("refusals without a limit");
            });
        }
        cluster.files.put("Corefile", COREFILE);
        cluster.objects("cluster.json", objects::of_the_cluster());
        let mut cluster = cluster;
        for n in 1..=n_pods {
            let pod = Pod::new(n, &cluster.node, &cluster.files);
            cluster.pods.insert(n, pod);
        }
        for pod in cluster.pods.values_mut() {
            pod.start();
        }
        cluster
    }

    /// Puts objects in the place of those that the file held, in one step.
    pub fn objects(&self, file: &str, objects: Vec<serde_json::Value>) {
        self.objects.put(file, &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    }

    /// `rutter agent` on the node, serving.
    pub fn agent(&self) -> Process {
        let agent = self.start_agent(&[]);
        agent.is_ready();
        agent
    }

    /// The same, not waited for, with flags behind those that every agent has here.
    pub fn start_agent(&self, flags: &[&str]) -> Process {
        let mut command = rutter();
        command.args(self.agent_flags()).args(flags);
        self.start_command(&self.node, command)
    }

    /// The command line of an agent of this cluster.
    pub fn agent_flags(&self) -> Vec<String> {
        let corefile = self.files.path("Corefile").to_string_lossy().into_owned();
        let all = [
            "agent",
            "--objects",
            &self.objects.text(),
            "--node-name",
            "node",
            "--dns-listen",
            &format!("{NODE}:53"),
            "--corefile",
            &corefile,
        ];
        all.map(str::to_string).to_vec()
    }

    /// Any command of the binary, in a namespace.
    pub fn start(&self, net: &Netns, arguments: &[&str]) -> Process {
        let mut command = rutter();
        command.args(arguments);
        self.start_command(net, command)
    }

    pub fn start_command(&self, net: &Netns, command: Command) -> Process {
        let n = self.n_commands.replace(self.n_commands.get() + 1);
        Process::start(net, command, &self.files.path(&format!("command-{n}.log")))
    }

    /// Runs a command of the binary on the node to its end: its exit code and what it said.
    pub fn command(&self, arguments: &[&str]) -> (i32, String) {
        let mut process = self.start(&self.node, arguments);
        let code = process.exit_code().expect("an end of its own");
        (code, process.said())
    }

    pub fn pod(&mut self, n: u8) -> &mut Pod {
        self.pods.get_mut(&n).expect("a pod of this cluster")
    }

    /// What the admin socket of the process called `name` on the node says.
    pub fn admin(&self, name: &str, page: &str) -> String {
        let netns = std::fs::metadata(self.node.path()).expect("the namespace").ino();
        let socket = format!("/run/rutter/{name}-{netns}.sock");
        self.node.output(&["curl", "-sS", "--unix-socket", &socket, &format!("http://rutter{page}")])
    }

    /// A number from `/metrics` of the proxy; the sum of all its series.
    pub fn proxy_metric(&self, name: &str) -> f64 {
        metric(&self.node.run(|| ask::get("127.0.0.1:10249", "localhost", "/metrics")).expect("metrics").body, name)
    }

    /// The kernel's rules with their handles: the same text means that no rule was written.
    pub fn rules(&self) -> Vec<String> {
        let listed = self.node.output(&["nft", "-a", "list", "ruleset"]);
        // What a rule has counted is no part of it.
        let line = |line: &str| {
            line.split(' ').map(|word| if word.bytes().all(|b| b.is_ascii_digit()) { "N" } else { word }).collect::<Vec<_>>().join(" ")
        };
        let handle = |text: &str| text.rsplit_once("# handle ").map(|(_, handle)| handle.to_string());
        listed.lines().filter_map(|text| handle(text).map(|handle| format!("{} # {handle}", line(text.trim())))).collect()
    }

    /// Packets that rules of chains called `chain...` have dropped.
    pub fn dropped(&self, chain: &str) -> u64 {
        let listed = self.node.output(&["nft", "list", "ruleset"]);
        let mut dropped = 0;
        let mut inside = false;
        for line in listed.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                inside = name.starts_with(chain);
            }
            if inside && line.ends_with(" drop") {
                let packets = line.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
                dropped += packets.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        dropped
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A killed agent leaves its admin socket; the next namespace with this number would find it.
        if let Ok(found) = std::fs::metadata(self.node.path()) {
            for name in ["agent", "proxy", "dns", "ingress"] {
                let _ = std::fs::remove_file(format!("/run/rutter/{name}-{}.sock", found.ino()));
            }
        }
    }
}

/// The sum of the series of one family in a page of metrics.
pub fn metric(page: &str, name: &str) -> f64 {
    let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines().filter(of_it).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

// === impl Pod ===

impl Pod {
    fn new(n: u8, node: &Netns, files: &Folder) -> Self {
        let pod = Self { process: None, net: Netns::new("e2e-pod"), files: files.0.clone(), name: format!("pod-{n}"), n_starts: 0 };
        let link = format!("pod{n}");
        node.veth(&link, &pod.net, "eth0");
        node.ip(&format!("link set {link} master rutter0"));
        node.ip(&format!("link set {link} type bridge_slave hairpin on"));
        pod.net.ip(&format!("addr add {}/24 dev eth0", ip(n)));
        pod.net.ip(&format!("route add default via {NODE}"));
        pod
    }

    /// Starts the process and waits until it answers.
    pub fn start(&mut self) {
        let mut command = rutter();
        command.args(["echo", "--http", "0.0.0.0:80", "--tcp", "0.0.0.0:9000"]).env("POD_NAME", &self.name);
        self.n_starts += 1;
        let log = self.files.join(format!("{}-{}.log", self.name, self.n_starts));
        self.process = Some(Process::start(&self.net, command, &log).of_a_pod());
        until("the pod answers", || self.net.run(|| ask::get("127.0.0.1:80", "localhost", "/")).ok());
    }

    /// Tells the process to end, as kubelet does; it ends by itself once nobody comes any more.
    pub fn stop(&mut self) {
        self.process.as_ref().expect("a running pod").signal_term();
    }

    /// Whether a process that was told to end has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.has_ended())
    }
}

/// The address of pod `n`.
pub fn ip(n: u8) -> String {
    format!("10.244.0.{}", 10 + n)
}

// === impl Folder ===

impl Folder {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("rutter-e2e-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Writes a file as editors and mounted ConfigMaps do: whole, by rename.
    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.path(name), self.path(&format!(".{name}.new")));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, &path).expect("a rename");
        path
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("a file that was there");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The root of the project, where `examples/` is.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project's root")
}

/// A sequence of numbers that a failing test tells, to be seen again with `SEED`.
pub struct Random(u64);

// === impl Random ===

impl Random {
    pub fn new() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |it| it.as_secs()));
        eprintln!("SEED={seed}");
        Self(seed)
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// At least one of them, in their order.
    pub fn some_of(&mut self, all: &[u8]) -> Vec<u8> {
        let bits = self.next();
        let some: Vec<u8> = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, one)| *one).collect();
        if some.is_empty() { vec![all[self.below(all.len())]] } else { some }
    }
}
