//! Commands that look and end: `render`, `trace`, `cleanup`.

use expect_test::{Expect, expect, expect_file};
use kernel::netns::Netns;

use serde_json::json;

use crate::cluster::objects::{service, slice, web};
use crate::cluster::{Cluster, Folder, NODE, Process, project, rutter};

/// What a command says about `examples/objects`, in a namespace with the node's address.
fn on_example(arguments: &[&str]) -> (i32, String) {
    let net = Netns::new("e2e-look");
    net.ip("addr add 10.244.0.1/24 dev lo");
    run_in(&net, arguments)
}

fn run_in(net: &Netns, arguments: &[&str]) -> (i32, String) {
    let (objects, logs) = (project().join("examples/objects"), Folder::new());
    let mut command = rutter();
    command.args(arguments).arg("--objects").arg(objects).args(["--node-name", "example"]);
    let mut process = Process::start(net, command, &logs.path("log"));
    (process.exit_code().expect("an end of its own"), process.said())
}

fn traced(arguments: &[&str], want: Expect) {
    let (code, said) = on_example(&[&["trace"], arguments].concat());
    want.assert_eq(&format!("{said}exit {code}\n"));
}

#[test]
fn the_rules_of_the_examples_read_as_they_did() {
    let (code, said) = on_example(&["render"]);
    expect_file!["render.nft"].assert_eq(&said);
    assert_eq!(code, 0);
}

#[test]
fn what_is_rendered_is_what_an_agent_writes() {
    let cluster = Cluster::new(2);
    cluster.objects("web.json", web("10.96.0.80", &[1, 2]));
    let (code, rendered) = cluster.command(&["render", "--objects", &cluster.objects.text(), "--node-name", "node"]);
    assert_eq!(code, 0, "{rendered}");
    let _agent = cluster.agent();
    let listed = cluster.node.output(&["nft", "list", "table", "ip", "rutter"]);
    // nft has its own way of writing spaces, counters and marks; every rule is one of its lines all the same.
    let plain = |line: &str| line.replace(" packets 0 bytes 0", "").trim().to_string();
    let mut missing: Vec<_> = rendered.lines().filter_map(|line| line.strip_prefix("add rule ip rutter ")?.split_once(' ')).collect();
    let lines: Vec<_> = listed.lines().map(plain).collect();
    missing.retain(|(_, rule)| !lines.contains(&plain(rule)));
    assert!(missing.is_empty(), "{missing:#?}\nnot in\n{listed}");
}

