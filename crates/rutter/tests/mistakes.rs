//! What is wrong is named: the object and its field, the file, the flag. What is healthy goes on being served.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::cluster::ask::{self, Names};
use crate::cluster::objects::{ingress, service, slice, web};
use crate::cluster::{Cluster, Process, metric, rutter, until};

/// A cluster that serves `web` from pod 1, whatever else is in its objects.
struct Healthy(Cluster);

#[test]
fn a_file_that_does_not_parse_is_named_and_all_others_are_served() {
    let cluster = Healthy::new();
    cluster.objects.put("broken.yaml", "kind: Service\nmetadata: {name: [\n");
    let _agent = cluster.agent();
    cluster.serves();
    cluster.has_issues(expect![[r#"
        File OBJECTS/broken.yaml: document 1 (line 1): unclosed bracket '[' at line 2, column 18; what the file gave before stays (Undecodable)
    "#]]);

    // One that was good keeps what it gave.
    cluster.objects.put("web.json", "{\"kind\": \"List\", \"items\": [");
    cluster.objects.remove("broken.yaml");
    cluster.has_issues(expect![[r#"
        File OBJECTS/web.json: document 1 (line 1): EOF while parsing a list at line 1 column 27; what the file gave before stays (Undecodable)
    "#]]);
    cluster.serves();
    cluster.objects("web.json", web("10.96.0.80", &[1]));
    until("all is well", || cluster.admin("agent", "/issues").is_empty().then_some(()));
    cluster.serves();
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_all_others_are_served() {
    let cluster = Healthy::new();
    let secret = cluster.objects.put("secret.yaml", "kind: List\n");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    let agent = without(&cluster, "dac_override,-dac_read_search", &cluster.agent_flags());
    agent.is_ready();
    cluster.serves();
    cluster.has_issues(expect![[r#"
        File OBJECTS/secret.yaml: cannot be read: Permission denied (os error 13); what it gave before stays (Undecodable)
    "#]]);
}

#[test]
fn objects_with_nonsense_are_named_by_field_and_all_others_are_served() {
    let cluster = Healthy::new();
    let mut no_pods = slice("strange", &[]);
    no_pods["endpoints"] = json!([{"addresses": ["10.244.0.300"]}, {"addresses": ["fd00::1"]}, {"addresses": []}]);
    no_pods["ports"] = json!([{"name": "http", "protocol": "QUIC", "port": 80}, {"name": "more", "protocol": "TCP", "port": 70000}]);
    let port = |number: Value, protocol: &str, node_port: i64| json!({"name": protocol, "port": number, "protocol": protocol, "nodePort": node_port});
    cluster.objects(
        "nonsense.json",
        vec![
            service("strange", json!({"clusterIP": "10.96.0.999", "internalTrafficPolicy": "Sometimes", "sessionAffinity": "Cookie",
                "externalIPs": ["here"], "ports": [port(json!(0), "TCP", 0), port(json!(99999), "UDP", 0), port(json!(80), "HTTP", 70000)]})),
            no_pods,
            service("typed", json!({"clusterIP": "10.96.0.90", "ports": [{"port": "eighty"}]})),
            service("wrong-twin", json!({"clusterIP": "10.96.0.80"})),
            json!({"apiVersion": "v1", "kind": "Service", "spec": {}}),
            json!({"kind": "Nothing"}),
        ],
    );
    let _agent = cluster.agent();
    cluster.serves();
    cluster.has_issues(expect![[r#"
        Service default/strange: spec.clusterIPs[0]: `10.96.0.999` is no IP address (InvalidValue)
        Service default/strange: spec.externalIPs[0]: `here` is no IP address (InvalidValue)
        Service default/strange: spec.internalTrafficPolicy: `Sometimes` is neither Cluster nor Local; Cluster is used (InvalidValue)
        Service default/strange: spec.ports[0].port: 0 is no port from 1 to 65535 (InvalidValue)
        Service default/strange: spec.ports[1].port: 99999 is no port from 1 to 65535 (InvalidValue)
        Service default/strange: spec.ports[2].protocol: `HTTP` is none of TCP, UDP, SCTP (InvalidValue)
        Service default/strange: spec.sessionAffinity: `Cookie` is neither None nor ClientIP; None is used (InvalidValue)
        Service default/typed: spec.ports[0].port: invalid type: string "eighty", expected i32 (OBJECTS/nonsense.json, document 1, items[2]); as it was last readable, the object stays (Undecodable)
        Service default/wrong-twin: spec: 10.96.0.80:80 is that of Service default/web, whose name comes first (Conflict)
        EndpointSlice default/strange-1: endpoints[0].addresses[0]: `10.244.0.300` is no IP address (InvalidValue)
        EndpointSlice default/strange-1: endpoints[1].addresses[0]: fd00::1 is no IPv4 address; the endpoint is left out (WrongFamily)
        EndpointSlice default/strange-1: endpoints[2].addresses: has no address (InvalidValue)
        EndpointSlice default/strange-1: ports[0].protocol: `QUIC` is none of TCP, UDP, SCTP (InvalidValue)
        EndpointSlice default/strange-1: ports[1].port: 70000 is no port from 1 to 65535 (InvalidValue)
        File OBJECTS/nonsense.json: document 1, items[4], metadata.name: Service: required; what the file gave before stays (Undecodable)
        File OBJECTS/nonsense.json: document 1, items[5], apiVersion: Nothing: required; what the file gave before stays (Undecodable)
    "#]]);
    let page = cluster.node.run(|| ask::get("127.0.0.1:10254", "localhost", "/metrics")).expect("metrics").body;
    assert!(metric(&page, "rutter_issues") > 5.0, "{page}");
}

#[test]
fn ingresses_with_nonsense_are_named_by_field_and_all_others_are_served() {
    let cluster = Healthy::new();
    let with = |host: &str, change: &dyn Fn(&mut Value)| {
        let mut ingress = ingress(host, "web");
        change(&mut ingress);
        ingress
    };
    let regex = ("nginx.ingress.kubernetes.io/use-regex", "true");
    cluster.objects(
        "nonsense.json",
        vec![
            with("regex.test", &|it| {
                it["metadata"]["annotations"][regex.0] = json!(regex.1);
                it["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("/a(");
                it["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = json!("ImplementationSpecific");
            }),
            with("path.test", &|it| it["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("no-slash")),
            with("type.test", &|it| it["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = json!("Suffix")),
            with("bad_host..test", &|_| {}),
            with("nobody.test", &|it| it["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = json!("nobody")),
            with("port.test", &|it| it["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = json!({"number": 81})),
            with("option.test", &|it| it["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] = json!("much")),
            with("missing.test", &|it| it["spec"]["tls"] = json!([{"hosts": ["missing.test"], "secretName": "missing"}])),
            with("empty.test", &|it| it["spec"]["tls"] = json!([{"hosts": ["empty.test"], "secretName": "empty"}])),
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "empty", "namespace": "default"},
                "data": {"tls.crt": "bm90IGEgY2VydGlmaWNhdGU=", "tls.key": "bm90IGEga2V5"}}),
        ],
    );
    let _agent = cluster.agent();
    cluster.serves();
    cluster.has_issues(expect![[r#"
        Ingress default/bad_host..test: spec.rules[0].host: `bad_host..test` is no host name, with or without `*.` in front (InvalidValue)
        Ingress default/missing.test: spec.tls[0].secretName: there is no Secret "missing" in namespace "default"; the default certificate serves (NoSuchObject)
        Ingress default/nobody.test: spec.rules[0].http.paths[0].backend.service.name: there is no Service "nobody" in namespace "default": 503 (NoSuchObject)
        Ingress default/option.test: metadata.annotations[nginx.ingress.kubernetes.io/proxy-body-size]: `much` is no size such as 8m (InvalidValue)
        Ingress default/path.test: spec.rules[0].http.paths[0].path: `no-slash` does not start with `/` (InvalidValue)
        Ingress default/port.test: spec.rules[0].http.paths[0].backend.service.port: Service "web" has no TCP port 81: 503 (NoSuchPort)
        Ingress default/regex.test: spec.rules[0].http.paths[0]: cannot be compiled (unclosed group): the route is left out (InvalidValue)
        Ingress default/type.test: spec.rules[0].http.paths[0].pathType: `Suffix` is none of Exact, Prefix, ImplementationSpecific (InvalidValue)
        Secret default/empty: data[tls.crt]: tls.crt holds no PEM certificate: no CERTIFICATE section; the default certificate serves (InvalidValue)
    "#]]);
    // Without its certificate a host is served with the default one.
    let url = "https://missing.test/";
    let said = cluster.outside.output(&["curl", "-sSk", "--resolve", "missing.test:443:192.0.2.1", url]);
    assert!(said.contains("\"pod\":\"pod-1\""), "{said}");
}

#[test]
fn a_taken_port_ends_the_start_with_the_name_of_its_flag() {
    let cluster = Healthy::new();
    let refused = |wanted: Expect, flags: &[&str]| {
        let mut agent = cluster.start_agent(flags);
        let code = agent.exit_code();
        let name = std::fs::read_to_string("/proc/self/comm").expect("a name");
        let this = format!("process {} ({})", std::process::id(), name.trim());
        // Parts that stop may have the last word in the log.
        let said = agent.said();
        let last = said.lines().rfind(|line| line.starts_with("rutter: ")).unwrap_or_default().replace(&this, "process of the test");
        wanted.assert_eq(&format!("{last}\nexit {code:?}\n"));
    };
    let taken = |address: &str| cluster.node.run(|| TcpListener::bind(address)).expect("a free port");
    {
        let _taken = cluster.node.run(|| UdpSocket::bind("10.244.0.1:53")).expect("a free port");
        refused(
            expect![[r#"
            rutter: --dns-listen: cannot listen on udp 10.244.0.1:53: process of the test has it: Address already in use (os error 98)
            exit Ok(1)
        "#]],
            &[],
        );
    }
    for (address, wanted) in [
        (
            "10.244.0.1:53",
            expect![[r#"
            rutter: --dns-listen: cannot listen on tcp 10.244.0.1:53: process of the test has it: Address already in use (os error 98)
            exit Ok(1)
        "#]],
        ),
        (
            "0.0.0.0:80",
            expect![[r#"
            rutter: cannot listen on tcp 0.0.0.0:80: process of the test has it (--http-port): Address already in use (os error 98)
            exit Ok(1)
        "#]],
        ),
        (
            "0.0.0.0:443",
            expect![[r#"
            rutter: cannot listen on tcp 0.0.0.0:443: process of the test has it (--https-port): Address already in use (os error 98)
            exit Ok(1)
        "#]],
        ),
        (
            "0.0.0.0:10254",
            expect![[r#"
            rutter: --ingress-status: cannot listen on tcp 0.0.0.0:10254: process of the test has it: Address already in use (os error 98)
            exit Ok(1)
        "#]],
        ),
    ] {
        let _taken = taken(address);
        refused(wanted, &[]);
    }
    // As kube-proxy has it: these end it only where bindAddressHardFail says so.
    let hard = cluster
        .files
        .put("hard.yaml", "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nbindAddressHardFail: true\n");
    for (address, wanted) in [
        (
            "0.0.0.0:10256",
            expect![[r#"
        rutter: healthzBindAddress: cannot listen on tcp 0.0.0.0:10256: process of the test has it: Address already in use (os error 98)
        exit Ok(1)
    "#]],
        ),
        (
            "127.0.0.1:10249",
            expect![[r#"
        rutter: metricsBindAddress: cannot listen on tcp 127.0.0.1:10249: process of the test has it: Address already in use (os error 98)
        exit Ok(1)
    "#]],
        ),
    ] {
        let _taken = taken(address);
        refused(wanted, &["--config", &hard.to_string_lossy()]);
        let agent = cluster.agent();
        cluster.serves();
        assert!(agent.said().contains("goes on without this page"), "{}", agent.said());
    }
}

#[test]
fn without_cap_net_admin_the_proxy_says_so_and_names_and_urls_are_served() {
    let cluster = Healthy::new();
    let mut agent = without(&cluster, "net_admin", &cluster.agent_flags());
    assert_eq!(agent.exit_code(), Ok(1));
    expect![[r#"
        rutter: proxy mode nftables cannot run here: nf_tables needs CAP_NET_ADMIN: run as root, or in a container with securityContext.capabilities.add: [NET_ADMIN]
    "#]].assert_eq(&last_words(&agent.said()));

    let (objects, corefile) = (cluster.objects.text(), cluster.files.path("Corefile").to_string_lossy().into_owned());
    let args = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
    let dns = without(&cluster, "net_admin", &args(&format!("dns --objects {objects} --corefile {corefile} --listen 10.244.0.1:53")));
    let ingress = without(&cluster, "net_admin", &args(&format!("ingress --objects {objects}")));
    dns.is_ready();
    ingress.is_ready();
    let names = cluster.outside.run(|| ask::resolve("10.244.0.1:53", "web.default.svc.cluster.local")).expect("an answer");
    assert!(names.has("10.96.0.80"), "{names:?}");
    let answer = cluster.outside.run(|| ask::get("192.0.2.1:80", "web.test", "/")).expect("an answer");
    assert_eq!((answer.status, answer.echo("pod")), (200, "pod-1".to_string()));
}

#[test]
fn mistakes_in_flags_and_files_end_with_64_and_the_name_of_the_field() {
    let cluster = Healthy::new();
    let objects = cluster.objects.text();
    let file = |name: &str, text: &str| cluster.files.put(name, text).to_string_lossy().into_owned();
    let proxy = "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n";
    let unknown = file("unknown.yaml", &format!("{proxy}modus: nftables\niptables: {{masqueradeAl: true}}\n"));
    let values = file("values.yaml", &format!("{proxy}mode: magic\nmetricsBindAddress: here\nclusterCIDR: 10.0.0.0/99\n"));
    let corefile = file("Corefile.bad", ".:53 {\n    kubernetes cluster.local {\n        podz verified\n    }\n    frobnicate\n}\n");
    let refused = |arguments: &str, wanted: Expect| {
        let (code, said) = cluster.command(&arguments.split(' ').collect::<Vec<_>>());
        // What there is instead is a long list that grows.
        let first =
            |line: &str| line.split("; it has:").flat_map(|it| it.split("; this server has:")).next().map(|line| format!("{line}\n"));
        let said = last_words(&said).replace(&cluster.files.text(), "FILES").replace(&objects, "OBJECTS");
        let said: String = said.lines().filter_map(first).collect();
        wanted.assert_eq(&format!("{said}exit {code}\n"));
    };
    refused(
        &format!("agent --objects {objects} --colour red"),
        expect![[r#"
        error: unexpected argument '--colour' found

        Usage: rutter agent --objects <PATH>

        For more information, try '--help'.
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --kubeconfig /etc/none"),
        expect![[r#"
        error: the argument '--objects <PATH>' cannot be used with '--kubeconfig <PATH>'

        Usage: rutter proxy --objects <PATH>

        For more information, try '--help'.
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --proxy-mode magic"),
        expect![[r#"
        rutter: --proxy-mode: "magic" is not one of nftables, iptables, ipvs, userspace
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --proxy-mode ipvs"),
        expect![[r#"
        rutter: proxy mode ipvs is not available in this version; use nftables
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --conntrack-min many --oom-score-adj low --no-such 1"),
        expect![[r#"
        error: unexpected argument '--no-such' found

        Usage: rutter proxy --objects <PATH> --conntrack-min <N> --oom-score-adj <N>

        For more information, try '--help'.
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --conntrack-min many --oom-score-adj low"),
        expect![[r#"
        error: --conntrack-min: "many" is not a whole number
        --oom-score-adj: "low" is not a whole number
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --config {unknown}"),
        expect![[r#"
        rutter: --config FILES/unknown.yaml: iptables.masqueradeAl: unknown field
        modus: unknown field
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --config {values}"),
        expect![[r#"
        rutter: --config FILES/values.yaml: mode: "magic" is not one of nftables, iptables, ipvs, userspace
        clusterCIDR: "10.0.0.0/99" is not a CIDR
        metricsBindAddress: "here" is not ADDRESS:PORT
        exit 64
    "#]],
    );
    refused(
        &format!("dns --objects {objects} --corefile {corefile}"),
        expect![[r#"
        rutter: FILES/Corefile.bad:3: kubernetes has no option `podz`
        FILES/Corefile.bad:5: unknown directive `frobnicate`
        exit 64
    "#]],
    );
    refused(
        &format!("ingress --objects {objects} --default-ssl-certificate nothing"),
        expect![[r#"
        rutter: --default-ssl-certificate nothing: give NAMESPACE/NAME
        exit 64
    "#]],
    );
    refused(
        &format!("ingress --objects {objects} --http-port 99999"),
        expect![[r#"
        error: invalid value '99999' for '--http-port <PORT>': 99999 is not in 0..=65535

        For more information, try '--help'.
        exit 64
    "#]],
    );
    refused(
        "proxy",
        expect![[r#"
        rutter: no objects: give --objects PATH or --kubeconfig PATH, or run it in a pod
        exit 64
    "#]],
    );
    refused(
        &format!("trace --objects {objects} ftp://web"),
        expect![[r#"
        rutter: scheme `ftp` cannot be traced: tcp, udp, sctp, http or https
        exit 64
    "#]],
    );
    refused(
        "proxy --objects /nowhere",
        expect![[r#"
        rutter: --objects /nowhere: No such file or directory (os error 2)
        exit 64
    "#]],
    );
    refused(
        "proxy --kubeconfig /nowhere",
        expect![[r#"
        rutter: cannot use kubeconfig /nowhere: failed to read kubeconfig from '"/nowhere"': No such file or directory (os error 2)
        exit 64
    "#]],
    );
    refused(
        &format!("proxy --objects {objects} --config /nowhere"),
        expect![[r#"
        rutter: --config /nowhere: No such file or directory (os error 2)
        exit 64
    "#]],
    );
}

/// What a command says of itself, without what it logged before.
fn last_words(said: &str) -> String {
    let is_logged = |line: &str| [" INFO ", " WARN "].iter().any(|level| line.contains(level));
    said.lines().filter(|line| !is_logged(line)).map(|line| format!("{line}\n")).collect()
}

/// The binary without some capabilities: `net_admin,-dac_override`.
#[allow(clippy::disallowed_methods, reason = "the harness of tests: no packet waits for it")]
fn without(cluster: &Cluster, capabilities: &str, arguments: &[String]) -> Process {
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", &format!("-{capabilities}"), "--bounding-set", &format!("-{capabilities}")]);
    command.arg(rutter().get_program()).args(arguments);
    cluster.start_command(&cluster.node, command)
}

// === impl Healthy ===

impl std::ops::Deref for Healthy {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Healthy {
    fn new() -> Self {
        let cluster = Cluster::new(1);
        cluster.objects("web.json", web("10.96.0.80", &[1]));
        Self(cluster)
    }

    /// A packet, a name and a URL.
    fn serves(&self) {
        let pod = Ok("pod-1".to_string());
        assert_eq!(self.outside.run(|| ask::who("10.96.0.80:80")), pod);
        let names = self.outside.run(|| ask::resolve("10.96.0.10:53", "web.default.svc.cluster.local")).expect("an answer");
        assert_eq!(names, Names { code: 0, addresses: vec!["10.96.0.80".parse().expect("an address")], aliases: 0 });
        let answer = self.outside.run(|| ask::get("192.0.2.1:80", "web.test", "/")).expect("an answer");
        assert_eq!((answer.status, Ok(answer.echo("pod"))), (200, pod));
    }

    /// What `/issues` says, once it says something new.
    fn has_issues(&self, wanted: Expect) {
        let shown = || self.admin("agent", "/issues").replace(&self.objects.text(), "OBJECTS");
        let wanted_text = wanted.data().trim_start().lines().map(|line| format!("{}\n", line.trim_start())).collect::<String>();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while shown() != wanted_text && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        wanted.assert_eq(&shown());
    }
}
