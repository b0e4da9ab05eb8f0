//! A real kube-apiserver on etcd, as children of a test, on loopback and ports of their own. Also for the tests of `source`.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who has a token `token-NAME`: `admin`, who may do everything, and two who may do what the test allows them.
const USERS: &str = "token-admin,admin,uid-admin,\"system:masters\"\ntoken-nobody,nobody,uid-nobody\ntoken-rutter,rutter,uid-rutter\n";

pub struct Rig {
    peers: PathBuf,
    folder: PathBuf,
    etcd: Child,
    etcd_url: String,
    api_server: Child,
    port: u16,
}

impl Rig {
    /// `None`, with the name of what is missing on standard error, where the peers have not been built.
    pub fn start(test: &str) -> Option<Rig> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/peers");
        if let Some(missing) = ["etcd", "kube-apiserver", "kubectl"].iter().find(|name| !peers.join(name).exists()) {
            use std::io::Write as _;
            // Straight to the descriptor: what a passing test prints is not shown otherwise.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {missing} in .cache/peers");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("rutter-rig-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a writable temporary directory");
        std::fs::write(folder.join("tokens.csv"), USERS).expect("a file");
        let key = Command::new("openssl").args(["genrsa", "-out", "sa.key", "2048"]).current_dir(&folder).output().expect("openssl");
        assert!(key.status.success(), "a key for service accounts");
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [client_port, peer_port, port] = sockets.map(|socket| socket.local_addr().expect("an address").port());
        let (etcd_url, peer_url) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
        let mut etcd = Command::new(peers.join("etcd"));
        etcd.args(["--data-dir", "etcd", "--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url]);
        etcd.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        etcd.args(["--initial-cluster", &format!("default={peer_url}")]);
        let etcd = spawn(etcd, &folder, "etcd.log");
        let api_server = api_server(&peers, &folder, &etcd_url, port);
        let rig = Rig { peers, folder, etcd, etcd_url, api_server, port };
        rig.wait_until_ready();
        Some(rig)
    }

    pub fn stop_api_server(&mut self) {
        self.api_server.kill().expect("a running API server");
        self.api_server.wait().expect("a child");
    }

    pub fn start_api_server(&mut self) {
        self.api_server = api_server(&self.peers, &self.folder, &self.etcd_url, self.port);
        self.wait_until_ready();
    }

    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        let path = self.folder.join(token);
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            self.port
        );
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    pub fn apply(&self, manifest: &str) {
        let path = self.folder.join("manifest.yaml");
        std::fs::write(&path, manifest).expect("a file");
        self.kubectl(&["apply", "--server-side", "-f", path.to_str().expect("UTF-8")]);
    }

    fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        let mut kubectl = Command::new(self.peers.join("kubectl"));
        let output = kubectl.arg("--kubeconfig").arg(self.kubeconfig("token-admin")).args(args).output().expect("kubectl");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The RBAC rules and this range are the last that a starting server writes.
    fn wait_until_ready(&self) {
        let start = Instant::now();
        while let Err(error) = self.try_kubectl(&["get", "servicecidr", "kubernetes"]) {
            assert!(start.elapsed() < Duration::from_secs(120), "the API server does not start: {error}; see {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in [&mut self.api_server, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn api_server(peers: &Path, folder: &Path, etcd_url: &str, port: u16) -> Child {
    let mut server = Command::new(peers.join("kube-apiserver"));
    server.arg(format!("--etcd-servers={etcd_url}")).arg(format!("--secure-port={port}"));
    server.args(["--bind-address=127.0.0.1", "--advertise-address=10.0.0.1", "--cert-dir=pki", "--token-auth-file=tokens.csv"]);
    server.args(["--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=sa.key"]);
    server.args(["--service-account-signing-key-file=sa.key", "--authorization-mode=RBAC"]);
    server.arg("--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112");
    // As kubeadm has it: kube-proxy's DaemonSet is privileged, and so is the start of ours.
    server.arg("--allow-privileged=true");
    // There is no controller that makes the service account of a namespace.
    server.arg("--disable-admission-plugins=ServiceAccount");
    spawn(server, folder, "api-server.log")
}

fn spawn(mut command: Command, folder: &Path, log: &str) -> Child {
    let log = File::create(folder.join(log)).expect("a log");
    command.current_dir(folder).stdout(Stdio::null()).stderr(log).spawn().expect("a child")
}
