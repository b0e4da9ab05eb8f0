//! The DNS server through the binary, and what changes around it while it runs: its Corefile, its API, the disk of its log.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::json;

use crate::cluster::{Cluster, NODE, Process, ask, metric, rutter, until};
use crate::up::Machine;

const SERVER: &str = "127.0.0.1:53";
const API: &str = "kubernetes.default.svc.cluster.local";
const THERE: &str = "10-244-0-7.default.pod.cluster.local";
const GONE: &str = "10-244-0-9.default.pod.cluster.local";

fn binary() -> String {
    rutter().get_program().to_string_lossy().into_owned()
}

/// The return code and the first address.
fn asked(machine: &Machine, name: &str) -> (u8, String) {
    let answer = machine.node.run(|| ask::resolve(SERVER, name));
    answer.map_or((u8::MAX, String::new()), |answer| (answer.code, answer.addresses.first().map(ToString::to_string).unwrap_or_default()))
}

fn until_answered(machine: &Machine, name: &str, code: u8, address: &str) {
    until(&format!("{name} is {code} {address}"), || (asked(machine, name) == (code, address.to_owned())).then_some(()));
}

/// Called as `coredns`, with `plugins` in its Corefile.
fn coredns(machine: &Machine, plugins: &str) -> Process {
    put(machine, plugins);
    let mut command = rutter();
    command.arg0("coredns").arg("-conf").arg(machine.files.path("Corefile"));
    let process = machine.process(command, "coredns");
    process.is_ready();
    process
}

fn put(machine: &Machine, plugins: &str) {
    machine.files.put("Corefile", &format!(".:53 {{\n bind 127.0.0.1\n prometheus 127.0.0.1:9153\n {plugins}\n}}\n"));
}

fn kubernetes(machine: &Machine, options: &str) -> String {
    format!("kubernetes cluster.local {{\n kubeconfig {}\n {options}\n }}", machine.kubeconfig().display())
}

#[test]
fn what_is_watched_follows_from_the_corefile_and_an_api_that_is_away_is_not_missed() {
    let machine = Machine::new();
    machine.start_apiserver(&[]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tool"},
        "spec": {"containers": [{"name": "x", "image": "x", "command": ["x"]}]}});
    machine.create("/api/v1/namespaces/default/pods", &pod);
    let status = json!({"status": {"phase": "Running", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}});
    machine.patch("/api/v1/namespaces/default/pods/tool/status", &status);

    let mut server = coredns(&machine, "hosts /nowhere {\n 192.0.2.1 who.test\n }");
    until_answered(&machine, "who.test", 0, "192.0.2.1");
    let change = |plugins: &str| {
        put(&machine, plugins);
        server.signal_hup();
    };
    change(&kubernetes(&machine, "pods insecure"));
    until_answered(&machine, API, 0, "10.96.0.1");
    until_answered(&machine, GONE, 0, "10.244.0.9");
    let metrics = || machine.node.run(|| ask::get("127.0.0.1:9153", "localhost", "/metrics")).expect("metrics").body;
    // What the API is asked has CoreDNS's name here, and client-go's as in every command.
    for name in ["coredns_kubernetes_rest_client_requests_total", "rest_client_requests_total", "rutter_objects"] {
        assert!(metric(&metrics(), name) > 0.0, "{name}: {}", metrics());
    }
    let trace = |name: &str| machine.node.output(&[&binary(), "trace", name]);
    assert!(trace(API).contains("10.96.0.1"), "{}", trace(API));

    change(&kubernetes(&machine, "pods verified"));
    until_answered(&machine, GONE, 3, "");
    until_answered(&machine, THERE, 0, "10.244.0.7");
    assert!(trace(GONE).contains("pods are verified"), "the Corefile that is in force: {}", trace(GONE));

    // A kind that this API does not have is no obstacle.
    change(&kubernetes(&machine, "pods insecure\n multicluster mesh.local").replace("cluster.local", "cluster.local mesh.local"));
    until_answered(&machine, GONE, 0, "10.244.0.9");
    let said = |text: &str| server.said().contains(text);
    until("pods are given up", || said("no longer asked for kind=\"pods\"").then_some(()));

    // A file that is broken, and one that leads elsewhere, are refused, and the last one goes on.
    change("kubernetes cluster.local {\n podz verified\n }");
    until("the mistake is named", || said("kubernetes has no option `podz`").then_some(()));
    let elsewhere = machine.files.put("elsewhere", &std::fs::read_to_string(machine.kubeconfig()).expect("a kubeconfig"));
    change(&format!("kubernetes cluster.local {{\n kubeconfig {}\n }}", elsewhere.display()));
    until("another API is refused", || said("names another API than the one that is followed").then_some(()));
    until_answered(&machine, API, 0, "10.96.0.1");

    machine.kill_9();
    until("the API is missed", || said("the API server does not answer, trying again").then_some(()));
    until_answered(&machine, API, 0, "10.96.0.1");
    until_answered(&machine, "nobody.default.svc.cluster.local", 3, "");
    // What needs what is not to be had is tried again once it is.
    change(&kubernetes(&machine, "pods verified\n startup_timeout 100ms"));
    until("it is late", || said("is not known after 100ms (startup_timeout)").then_some(()));
    until_answered(&machine, GONE, 0, "10.244.0.9");
    machine.start_apiserver(&[]);
    until("pods are there", || {
        server.signal_hup();
        (asked(&machine, GONE).0 == 3).then_some(())
    });
    until_answered(&machine, THERE, 0, "10.244.0.7");
    server.signal_term();
    assert_eq!(server.exit_code(), Ok(0));
}

#[test]
fn a_full_disk_costs_lines_of_the_log_and_no_answer() {
    let cluster = Cluster::new(0);
    let text = format!(".:53 {{\n bind {NODE}\n log\n prometheus 127.0.0.1:9153\n kubernetes cluster.local\n}}\n");
    let corefile = cluster.files.put("Corefile.log", &text);
    let (binary, objects) = (binary(), cluster.objects.text());
    let line = format!("exec {binary} dns --objects {objects} --corefile {} >/dev/full 2>/dev/full", corefile.display());
    let server = format!("{NODE}:53");
    let asked = || cluster.node.run(|| ask::resolve(&server, "kube-dns.kube-system.svc.cluster.local"));
    #[allow(clippy::disallowed_methods, reason = "it gives the process such an output")]
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]);
    let mut process = cluster.start_command(&cluster.node, shell);
    until("it answers", || asked().ok().filter(|answer| answer.has("10.96.0.10")));
    let metrics = || cluster.node.run(|| ask::get("127.0.0.1:9153", "localhost", "/metrics")).expect("metrics").body;
    let lost = || metric(&metrics(), "rutter_dns_log_dropped_total");
    until("lines are counted as lost", || (lost() > 0.0).then_some(()));
    assert!(asked().expect("an answer").has("10.96.0.10"));
    process.signal_term();
    assert_eq!(process.exit_code(), Ok(0));
}
