//! The session of a user with the real kubectl: every line of `examples/manifests/README.md`, and the verbs one after another.

use std::path::PathBuf;

use super::{Machine, NODE_IP, OUTSIDE_IP, is_ready, kubectl, run};
use crate::cluster::ask::{self, who};
use crate::cluster::{project, rutter, until};

/// kubectl on the node.
pub struct Kubectl<'a> {
    pub machine: &'a Machine,
    pub program: PathBuf,
}

impl Kubectl<'_> {
    /// What `kubectl LINE` says; it must succeed. Words are split at spaces, except between single quotes.
    pub fn run(&self, line: &str) -> String {
        self.with(line, "").unwrap_or_else(|said| panic!("kubectl {line}: {said}"))
    }

    fn refuses(&self, line: &str) -> String {
        self.with(line, "").expect_err(line)
    }

    fn with(&self, line: &str, stdin: &str) -> Result<String, String> {
        let kubeconfig = self.machine.kubeconfig();
        let mut all: Vec<String> = vec![self.program.display().to_string(), "--kubeconfig".into(), kubeconfig.display().to_string()];
        for (n, part) in line.split('\'').enumerate() {
            if n % 2 == 1 { all.push(part.to_string()) } else { all.extend(part.split_whitespace().map(str::to_string)) }
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        // A home of its own: what kubectl remembers of an API would mislead the next test's.
        let home = self.machine.files.text();
        self.machine.node.run(|| run(&all, Some(stdin), &[("HOME", &home), ("EDITOR", "sed -i s/tier:.one/tier:\\ two/")]))
    }

    /// Waits until the output holds all of `parts`.
    pub fn shows(&self, line: &str, parts: &[&str]) -> String {
        let missing = std::cell::RefCell::new(String::new());
        let shown = || {
            let said = self.run(line);
            *missing.borrow_mut() = said.clone();
            parts.iter().all(|part| squeezed(&said).contains(part)).then_some(said)
        };
        let what = format!("kubectl {line} shows {parts:?}");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(&what, shown)))
            .unwrap_or_else(|_| panic!("{what}:\n{}", missing.borrow()))
    }
}

/// Columns one space apart.
fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

fn example(name: &str) -> String {
    project().join("examples/echo").join(name).display().to_string()
}

