//! What the service proxy finds wrong with an object is an Event of it, as `kubectl describe` shows it.

use serde_json::json;

use crate::cluster::objects::service;
use crate::cluster::{Cluster, until};
use crate::up::{kubectl, run};

#[test]
fn what_the_proxy_finds_wrong_is_an_event_of_the_service() {
    let Some(kubectl) = kubectl("what_the_proxy_finds_wrong_is_an_event_of_the_service") else { return };
    let cluster = Cluster::new(0);
    let kubeconfig = cluster.files.path("kubeconfig").to_string_lossy().into_owned();
    let data = cluster.files.path("api").to_string_lossy().into_owned();
    cluster.node.ip("link set lo up");
    let api = ["apiserver", "--data-dir", &data, "--kubeconfig-out", &kubeconfig, "--api-listen", "127.0.0.1:6443"];
    let api = cluster.start(&cluster.node, &api);
    api.is_ready();
    let home = cluster.files.text();
    let kubectl = |line: &str, stdin: &str| {
        let program = kubectl.display().to_string();
        let all: Vec<&str> = [&*program, "--kubeconfig", &kubeconfig].into_iter().chain(line.split(' ')).collect();
        cluster.node.run(|| run(&all, Some(stdin), &[("HOME", &home)])).unwrap_or_else(|said| panic!("kubectl {line}: {said}"))
    };
    let mut odd = service("odd", json!({"externalIPs": ["192.0.2.50"]}));
    odd["metadata"]["annotations"] = json!({"rutter.dev/balance": "by-the-moon"});
    // The same address and port as that of `odd`, which is first by name.
    let twin = service("twin", json!({"externalIPs": ["192.0.2.50"]}));
    for object in [odd, twin] {
        kubectl("create -f -", &object.to_string());
    }
    let proxy = cluster.start(&cluster.node, &["proxy", "--kubeconfig", &kubeconfig, "--hostname-override", "node"]);
    proxy.is_ready();
    let described = |name: &str, wanted: &str| {
        until(wanted, || kubectl(&format!("describe service {name}"), "").contains(wanted).then_some(()));
    };
    described("odd", "\"by-the-moon\" is not one of random, round-robin, source-hash: endpoints are chosen at random");
    described("twin", "spec: 192.0.2.50:80 is that of Service default/odd, whose name comes first");
    // The same words on the process itself.
    let issues = cluster.admin("proxy", "/issues");
    assert!(issues.contains("Service default/twin: spec: 192.0.2.50:80 is that of Service default/odd"), "{issues}");
    // What is mended is no issue any more, and the Service that comes next has the address.
    kubectl("delete service odd", "");
    until("all is well", || cluster.admin("proxy", "/issues").is_empty().then_some(()));
}
