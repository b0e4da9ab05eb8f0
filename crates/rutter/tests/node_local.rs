//! DNS that a node answers itself, as its pods meet it: `rutter dns --node-local`, and called as `node-cache`.

use std::os::unix::process::CommandExt as _;

use kernel::netns::Netns;

use crate::cluster::ask::{self, Names};
use crate::cluster::{Cluster, Folder, NODE, Process, rutter, until};

const SERVICE: &str = "10.96.0.10:53";
const LINK_LOCAL: &str = "169.254.20.10";

/// A server whose answer to `who.test` says which one it is.
fn corefile(cluster: &Cluster, name: &str, address: &str) -> String {
    let text = format!(".:53 {{\n kubernetes cluster.local\n hosts /nowhere {{\n  {address} who.test\n  fallthrough\n }}\n}}\n");
    cluster.files.put(name, &text).to_string_lossy().into_owned()
}

/// The one that Service kube-dns leads to, and the proxy that leads there.
fn others(cluster: &Cluster) -> [Process; 2] {
    let objects = cluster.objects.text();
    let corefile = corefile(cluster, "Corefile.others", "192.0.2.11");
    let proxy = cluster.start(&cluster.node, &["proxy", "--objects", &objects, "--node-name", "node", "--cluster-cidr", "10.244.0.0/24"]);
    let others = cluster.start(&cluster.node, &["dns", "--objects", &objects, "--corefile", &corefile, "--listen", &format!("{NODE}:53")]);
    [proxy, others].map(|process| {
        process.is_ready();
        process
    })
}

fn start_local(cluster: &Cluster) -> Process {
    let corefile = corefile(cluster, "Corefile.local", "192.0.2.22");
    cluster.start(&cluster.node, &["dns", "--objects", &cluster.objects.text(), "--corefile", &corefile, "--node-local"])
}

/// Waits until the Service answers what `address` says, from the node and from elsewhere.
fn until_answered_by(cluster: &Cluster, address: &str) {
    for from in [&cluster.outside, &cluster.node] {
        until(&format!("{address} answers"), || {
            let answer = from.run(|| ask::resolve(SERVICE, "who.test")).ok()?;
            answer.has(address).then_some(())
        });
    }
}

fn until_exempted(cluster: &Cluster) {
    let exempted = || cluster.node.output(&["sh", "-c", "nft list set ip rutter-node-local exempted 2>/dev/null; true"]);
    until("it answers untracked", || exempted().contains("10.96.0.10 . udp . 53").then_some(()));
}

/// Connections to or from port 53 that the node keeps track of.
fn tracked(node: &Netns) -> Vec<String> {
    let listed = node.output(&["sh", "-c", "conntrack -L 2>/dev/null"]);
    listed.lines().filter(|line| line.contains("dport=53 ") && line.contains("dst=10.96.0.10")).map(str::to_owned).collect()
}

/// What is left on the node of what is answered there.
fn left(node: &Netns) -> String {
    let listed = node.output(&["sh", "-c", "ip -br addr; nft list tables"]);
    listed.lines().filter(|line| line.contains("10.96.0.10") || line.contains(LINK_LOCAL) || line.contains("node-local")).collect()
}

#[test]
fn a_node_answers_itself_and_others_do_when_it_stops() {
    let cluster = Cluster::new(0);
    let _others = others(&cluster);
    until_answered_by(&cluster, "192.0.2.11");
    let mut local = start_local(&cluster);
    until_answered_by(&cluster, "192.0.2.22");
    cluster.node.output(&["sh", "-c", "conntrack -F 2>/dev/null"]);
    until_answered_by(&cluster, "192.0.2.22");
    cluster.outside.run(|| ask::connect(SERVICE)).expect("by TCP, of which the Service has no port");
    assert_eq!(tracked(&cluster.node), [""; 0]);
    local.signal_term();
    assert_eq!(local.exit_code(), Ok(0));
    assert_eq!(left(&cluster.node), "");
    until_answered_by(&cluster, "192.0.2.11");
}

#[test]
fn an_agent_answers_what_its_own_proxy_would_redirect() {
    let cluster = Cluster::new(0);
    let mut agent = cluster.start_agent(&["--node-local"]);
    agent.is_ready();
    until_exempted(&cluster);
    cluster.node.output(&["sh", "-c", "conntrack -F 2>/dev/null"]);
    for from in [&cluster.outside, &cluster.node] {
        let answer = from.run(|| ask::resolve(SERVICE, "kube-dns.kube-system.svc.cluster.local")).expect("an answer");
        assert!(answer.has("10.96.0.10"), "{answer:?}");
    }
    assert_eq!(tracked(&cluster.node), [""; 0]);
    agent.signal_term();
    assert_eq!(agent.exit_code(), Ok(0));
    assert_eq!(left(&cluster.node), "");
    assert!(cluster.node.output(&["nft", "list", "tables"]).contains("table ip rutter\n"), "the proxy's rules stay");
}

#[test]
fn one_that_was_killed_is_followed_by_the_next_and_cleaned_up_after() {
    let cluster = Cluster::new(0);
    let mut local = start_local(&cluster);
    until_answered_by(&cluster, "192.0.2.22");
    local.kill_9();
    assert!(left(&cluster.node).contains("10.96.0.10"));
    let mut local = start_local(&cluster);
    until_answered_by(&cluster, "192.0.2.22");
    local.kill_9();
    assert_eq!(cluster.command(&["cleanup"]), (0, String::new()));
    assert_eq!(left(&cluster.node), "");
}

