//! The real kubectl against a server in this process. Says so, and passes, where there is no kubectl.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use apiserver::{Config, NoKubelet};
use runtime::Registry;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
"#;

struct Kubectl {
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    #[expect(clippy::disallowed_methods, reason = "kubectl is what is tested")]
    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).env("HOME", &self.folder);
        command.args(arguments.split(' ')).output().expect("kubectl runs")
    }

    /// Runs kubectl and compares what it prints, ages and columns' widths apart.
    fn check(&self, arguments: &str, expected: &str) {
        let output = self.run(arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let text: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(text.join("\n").contains(expected), "kubectl {arguments}\n  expected {expected}\n  got {text:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "kubectl is what is tested")]
fn has_kubectl() -> bool {
    Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_reads_changes_waits_and_deletes() {
    if !has_kubectl() {
        println!("skipped: kubectl_applies_reads_changes_waits_and_deletes (no kubectl)");
        return;
    }
    let folder = std::env::temp_dir().join(format!("rutter-apiserver-kubectl-{}", std::process::id()));
    let (trigger, drain) = runtime::drain::channel();
    let config = Config {
        data_dir: folder.clone(),
        listen: "127.0.0.1:0".parse().expect("an address"),
        also_listen: Vec::new(),
        advertise: None,
        service_cidrs: vec!["10.96.0.0/12".parse().expect("a range")],
        cluster_domain: "cluster.local".to_owned(),
        kubeconfig_out: folder.join("kubeconfig"),
        kubelet: Arc::new(NoKubelet),
    };
    let running = apiserver::start(config, drain, Registry::default()).await.expect("a server");
    let kubectl = Kubectl { folder: folder.clone(), kubeconfig: running.kubeconfig };
    let done = tokio::task::spawn_blocking(move || session(&kubectl, &folder));
    done.await.expect("the session");
    trigger.drain().await;
}

fn session(kubectl: &Kubectl, folder: &Path) {
    let file = folder.join("service.yaml");
    std::fs::write(&file, SERVICE).expect("a file");
    let file = file.display();
    kubectl.check("get ns -o name", "namespace/default\nnamespace/kube-node-lease\nnamespace/kube-public\nnamespace/kube-system");
    kubectl.check(&format!("apply -f {file}"), "service/web created");
    kubectl.check(&format!("apply -f {file}"), "service/web unchanged");
    kubectl.check("get svc web", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE\nweb NodePort 10.");
    kubectl.check("get svc -l app=web -o jsonpath={.items[0].spec.ports[0].nodePort}", "30080");
    kubectl.check("label svc web tier=front", "service/web labeled");
    kubectl.check("patch svc web -p {\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":81}]}}", "service/web patched");
    kubectl.check("wait svc web --for=jsonpath={.spec.ports[0].targetPort}=81 --timeout=10s", "service/web condition met");
    kubectl.check("create configmap c --from-literal=a=b", "configmap/c created");
    kubectl.check("create configmap c --from-literal=a=b", "configmaps \"c\" already exists");
    kubectl.check(
        "create service clusterip d --tcp=1:2 --clusterip=1.1.1.1",
        "is not in the valid range. The range of valid IPs is 10.96.0.0/12",
    );
    kubectl.check("explain service.spec.clusterIP", "FIELD: clusterIP <string>");
    kubectl.check("auth can-i create pods", "yes");
    kubectl.check("create serviceaccount default", "serviceaccount/default created");
    kubectl.check("run p --image=nginx", "pod/p created");
    kubectl.check("describe pod p", "Status: Pending");
    kubectl.check("delete pod/p svc/web cm/c", "configmap \"c\" deleted");
    kubectl.check("get svc web", "Error from server (NotFound): services \"web\" not found");
    kubectl.check("get svc --token=nonsense", "You must be logged in to the server");
    let _ = std::fs::remove_dir_all(folder);
}