#[test]
fn every_line_of_the_manifests_readme_holds() {
    let Some(program) = kubectl("every_line_of_the_manifests_readme_holds") else { return };
    let machine = Machine::up();
    let kubectl = Kubectl { machine: &machine, program };
    // The application outside, at the only address that differs from the manifests'.
    let mut echo = rutter();
    echo.args(["echo", "--http", &format!("{OUTSIDE_IP}:80")]).env("POD_NAME", "outside");
    let _echo = crate::cluster::Process::start(&machine.outside, echo, &machine.files.path("outside.log")).of_a_pod();

    kubectl.run(&format!("apply -f {}", example("")));
    kubectl.run("rollout status deployment/nginx-server1 --timeout=10s");
    kubectl.run("rollout status deployment/nginx-app --timeout=10s");

    let services = squeezed(&kubectl.run("get svc"));
    let line = |name: &str| {
        services.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{services}")).to_string()
    };
    let cluster_ip = line("nginx-svc").split(' ').nth(2).expect("an address").to_string();
    assert!(line("nginx-svc").starts_with(&format!("nginx-svc ClusterIP {cluster_ip} <none> 80/TCP ")), "{services}");
    assert!(line("headless-service").starts_with("headless-service ClusterIP None <none> 80/TCP "), "{services}");
    assert!(
        line("nginx-app").ends_with(|c: char| c.is_ascii_alphanumeric()) && line("nginx-app").contains(" <none> 8060:30001/TCP "),
        "{services}"
    );
    kubectl.shows("get svc nginx-lb", &[&format!(" {NODE_IP} 8061/TCP ")]);
    assert!(line("my-externalname").starts_with("my-externalname ExternalName <none> www.example.com <none> "), "{services}");

    let pods = machine.settles_at("nginx", 2);
    let mut ips: Vec<&str> = pods.iter().map(|pod| pod["status"]["podIP"].as_str().expect("an address")).collect();
    ips.sort_unstable();
    kubectl.shows("get endpoints nginx-svc", &[&format!("nginx-svc {}:80,{}:80 ", ips[0], ips[1])]);
    let wide = squeezed(&kubectl.run("get po -o wide"));
    assert!(ips.iter().all(|ip| wide.contains(&format!(" {ip} node1 "))), "{wide}");
    assert!(kubectl.run("describe svc nginx-svc").contains(&cluster_ip));
    assert!(kubectl.run("describe node node1").contains("nginx-server1"));

    // From the node, from outside, and from a pod.
    let names: Vec<&str> = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    let answers = |who: String| names.contains(&who.as_str()).then_some(who);
    until("the ClusterIP answers", || machine.node.run(|| who(&format!("{cluster_ip}:80"))).ok().and_then(answers));
    let outer = until("the node port answers outside", || machine.outside.run(|| who(&format!("{NODE_IP}:30001"))).ok());
    assert!(outer.starts_with("nginx-app-"), "{outer}");
    let balanced = until("the load balancer answers outside", || machine.outside.run(|| who(&format!("{NODE_IP}:8061"))).ok());
    assert!(balanced.starts_with("nginx-app-"), "{balanced}");
    let pod = &pods[0];
    let curl = |url: &str| {
        let said = machine.inside(pod, "nginx-smart", &["curl", "-sS", "--max-time", "5", url]);
        let said = said.unwrap_or_else(|error| panic!("curl {url} in a pod: {error}"));
        serde_json::from_str::<serde_json::Value>(&said).unwrap_or_else(|error| panic!("{url}: {error}: {said}"))["pod"]
            .as_str()
            .unwrap_or("")
            .to_string()
    };
    for host in [&cluster_ip, "nginx-svc", "nginx-svc.default", "nginx-svc.default.svc.cluster.local", "headless-service"] {
        assert!(names.contains(&curl(&format!("http://{host}")).as_str()), "{host}");
    }
    assert_eq!(curl("http://nginx-svc-external"), "outside");
    let hosts = machine.inside(pod, "nginx-smart", &["getent", "ahostsv4", "headless-service"]).expect("a name");
    assert!(ips.iter().all(|ip| hosts.contains(ip)), "{hosts}");
    let alias = machine.inside(pod, "nginx-smart", &["dig", "+search", "+short", "+tries=1", "my-externalname", "CNAME"]).expect("dig");
    assert_eq!(alias.trim(), "www.example.com.");

    // The URL, with the client's address in the log.
    kubectl.shows("get ingress", &[&format!("test-nginx-ingress <none> k8s.fooleryang.cn {NODE_IP} 80 ")]);
    let (url, host) = (format!("{NODE_IP}:80"), "k8s.fooleryang.cn");
    let routed = until("the URL answers", || machine.outside.run(|| ask::get(&url, host, "/api")).ok().filter(|it| it.status == 200));
    assert_eq!(routed.echo("path"), "/", "{}", routed.body);
    assert_eq!(machine.outside.run(|| ask::get(&url, host, "/other")).expect("an answer").status, 404);
    let server = routed.echo("pod");
    kubectl.shows(&format!("logs {server}"), &["\"GET / HTTP/1.1\" 200", &format!("\"{OUTSIDE_IP}\"")]);
    #[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
    let mut follow = std::process::Command::new(&kubectl.program);
    follow.arg("--kubeconfig").arg(machine.kubeconfig()).args(["logs", "-f", "--tail=0", &server]);
    let follow = machine.process(follow, "logs");
    until("a followed log shows a request", || {
        machine.outside.run(|| ask::get(&url, host, "/api/followed")).ok();
        follow.said().contains(OUTSIDE_IP).then_some(())
    });

    // A deleted pod is replaced, by another address.
    let gone = pod["metadata"]["name"].as_str().expect("a name");
    kubectl.run(&format!("delete pod {gone}"));
    let now = machine.settles_at("nginx", 2);
    assert!(now.iter().all(|it| it["status"]["podIP"] != pod["status"]["podIP"]), "{gone}");
}