#[test]
fn a_service_that_moves_ends_the_process_to_be_started_again() {
    let cluster = Cluster::new(0);
    let mut local = start_local(&cluster);
    until_answered_by(&cluster, "192.0.2.22");
    let objects = std::fs::read_to_string(cluster.objects.path("cluster.json")).expect("the objects");
    cluster.objects.put("cluster.json", &objects.replace("10.96.0.10", "10.96.0.11"));
    assert_eq!(local.exit_code(), Ok(1));
    assert!(local.said().contains("kube-system/kube-dns has other addresses now"), "{}", local.said());
    assert_eq!(left(&cluster.node), "");
}

/// Upstream's nodelocaldns.yaml, after the `sed` that its documentation asks for.
const TEMPLATE: &str = include_str!("node_local/Corefile.base");

fn node_cache(cluster: &Cluster, files: &Folder, flags: &[&str]) -> Process {
    let base = files.put("Corefile.base", TEMPLATE);
    let mut command = rutter();
    command.arg0("node-cache").args(["-localip", "169.254.20.10,10.96.0.10", "-upstreamsvc", "kube-dns-upstream"]);
    command.arg("-conf").arg(files.path("Corefile")).arg("-basecorefile").arg(base).args(flags);
    command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", NODE);
    cluster.start_command(&cluster.node, command)
}

#[test]
fn called_as_node_cache_it_does_what_the_manifest_asks_for() {
    let cluster = Cluster::new(0);
    let files = Folder::new();
    let _others = others(&cluster);
    let pid_file = files.path("pid").to_string_lossy().into_owned();
    let mut cache = node_cache(&cluster, &files, &["-pidfile", &pid_file, "-kubednscm", &files.text()]);
    cache.is_ready();
    until_exempted(&cluster);
    cluster.node.output(&["sh", "-c", "conntrack -F 2>/dev/null"]);
    let name = "kube-dns.kube-system.svc.cluster.local";
    for (from, server) in [(&cluster.outside, SERVICE), (&cluster.node, SERVICE), (&cluster.node, "169.254.20.10:53")] {
        let answer = from.run(|| ask::resolve(server, name)).expect("an answer");
        assert_eq!(answer, Names { code: 0, addresses: vec!["10.96.0.10".parse().expect("an address")], aliases: 0 });
    }
    assert_eq!(tracked(&cluster.node), [""; 0]);
    let page = |at: &str, path: &str| cluster.node.run(|| ask::get(at, "localhost", path)).expect("a page");
    assert_eq!(page("169.254.20.10:8080", "/health").status, 200);
    assert!(page("127.0.0.1:9253", "/metrics").body.contains("coredns_cache_hits_total"));
    assert!(page("127.0.0.1:9353", "/metrics").body.contains("coredns_nodecache_setup_errors_total{errortype=\"iptables\"} 0"));
    assert!(std::fs::metadata(&pid_file).is_ok());
    cache.signal_term();
    assert_eq!(cache.exit_code(), Ok(0));
    assert_eq!(left(&cluster.node), "");
    assert!(std::fs::metadata(&pid_file).is_err());
    let answer = cluster.outside.run(|| ask::resolve(SERVICE, name)).expect("the Service's other endpoint answers");
    assert_eq!(answer.code, 0);
}

#[test]
fn what_node_cache_cannot_do_is_told_before_anything_is_touched() {
    let cluster = Cluster::new(0);
    let files = Folder::new();
    for (flags, told) in [
        (["-upstreamsvc", "nobody"], "no address in NOBODY_SERVICE_HOST"),
        (["-basecorefile", "/nowhere"], "-basecorefile /nowhere: No such file"),
        (["-health-port", "http"], "-health-port http: no port from 0 to 65535"),
    ] {
        let mut cache = node_cache(&cluster, &files, &flags);
        assert_eq!(cache.exit_code(), Ok(64), "{}", cache.said());
        assert!(cache.said().contains(told), "{}", cache.said());
        assert_eq!(left(&cluster.node), "");
    }
}

#[test]
fn a_corefile_without_kubernetes_needs_no_api() {
    let net = Netns::new("e2e-dns-alone");
    let files = Folder::new();
    let corefile = files.put("Corefile", ".:53 {\n bind 127.0.0.1\n hosts /nowhere {\n  192.0.2.1 who.test\n }\n}\n");
    let mut command = rutter();
    command.arg0("coredns").arg("-conf").arg(corefile);
    let mut process = Process::start(&net, command, &files.path("log"));
    process.is_ready();
    assert!(net.run(|| ask::resolve("127.0.0.1:53", "who.test")).expect("an answer").has("192.0.2.1"));
    // One that has names of the cluster needs an API, and says what it lacks.
    let kubernetes = |options: &str| format!(".:53 {{\n bind 127.0.0.1\n kubernetes cluster.local {{\n{options}\n }}\n}}\n");
    files.put("Corefile", &kubernetes(""));
    process.signal_hup();
    until("the refusal", || process.said().contains("cannot be had: no objects: give --objects PATH").then_some(()));
    files.put("Corefile", &kubernetes(&format!("kubeconfig {}", files.path("none").display())));
    process.signal_hup();
    until("the second refusal", || process.said().contains(&*files.path("none").to_string_lossy()).then_some(()));
    assert!(net.run(|| ask::resolve("127.0.0.1:53", "who.test")).expect("an answer").has("192.0.2.1"), "the last one goes on");
    process.signal_term();
    assert_eq!(process.exit_code(), Ok(0));
}