#[test]
fn a_trace_names_what_the_kernel_holds_other_than_was_decided() {
    let cluster = Cluster::new(2);
    cluster.objects("web.json", web("10.96.0.80", &[1, 2]));
    let _agent = cluster.agent();
    let traced = |arguments: &[&str]| {
        let (code, said) = cluster.command(&[&["trace", "tcp://10.96.0.80:80", "--kernel"], arguments].concat());
        let lines = said.lines().filter(|line| line.starts_with("kernel: ") || line.starts_with("rutter: "));
        format!("{}exit {code}\n", lines.map(|line| format!("{line}\n")).collect::<String>())
    };
    assert_eq!(traced(&[]), "kernel: holds what was decided, and nothing else\nexit 0\n");
    for change in [
        "delete element ip rutter cluster-ips { 10.96.0.80 }",
        "add element ip rutter hairpin { 192.0.2.9 . 192.0.2.9 }",
        "delete element ip rutter backends { 10.96.0.80 . tcp . 80 . 0x00000001 }",
        "add element ip rutter backends { 10.96.0.80 . tcp . 80 . 0x00000001 : 192.0.2.9 . 80 }",
        "add rule ip rutter discard accept",
    ] {
        cluster.node.output(&["nft", change]);
    }
    let told = traced(&[]);
    expect![[r#"
        kernel: table ip rutter, chain discard: has other rules
        kernel: table ip rutter, set cluster-ips: 10.96.0.80 is missing
        kernel: table ip rutter, map backends: 10.96.0.80 . tcp . 80 . 0x00000001 : 192.0.2.9 . 80 should be 10.96.0.80 . tcp . 80 . 0x00000001 : 10.244.0.12 . 80
        kernel: table ip rutter, set hairpin: 192.0.2.9 . 192.0.2.9 should not be there
        rutter: the kernel holds other rules than were decided: 4 differences
        exit 1
    "#]].assert_eq(&told);
    // Who decides makes no difference.
    assert_eq!(traced(&["--objects", &cluster.objects.text(), "--node-name", "node"]), told);
}

#[test]
fn the_flags_of_kube_proxy_are_those_of_its_table_under_both_names() {
    let cluster = Cluster::new(0);
    let (code, own) = cluster.command(&["proxy", "--help"]);
    assert_eq!(code, 0, "{own}");
    let mut command = rutter();
    std::os::unix::process::CommandExt::arg0(&mut command, "kube-proxy").arg("--help");
    let mut process = cluster.start_command(&cluster.node, command);
    assert_eq!(process.exit_code(), Ok(0));
    let as_kube_proxy = process.said();
    for flag in proxy::dialect::flags() {
        let shown = |text: &str| {
            text.contains(&format!("--{} ", flag.name))
                || text.contains(&format!("--{}\n", flag.name))
                || text.contains(&format!("--{}[", flag.name))
        };
        assert_eq!(shown(&as_kube_proxy), !flag.is_retired(), "kube-proxy --{}", flag.name);
        // clap has its own way to the version, a command of its own.
        assert_eq!(shown(&own), !flag.is_retired() && flag.name != "version", "rutter proxy --{}: {own}", flag.name);
    }
    // A retired one is taken, and told.
    let (code, said) = cluster.command(&["proxy", "--logtostderr", "--cleanup"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("--logtostderr is retired and changes nothing"), "{said}");
}

#[test]
fn cleanup_leaves_no_table_and_no_one_elses_is_touched() {
    let cluster = Cluster::new(1);
    cluster.node.output(&["nft", "add table ip mine; add chain ip mine kept"]);
    let mut agent = cluster.agent();
    agent.signal_term();
    assert_eq!(agent.exit_code(), Ok(0));
    assert!(cluster.node.output(&["nft", "list", "tables"]).contains("table ip rutter"));
    cluster.node.output(&["nft", "add table ip kube-proxy"]);
    assert_eq!(cluster.command(&["cleanup", "--keep-kube-proxy"]), (0, String::new()));
    assert_eq!(cluster.node.output(&["nft", "list", "tables"]), "table ip mine\ntable ip kube-proxy\n");
    assert_eq!(cluster.command(&["cleanup"]).0, 0);
    assert_eq!(cluster.node.output(&["nft", "list", "tables"]), "table ip mine\n");
    assert_eq!(cluster.command(&["cleanup"]), (0, String::new()), "nothing to do is no mistake");
}

#[test]
fn a_packet_is_traced_to_its_pods() {
    traced(
        &["tcp://10.96.0.80:80"],
        expect![[r#"
        10.96.0.80:80 over TCP, from the node example
        the cluster IP of Service default/nginx-svc  [Service default/nginx-svc: spec.clusterIPs]
        port 80 is unnamed  [Service default/nginx-svc: spec.ports[0].port]
        policy Cluster: endpoints of every node  [Service default/nginx-svc: spec.internalTrafficPolicy]
        10.244.0.11:80: ready  [EndpointSlice default/nginx-svc-1: endpoints[0].conditions]
        10.244.0.12:80: ready  [EndpointSlice default/nginx-svc-1: endpoints[1].conditions]
        => to 10.244.0.11:80, 10.244.0.12:80, which sees the sender's address
        exit 0
    "#]],
    );
    traced(
        &["tcp://10.244.0.1:30001", "--from", "192.0.2.7"],
        expect![[r#"
        10.244.0.1:30001 over TCP, from 192.0.2.7, outside the cluster
        a node port of Service default/nginx-app  [Service default/nginx-app: spec.type]
        port 30001 is unnamed  [Service default/nginx-app: spec.ports[0].nodePort]
        policy Cluster: endpoints of every node  [Service default/nginx-app: spec.externalTrafficPolicy]
        10.244.0.13:80: ready  [EndpointSlice default/nginx-app-1: endpoints[0].conditions]
        masquerade: policy Cluster on an external address
        => to 10.244.0.13:80, which sees the node's address
        exit 0
    "#]],
    );
    traced(
        &["tcp://10.96.0.80:81"],
        expect![[r#"
        10.96.0.80:81 over TCP, from the node example
        the cluster IP of default/nginx-svc, which has no port 81/TCP, only 80/TCP  [Service default/nginx-svc: spec.ports]
        => rejected (ICMP port unreachable)
        exit 0
    "#]],
    );
    traced(
        &["tcp://nginx-svc.default.svc.cluster.local:80", "--from", "10.244.0.13"],
        expect![[r#"
        nginx-svc.default.svc.cluster.local is 10.96.0.80  [Service default/nginx-svc: spec.clusterIPs]
        10.96.0.80:80 over TCP, from 10.244.0.13, outside the cluster
        the cluster IP of Service default/nginx-svc  [Service default/nginx-svc: spec.clusterIPs]
        port 80 is unnamed  [Service default/nginx-svc: spec.ports[0].port]
        policy Cluster: endpoints of every node  [Service default/nginx-svc: spec.internalTrafficPolicy]
        10.244.0.11:80: ready  [EndpointSlice default/nginx-svc-1: endpoints[0].conditions]
        10.244.0.12:80: ready  [EndpointSlice default/nginx-svc-1: endpoints[1].conditions]
        => to 10.244.0.11:80, 10.244.0.12:80, which sees the sender's address
        exit 0
    "#]],
    );
}

#[test]
fn a_packet_is_traced_on_another_node_and_from_a_pod_by_its_name() {
    let cluster = Cluster::new(0);
    let mut slice = slice("web", &[1, 2]);
    slice["endpoints"][0]["targetRef"] = json!({"kind": "Pod", "namespace": "default", "name": "web-a"});
    slice["endpoints"][0]["nodeName"] = json!("other");
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.80", "externalTrafficPolicy": "Local",
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80, "nodePort": 30080}]});
    let other = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.77"}]}});
    cluster.objects("web.json", vec![service("web", spec), slice, other]);
    let outcome = |target: &str, arguments: &[&str]| {
        let (_, said) = cluster.command(&[&["trace", target, "--objects", &cluster.objects.text()], arguments].concat());
        said.lines().last().unwrap_or_default().to_string()
    };
    // A node port is on the addresses of the node that is asked about, and leads to its own endpoints.
    let outside = ["--from", "198.51.100.1"];
    assert_eq!(
        outcome("tcp://192.0.2.77:30080", &[&outside[..], &["--on", "other"]].concat()),
        "=> to 10.244.0.11:80, which sees the sender's address"
    );
    assert_eq!(
        outcome("tcp://192.0.2.77:30080", &[&outside[..], &["--on", "node"]].concat()),
        "=> not touched: goes where the routing table says"
    );
    assert_eq!(
        outcome(&format!("tcp://{NODE}:30080"), &[&outside[..], &["--on", "node"]].concat()),
        "=> to 10.244.0.12:80, which sees the sender's address"
    );
    let (_, said) =
        cluster.command(&["trace", "tcp://10.96.0.80:80", "--objects", &cluster.objects.text(), "--from", "web-a", "--on", "other"]);
    assert!(said.starts_with("Pod default/web-a has 10.244.0.11  [EndpointSlice default/web-1: endpoints[0].targetRef]\n"), "{said}");
    assert_eq!(
        outcome("tcp://10.96.0.80:80", &["--from", "shop/web-a", "--on", "other"]),
        "=> no packet is sent: Pod shop/web-a has no IPv4 address that is known here"
    );
    let (code, said) = cluster.command(&["trace", "tcp://10.96.0.80:80", "--on", "other"]);
    assert_eq!((code, said.trim()), (64, "rutter: --on needs --objects or --kubeconfig: a running process decides for its own node alone"));
}

#[test]
fn a_name_is_traced_to_its_answer() {
    traced(
        &["nginx-svc.default.svc.cluster.local"],
        expect![[r#"
        nginx-svc.default.svc.cluster.local. A: server block .:53 (line 1)
        Service default/nginx-svc has 10.96.0.80  [Service default/nginx-svc: spec.clusterIPs]
        nginx-svc.default.svc.cluster.local. 30 A 10.96.0.80
        => NOERROR with 1 record(s)
        exit 0
    "#]],
    );
    traced(
        &["headless-service.default.svc.cluster.local"],
        expect![[r#"
        headless-service.default.svc.cluster.local. A: server block .:53 (line 1)
        Service default/headless-service is headless: 2 ready endpoint(s) have its name  [Service default/headless-service: spec.clusterIP]
        headless-service.default.svc.cluster.local. 30 A 10.244.0.11
        headless-service.default.svc.cluster.local. 30 A 10.244.0.12
        => NOERROR with 2 record(s)
        exit 0
    "#]],
    );
    traced(
        &["my-externalname.default.svc.cluster.local"],
        expect![[r#"
        my-externalname.default.svc.cluster.local. A: server block .:53 (line 1)
        Service default/my-externalname is an alias of www.example.com  [Service default/my-externalname: spec.externalName]
        an alias: on with www.example.com.
        www.example.com. A: server block .:53 (line 1)
        cache: an answer that is kept ends the way here
        my-externalname.default.svc.cluster.local. 30 CNAME www.example.com.
        => forwarded to the servers of /etc/resolv.conf
        exit 0
    "#]],
    );
    traced(
        &["nobody.default.svc.cluster.local"],
        expect![[r#"
        nobody.default.svc.cluster.local. A: server block .:53 (line 1)
        kubernetes: there is no Service default/nobody  [Namespace default: metadata.name]
        => NXDOMAIN
        exit 0
    "#]],
    );
}

#[test]
fn a_url_is_traced_to_its_pods() {
    traced(
        &["http://k8s.fooleryang.cn/api"],
        expect![[r#"
        http://k8s.fooleryang.cn:80/api
        host k8s.fooleryang.cn, by its own rules
        path by the regular expression /api  [Ingress default/test-nginx-ingress: spec.rules[0].http.paths[0]]
        rewritten to / (rewrite-target)
        2 ready endpoint(s)  [Service default/nginx-svc: EndpointSlices]
        => forwarded to Service default/nginx-svc port 80 to 10.244.0.11:80, 10.244.0.12:80
        exit 0
    "#]],
    );
    traced(
        &["http://k8s.fooleryang.cn/other"],
        expect![[r#"
        http://k8s.fooleryang.cn:80/other
        host k8s.fooleryang.cn, by its own rules
        none of its 1 path(s) fits /other
        => 404
        exit 0
    "#]],
    );
}

#[test]
fn a_trace_asks_the_running_process_and_answers_as_the_packet_fares() {
    let cluster = Cluster::new(2);
    cluster.objects("web.json", web("10.96.0.80", &[2]));
    let agent = cluster.agent();
    let (code, said) = cluster.command(&["trace", "tcp://10.96.0.80:80", "-o", "json"]);
    let trace: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(code, 0);
    assert!(trace["outcome"].as_str().is_some_and(|outcome| outcome.contains("10.244.0.12:80")), "{said}");
    drop(agent);
    let (code, said) = cluster.command(&["trace", "tcp://10.96.0.80:80"]);
    assert_eq!(
        (code, said.trim()),
        (64, "rutter: no rutter that decides about packets runs in this network namespace: give --objects or --kubeconfig")
    );
}