#[test]
fn the_verbs_of_kubectl_work() {
    let Some(program) = kubectl("the_verbs_of_kubectl_work") else { return };
    let machine = Machine::up();
    let kubectl = Kubectl { machine: &machine, program };
    let ok = |line: &str, part: &str| {
        let said = kubectl.run(line);
        assert!(squeezed(&said).contains(part), "kubectl {line} says no {part:?}:\n{said}");
    };

    // A Deployment through its life.
    ok("create deployment web --image=rutter/echo --port=80 --replicas=2", "deployment.apps/web created");
    ok("rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("set image deploy/web echo=rutter/echo:v2", "image updated");
    ok("rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("rollout history deploy/web", "\n2 <none>");
    ok("rollout history deploy/web --revision=2", "rutter/echo:v2");
    ok("rollout undo deploy/web", "rolled back");
    ok("rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}", "rutter/echo");
    ok("rollout restart deploy/web", "restarted");
    ok("rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("rollout pause deploy/web", "paused");
    ok("set env deploy/web A=1", "updated");
    ok("rollout resume deploy/web", "resumed");
    ok("rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("scale deploy/web --replicas=3", "scaled");
    ok("wait --for=jsonpath={.status.readyReplicas}=3 deploy/web --timeout=10s", "condition met");
    ok("wait --for=condition=Available deploy/web --timeout=10s", "condition met");
    ok("get deploy,rs,pods -o wide", "deployment.apps/web 3/3 3 3");

    // Services and single pods.
    ok("expose deploy web --name=front --port=8080 --target-port=80", "service/front exposed");
    ok("run probe --image=rutter/echo --port=80 --labels=app=probe --expose", "pod/probe created");
    ok("wait --for=condition=Ready pod/probe --timeout=10s", "condition met");
    kubectl.shows("get endpointslices -l kubernetes.io/service-name=probe", &["IPv4 80 10.244.0."]);
    ok("run job --image=any --restart=Never --command -- sh -c 'echo hello; exit 3'", "pod/job created");
    ok("wait --for=jsonpath={.status.phase}=Failed pod/job --timeout=10s", "condition met");
    ok("logs job", "hello");
    ok("get pod job -o jsonpath={.status.containerStatuses[0].state.terminated.exitCode}", "3");
    ok("describe pod probe", "Successfully assigned default/probe to node1");
    kubectl.shows("events --for pod/probe", &["Normal Started Pod/probe Container started"]);

    // Changes, each way.
    ok("label svc front tier=one", "labeled");
    ok("edit svc front", "service/front edited");
    ok("get svc front --show-labels", "tier=two");
    ok("annotate svc front note=here", "annotated");
    ok("patch svc front -p '{\"spec\":{\"ports\":[{\"port\":8080,\"name\":\"web\"}]}}'", "patched");
    ok("patch svc front --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/port\",\"value\":8081}]'", "patched");
    ok("patch svc front --type=merge -p '{\"metadata\":{\"labels\":{\"tier\":null}}}'", "patched");
    ok("get svc front --show-labels", "8081/TCP");
    let yaml = kubectl.run("get svc front -o yaml").replace("port: 8081", "port: 8082");
    assert_eq!(kubectl.with("replace -f -", &yaml).expect("replaced"), "service/front replaced\n");
    let applied = std::fs::read_to_string(example("01-clusterip.yaml")).expect("an example");
    kubectl.with("apply -f -", &applied).expect("applied");
    let differs = kubectl.with("diff -f -", &applied.replace("replicas: 2", "replicas: 3")).expect_err("a difference");
    assert!(differs.contains("-  replicas: 2\n+  replicas: 3\n"), "{differs}");
    assert_eq!(kubectl.with("diff -f -", &applied).expect("no difference"), "");

    // What the API says of itself and of us.
    ok("explain svc.spec.ports", "FIELD: ports <[]ServicePort>");
    ok("auth whoami", "Groups [system:masters system:authenticated]");
    ok("auth can-i create deployments", "yes");
    ok("api-resources", "deployments deploy apps/v1 true Deployment");
    ok("get pods -A --sort-by=.metadata.name --field-selector=status.phase=Running", "default probe 1/1 Running");
    // What comes later is refused at once, by name.
    let server_side = format!("apply --server-side -f {}", example("01-clusterip.yaml"));
    for (line, said) in [
        ("exec probe -- true", "exec of pods is not supported by this server yet"),
        ("attach probe", "attach of pods is not supported by this server yet"),
        ("cp /etc/hostname probe:/tmp/name", "exec of pods is not supported by this server yet"),
        ("port-forward pod/probe 1234:80", "portforward of pods is not supported by this server yet"),
        (server_side.as_str(), "server-side apply is not supported by this server yet"),
        ("debug probe --image=any", "ephemeral containers are disabled for this cluster"),
        ("top pods", "Metrics API not available"),
        ("create job once --image=any", "the server could not find the requested resource (post jobs.batch)"),
    ] {
        let refused = kubectl.refuses(line);
        assert!(refused.contains(said), "kubectl {line}: {refused}");
    }

    // Ends.
    ok("delete svc front probe", "deleted");
    ok("create namespace shop", "created");
    ok("-n shop create deployment web --image=rutter/echo", "created");
    ok("-n shop create configmap settings --from-literal=a=b", "created");
    ok("-n shop rollout status deploy/web --timeout=10s", "successfully rolled out");
    ok("delete namespace shop --timeout=20s", "deleted");
    assert!(kubectl.refuses("get namespace shop").contains("NotFound"));
    assert_eq!(kubectl.run("get all,cm,events -n shop -o name"), "");
    ok("delete deploy web nginx-server1 --cascade=foreground --timeout=20s", "deleted");
    ok("delete pod --all --timeout=20s", "deleted");
    until("every pod is gone", || machine.get("/api/v1/pods")["items"].as_array().filter(|pods| !pods.iter().any(is_ready)).map(drop));
}
