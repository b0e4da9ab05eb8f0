//! The real control plane and ours, each half on the other's: kube-controller-manager on our API, our controllers on kube-apiserver.

use std::path::Path;
use std::process::Command;

use client::{Client, Method};
use serde_json::{Value, json};

use super::{Machine, deployment, peer, talk};
use crate::cluster::{Process, rutter, until};

/// One API, whoever serves it.
struct Api<'a> {
    machine: &'a Machine,
    kubeconfig: &'a Path,
}

#[test]
fn the_real_controllers_run_on_our_api() {
    let Some(controllers) = peer("kube-controller-manager", "the_real_controllers_run_on_our_api") else { return };
    let machine = Machine::new();
    machine.start_apiserver(&["--without-controllers"]);
    let (kubeconfig, pki) = (machine.kubeconfig(), machine.data_dir().join("pki"));
    let mut command = command(&controllers);
    command.arg("--kubeconfig").arg(&kubeconfig).arg("--root-ca-file").arg(pki.join("ca.crt"));
    command.arg("--service-account-private-key-file").arg(pki.join("service-account.key")).arg("--leader-elect=false");
    let _controllers = machine.process(command, "kube-controller-manager");
    Api { machine: &machine, kubeconfig: &kubeconfig }.lives();
}

#[test]
fn our_controllers_run_on_the_real_api() {
    let test = "our_controllers_run_on_the_real_api";
    let (Some(etcd), Some(api)) = (peer("etcd", test), peer("kube-apiserver", test)) else { return };
    let machine = Machine::new();
    let (folder, key) = (machine.files.text(), machine.files.path("sa.key"));
    let made = super::run(&["openssl", "genrsa", "-out", &key.to_string_lossy(), "2048"], None, &[]);
    made.expect("a key");
    machine.files.put("tokens.csv", "token-admin,admin,uid-admin,\"system:masters\"\n");
    let kubeconfig = machine.files.put("kubeconfig", KUBECONFIG);

    let mut store = command(&etcd);
    store.args(["--data-dir", &format!("{folder}/etcd"), "--listen-client-urls", "http://127.0.0.1:2379"]);
    store.args(["--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380"]);
    store.args(["--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380"]);
    let _store = machine.process(store, "etcd");
    let mut server = command(&api);
    server.args(["--etcd-servers=http://127.0.0.1:2379", "--bind-address=127.0.0.1", "--secure-port=6443", "--authorization-mode=RBAC"]);
    server.args(["--advertise-address=10.0.0.1", "--service-cluster-ip-range=10.96.0.0/12"]);
    server.args(["--service-account-issuer=https://kubernetes.default.svc", &format!("--cert-dir={folder}/pki")]);
    server
        .args([&format!("--service-account-key-file={}", key.display()), &format!("--service-account-signing-key-file={}", key.display())]);
    server.arg(format!("--token-auth-file={folder}/tokens.csv"));
    let _server = machine.process(server, "kube-apiserver");

    let real = Api { machine: &machine, kubeconfig: &kubeconfig };
    let is_there = || real.try_call(Method::GET, "/api/v1/namespaces/default", None).ok();
    // A real one takes its time.
    std::iter::repeat_with(is_there)
        .take(3_000)
        .inspect(|_| std::thread::sleep(std::time::Duration::from_millis(10)))
        .find(Option::is_some);
    let mut ours = rutter();
    ours.arg("controllers").arg("--kubeconfig").arg(&kubeconfig).arg("--root-ca-file").arg(machine.files.path("pki/apiserver.crt"));
    let ours: Process = machine.process(ours, "controllers");
    ours.is_ready();
    real.lives();
}

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: rig, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: token-admin}}]
contexts: [{name: rig, context: {cluster: rig, user: admin}}]
current-context: rig
";

#[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

// === impl Api ===

impl Api<'_> {
    /// What controllers are for: a Deployment rolls, slices fill, what has no owner any more goes, a namespace goes.
    fn lives(&self) {
        self.call(Method::POST, "/api/v1/nodes", Some(&json!({"metadata": {"name": "node1"}})));
        self.call(Method::POST, "/api/v1/namespaces", Some(&json!({"metadata": {"name": "shop"}})));
        until("the namespace has its account", || self.try_call(Method::GET, "/api/v1/namespaces/shop/serviceaccounts/default", None).ok());
        let deployments = "/apis/apps/v1/namespaces/shop/deployments";
        self.call(Method::POST, deployments, Some(&deployment("web", 2)));
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        self.call(Method::POST, "/api/v1/namespaces/shop/services", Some(&service));
        let first = self.runs("one", 2);
        until("the slices are filled", || (self.addresses() == addresses(&first)).then_some(()));

        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
        self.patch(&format!("{deployments}/web"), "application/strategic-merge-patch+json", &image);
        let second = self.runs("two", 2);
        until("the slices follow", || (self.addresses() == addresses(&second)).then_some(()));
        let sets = self.list("/apis/apps/v1/namespaces/shop/replicasets");
        assert_eq!(sets.len(), 2, "{sets:?}");

        self.call(Method::DELETE, &format!("{deployments}/web"), None);
        until("what it owned goes with it", || {
            self.run_pods("none");
            (self.list("/apis/apps/v1/namespaces/shop/replicasets").is_empty() && self.pods().is_empty()).then_some(())
        });
        self.call(Method::DELETE, "/api/v1/namespaces/shop", None);
        until("the namespace goes", || self.try_call(Method::GET, "/api/v1/namespaces/shop", None).err());
    }

    /// Plays the kubelet until the Deployment has rolled out; gives its Pods.
    fn runs(&self, seed: &str, n: usize) -> Vec<Value> {
        until("the rollout is done", || {
            self.run_pods(seed);
            let web = self.call(Method::GET, "/apis/apps/v1/namespaces/shop/deployments/web", None);
            let status = |field: &str| web["status"][field].as_u64().unwrap_or(0);
            let is_done = status("observedGeneration") >= web["metadata"]["generation"].as_u64().unwrap_or(1)
                && [status("replicas"), status("updatedReplicas"), status("availableReplicas")] == [n as u64; 3];
            let pods = self.pods();
            (is_done && pods.len() == n).then_some(pods)
        })
    }

    /// Plays scheduler and kubelet: makes every new Pod run and lets go of every deleted one.
    fn run_pods(&self, seed: &str) {
        for pod in self.pods() {
            let path = format!("/api/v1/namespaces/shop/pods/{}", pod["metadata"]["name"].as_str().expect("a name"));
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                let _ = self.try_call(Method::DELETE, &path, Some(("application/json", &json!({"gracePeriodSeconds": 0}))));
            } else if pod["spec"]["nodeName"].is_null() {
                let to = json!({"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": "node1"}});
                let _ = self.try_call(Method::POST, &format!("{path}/binding"), Some(("application/json", &to)));
            } else if pod["status"]["phase"] != "Running" {
                // An address of its own, from its UID.
                let uid = pod["metadata"]["uid"].as_str().unwrap_or(seed);
                let [a, b] = uid.bytes().fold([1u8, 7], |[a, b], byte| [b.wrapping_mul(31).wrapping_add(byte), a ^ byte]);
                let (ip, now) = (format!("10.244.{a}.{b}"), "2026-01-01T00:00:00Z");
                let status = json!({"status": {
                    "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                }});
                let _ = self.try_call(Method::PATCH, &format!("{path}/status"), Some(("application/merge-patch+json", &status)));
            }
        }
    }

    fn pods(&self) -> Vec<Value> {
        self.list("/api/v1/namespaces/shop/pods")
    }

    /// What the slices of Service `web` say is ready.
    fn addresses(&self) -> Vec<String> {
        let slices = self.list("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb");
        let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
        let mut found: Vec<String> = ready.filter_map(|it| it["addresses"][0].as_str().map(str::to_string)).collect();
        found.sort();
        found
    }

    fn list(&self, path: &str) -> Vec<Value> {
        self.call(Method::GET, path, None)["items"].as_array().cloned().unwrap_or_default()
    }

    fn patch(&self, path: &str, content_type: &'static str, patch: &Value) {
        self.try_call(Method::PATCH, path, Some((content_type, patch))).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(|body| ("application/json", body));
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_call(&self, method: Method, path: &str, body: Option<(&'static str, &Value)>) -> Result<Value, client::Error> {
        talk(&self.machine.node, self.kubeconfig, |client: Client| async move { client.call(method, path, body).await })
    }
}

fn addresses(pods: &[Value]) -> Vec<String> {
    let mut found: Vec<String> = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_string)).collect();
    found.sort();
    found
}
