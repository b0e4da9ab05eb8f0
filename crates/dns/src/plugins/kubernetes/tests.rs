//! Names in, records out: objects as short lines, questions as `name TYPE`, answers as a zone file writes them.

use std::collections::HashSet;

use expect_test::{Expect, expect};
use model::facts::{
    Endpoint, EndpointNames, Labels, Namespace, Pod, PodName, ServiceImport, ServicePort, Slice, SlicePort, TargetPort, Topology,
};
use model::name::{NamedImport, NamedKind, NamedService};
use model::{Family, NameView, Protocol, Revision, ServiceName};

use super::*;
use crate::config::Corefile;
use crate::plugins::Spec;
use crate::server::build::routes_to_look_at;
use crate::wire::message::Question;
use crate::wire::{MIN_UDP, rcode_name};

/// A small cluster of one of everything.
pub(crate) const CLUSTER: &str = "
ns default
svc default/web 10.96.0.1 http:80/tcp metrics:9090/tcp
  ep 10.1.0.1 http:8080/tcp
svc default/dual 10.96.0.2,fd00::2 dns:53/udp
svc default/plain 10.96.0.3 :80/tcp
headless default/db
  ep 10.1.0.2 pg:5432/tcp host=db-0 zone=a
  ep 10.1.0.3 pg:5432/tcp host=db-1 zone=b
  ep fd00:1::3 pg:5432/tcp host=db-1 zone=b
headless default/bare
  ep 10.1.0.9
headless default/gone
external default/search www.example.com
external default/local web.default.svc.cluster.local
external default/self self.default.svc.cluster.local
external default/address 192.0.2.1
ns dev team=b
svc dev/web 10.96.0.8 http:80/tcp
pod dev/tool 10.2.0.1
";

/// Asks each of `questions` and compares the answers. `options` is the inside of the `kubernetes` block.
fn check(options: &str, questions: &[&str], expect: Expect) {
    let corefile = format!(".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n {options}\n }}\n }}");
    let answers: String = questions.iter().map(|question| format!("; {question}\n{}", ask(&corefile, CLUSTER, question))).collect();
    expect.assert_eq(&answers);
}

fn ask(corefile: &str, objects: &str, question: &str) -> String {
    let answer = answer(corefile, objects, question);
    let mut text = rcode_name(answer.rcode).to_owned();
    for (section, records) in [("", &answer.answers), ("authority ", &answer.authorities), ("additional ", &answer.additionals)] {
        for record in records {
            // The serial is the time.
            let line = format!("\n  {section}{record}");
            text += &match record.serial() {
                Some(serial) => line.replace(&format!(" {serial} "), " SERIAL "),
                None => line,
            };
        }
    }
    text + "\n"
}

fn answer(corefile: &str, objects: &str, question: &str) -> Message {
    let routes = filled_routes(&Corefile::parse(corefile).expect("a Corefile"), objects);
    let request = request(question);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Next::start(&routes).whole(&request))
}

/// What a Corefile serves once `objects` are known.
pub(crate) fn filled_routes(corefile: &Corefile, objects: &str) -> Vec<crate::server::Route> {
    routes_of(corefile, objects, false)
}

/// The same; `own_pods`: of a server that only the pods of its node ask.
pub(crate) fn routes_of(corefile: &Corefile, objects: &str, own_pods: bool) -> Vec<crate::server::Route> {
    let (routes, followed) = routes_to_look_at(corefile, ["10.1.0.1".parse().expect("address")].into(), own_pods, None);
    for followed in followed {
        let mut snapshot = Snapshot::unsynced();
        let view = Arc::new(names(objects));
        let changes = snapshot.changes(&view);
        snapshot.patch(&view, &changes, &HashSet::new(), &followed.options);
        followed.current.store(Arc::new(snapshot));
    }
    routes
}

fn request(question: &str) -> Request {
    let (name, kind) = question.split_once(' ').expect("name and type");
    let qtype = crate::wire::type_named(kind).expect("a type");
    let question = Question { name: Name::parse(name).expect("a name"), qtype, qclass: crate::wire::CLASS_IN };
    Request { flags: flag::RD, ..Request::of(question, "10.2.0.1:4000".parse().expect("address")) }
}

/// Reads the lines of [`CLUSTER`]'s form.
pub(crate) fn names(objects: &str) -> NameView {
    let (mut view, revision) = (NameView { revision: Revision(1), ..NameView::default() }, Revision(1));
    let mut services: Vec<(ServiceName, NamedService)> = Vec::new();
    let mut imports: Vec<(ServiceName, Vec<Arc<Slice>>)> = Vec::new();
    for line in objects.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = || words[1].split_once('/').map(|(namespace, name)| ServiceName::new(namespace, name)).expect("ns/name");
        let labels: Arc<Labels> =
            Arc::new(words.iter().filter_map(|word| word.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect());
        let service = |kind, ports| NamedService {
            kind,
            ports,
            slices: Box::default(),
            external_ips: Vec::new(),
            load_balancer: Vec::new(),
            labels: labels.clone(),
            triggered_at_ms: None,
        };
        match words[0] {
            "ns" => view.namespaces.insert(revision, words[1].into(), Arc::new(Namespace { labels })),
            "svc" => {
                let ips = words[2].split(',').map(|ip| ip.parse().expect("address")).collect();
                let ports = words[3..].iter().filter_map(|word| port(word)).map(|(name, port, protocol)| ServicePort {
                    at: 0,
                    name: name.into(),
                    protocol,
                    port,
                    node_port: None,
                    app_protocol: None,
                    target_port: TargetPort::Number(port),
                });
                services.push((name(), service(NamedKind::ClusterIp(ips), ports.collect())));
            }
            "headless" => services.push((name(), service(NamedKind::Headless, Vec::new()))),
            "external" => services.push((name(), service(NamedKind::ExternalName(words[2].into()), Vec::new()))),
            "ep" => {
                let (name, service) = services.last_mut().expect("a service before its endpoints");
                let slice = Arc::new(slice(name, &words[1..]));
                service.slices = service.slices.iter().cloned().chain([slice]).collect();
            }
            "import" => imports.push((name(), Vec::new())),
            // Of another cluster, which comes first.
            "far" => {
                let (name, slices) = imports.last_mut().expect("an import before its endpoints");
                let own = labels.iter().map(|(key, value)| (key.clone(), value.clone()));
                let cluster = ("multicluster.kubernetes.io/source-cluster".into(), words[1].into());
                slices.push(Arc::new(Slice { labels: Arc::new(own.chain([cluster]).collect()), ..slice(name, &words[2..]) }));
            }
            "pod" => {
                let name = name();
                let host_network = words.contains(&"host");
                let pod = Pod { ips: vec![words[2].parse().expect("address")], host_network, labels };
                view.pods.insert(revision, PodName { namespace: name.namespace, name: name.name }, Arc::new(pod));
            }
            other => panic!("what is `{other}`?"),
        }
    }
    for (name, service) in services {
        view.services.insert(revision, name, Arc::new(service));
    }
    for (name, slices) in imports {
        let import = Arc::new(ServiceImport { headless: true, ips: Vec::new(), ports: Vec::new() });
        view.imports.insert(revision, name, Arc::new(NamedImport { import, slices: slices.into() }));
    }
    view
}

/// `http:80/tcp`
/// A slice of one endpoint, or of several with commas between their addresses.
fn slice(service: &ServiceName, words: &[&str]) -> Slice {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let addresses: Vec<IpAddr> = words[0].split(',').map(|address| address.parse().expect("address")).collect();
    let topology = Arc::new(Topology { zone: value("zone=").map(Into::into), ..Topology::default() });
    let ports = words[1..].iter().filter_map(|word| port(word));
    Slice {
        service: service.clone(),
        family: Family::of(addresses[0]),
        ports: ports.map(|(name, port, protocol)| SlicePort { name: name.into(), protocol, port }).collect(),
        endpoints: addresses
            .into_iter()
            .map(|address| Endpoint { at: 0, address, ready: true, serving: true, terminating: false, topology: topology.clone() })
            .collect(),
        names: Some(Box::new(EndpointNames {
            hostnames: [value("host=")].into_iter().collect(),
            pods: [value("pod=")].into_iter().collect(),
        })),
        labels: Arc::default(),
        triggered_at_ms: None,
    }
}

fn port(word: &str) -> Option<(&str, u16, Protocol)> {
    let (name, rest) = word.split_once(':')?;
    let (port, protocol) = rest.split_once('/')?;
    let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    Some((name, port.parse().ok()?, protocol))
}

#[test]
fn a_service_answers_with_its_virtual_addresses() {
    check(
        "",
        &[
            "web.default.svc.cluster.local A",
            "WEB.Default.svc.Cluster.Local A",
            "dual.default.svc.cluster.local AAAA",
            "_http._tcp.WEB.default.svc.Cluster.local SRV",
            "web.default.svc.cluster.local SRV",
            "dual.default.svc.cluster.local SRV",
            "_dns._udp.dual.default.svc.cluster.local A",
            "dns._udp.dual.default.svc.cluster.local A",
            "10-1-0-1.web.default.svc.cluster.local A",
        ],
        expect![[r#"
            ; web.default.svc.cluster.local A
            NOERROR
              web.default.svc.cluster.local. 5 A 10.96.0.1
            ; WEB.Default.svc.Cluster.Local A
            NOERROR
              WEB.Default.svc.Cluster.Local. 5 A 10.96.0.1
            ; dual.default.svc.cluster.local AAAA
            NOERROR
              dual.default.svc.cluster.local. 5 AAAA fd00::2
            ; _http._tcp.WEB.default.svc.Cluster.local SRV
            NOERROR
              _http._tcp.WEB.default.svc.Cluster.local. 5 SRV 0 100 80 web.default.svc.Cluster.local.
              additional web.default.svc.Cluster.local. 5 A 10.96.0.1
            ; web.default.svc.cluster.local SRV
            NOERROR
              web.default.svc.cluster.local. 5 SRV 0 50 80 web.default.svc.cluster.local.
              web.default.svc.cluster.local. 5 SRV 0 50 9090 web.default.svc.cluster.local.
              additional web.default.svc.cluster.local. 5 A 10.96.0.1
            ; dual.default.svc.cluster.local SRV
            NOERROR
              dual.default.svc.cluster.local. 5 SRV 0 50 53 dual.default.svc.cluster.local.
              additional dual.default.svc.cluster.local. 5 A 10.96.0.2
              additional dual.default.svc.cluster.local. 5 AAAA fd00::2
            ; _dns._udp.dual.default.svc.cluster.local A
            NOERROR
              _dns._udp.dual.default.svc.cluster.local. 5 A 10.96.0.2
            ; dns._udp.dual.default.svc.cluster.local A
            NOERROR
              dns._udp.dual.default.svc.cluster.local. 5 A 10.96.0.2
            ; 10-1-0-1.web.default.svc.cluster.local A
            NOERROR
              10-1-0-1.web.default.svc.cluster.local. 5 A 10.1.0.1
        "#]],
    );
}

#[test]
fn a_headless_service_stands_for_its_endpoints() {
    check(
        "",
        &[
            "db.default.svc.cluster.local A",
            "db-1.db.default.svc.cluster.local AAAA",
            "_pg._tcp.db.default.svc.cluster.local SRV",
            "db-0.db.default.svc.cluster.local SRV",
            "bare.default.svc.cluster.local A",
            "bare.default.svc.cluster.local SRV",
            "gone.default.svc.cluster.local A",
        ],
        expect![[r#"
            ; db.default.svc.cluster.local A
            NOERROR
              db.default.svc.cluster.local. 5 A 10.1.0.2
              db.default.svc.cluster.local. 5 A 10.1.0.3
            ; db-1.db.default.svc.cluster.local AAAA
            NOERROR
              db-1.db.default.svc.cluster.local. 5 AAAA fd00:1::3
            ; _pg._tcp.db.default.svc.cluster.local SRV
            NOERROR
              _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 33 5432 db-0.db.default.svc.cluster.local.
              _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 33 5432 db-1.db.default.svc.cluster.local.
              additional db-0.db.default.svc.cluster.local. 5 A 10.1.0.2
              additional db-1.db.default.svc.cluster.local. 5 A 10.1.0.3
              additional db-1.db.default.svc.cluster.local. 5 AAAA fd00:1::3
            ; db-0.db.default.svc.cluster.local SRV
            NOERROR
              db-0.db.default.svc.cluster.local. 5 SRV 0 100 5432 db-0.db.default.svc.cluster.local.
              additional db-0.db.default.svc.cluster.local. 5 A 10.1.0.2
            ; bare.default.svc.cluster.local A
            NOERROR
              bare.default.svc.cluster.local. 5 A 10.1.0.9
            ; bare.default.svc.cluster.local SRV
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; gone.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
        "#]],
    );
}

#[test]
fn what_exists_without_such_records_is_not_denied() {
    check(
        "",
        &[
            "cluster.local A",
            "svc.cluster.local A",
            "pod.cluster.local TXT",
            "dns.cluster.local A",
            "default.svc.cluster.local A",
            "web.default.svc.cluster.local AAAA",
            "web.default.svc.cluster.local MX",
            "_tcp.web.default.svc.cluster.local A",
            "10.in-addr.arpa PTR",
        ],
        expect![[r#"
            ; cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; svc.cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; pod.cluster.local TXT
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; dns.cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; default.svc.cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; web.default.svc.cluster.local AAAA
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; web.default.svc.cluster.local MX
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; _tcp.web.default.svc.cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; 10.in-addr.arpa PTR
            NOERROR
              authority in-addr.arpa. 5 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. SERIAL 7200 1800 86400 5
        "#]],
    );
}

#[test]
fn what_does_not_exist_is_denied() {
    check(
        "",
        &[
            "nobody.default.svc.cluster.local A",
            "web.nowhere.svc.cluster.local A",
            "web.default.cluster.local A",
            "_nope._tcp.web.default.svc.cluster.local SRV",
            "_http._udp.web.default.svc.cluster.local SRV",
            "_http._tcp.plain.default.svc.cluster.local SRV",
            "*.default.svc.cluster.local A",
            "a.b.c.d.web.default.svc.cluster.local A",
            "10-1-0-7.db.default.svc.cluster.local A",
            "10-2-0-1.dev.pod.cluster.local A",
            "7.7.7.10.in-addr.arpa PTR",
            "web.default.svc.in-addr.arpa A",
        ],
        expect![[r#"
            ; nobody.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; web.nowhere.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; web.default.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; _nope._tcp.web.default.svc.cluster.local SRV
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; _http._udp.web.default.svc.cluster.local SRV
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; _http._tcp.plain.default.svc.cluster.local SRV
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; *.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; a.b.c.d.web.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; 10-1-0-7.db.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; 10-2-0-1.dev.pod.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; 7.7.7.10.in-addr.arpa PTR
            NXDOMAIN
              authority in-addr.arpa. 5 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. SERIAL 7200 1800 86400 5
            ; web.default.svc.in-addr.arpa A
            NXDOMAIN
              authority in-addr.arpa. 5 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. SERIAL 7200 1800 86400 5
        "#]],
    );
}

#[test]
fn an_alias_is_followed_to_its_end() {
    check(
        "",
        &[
            "local.default.svc.cluster.local A",
            "local.default.svc.cluster.local AAAA",
            "local.default.svc.cluster.local CNAME",
            "local.default.svc.cluster.local SRV",
            "x.local.default.svc.cluster.local A",
            "self.default.svc.cluster.local A",
            "address.default.svc.cluster.local A",
            "search.default.svc.cluster.local CNAME",
        ],
        expect![[r#"
            ; local.default.svc.cluster.local A
            NOERROR
              local.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
              web.default.svc.cluster.local. 5 A 10.96.0.1
            ; local.default.svc.cluster.local AAAA
            NOERROR
              local.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; local.default.svc.cluster.local CNAME
            NOERROR
              local.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
            ; local.default.svc.cluster.local SRV
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; x.local.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; self.default.svc.cluster.local A
            NOERROR
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; address.default.svc.cluster.local A
            NXDOMAIN
              authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            ; search.default.svc.cluster.local CNAME
            NOERROR
              search.default.svc.cluster.local. 5 CNAME www.example.com.
        "#]],
    );
}

#[test]
fn addresses_lead_back_to_names() {
    check(
        "",
        &[
            "1.0.96.10.in-addr.arpa PTR",
            "3.0.1.10.in-addr.arpa PTR",
            "1.0.96.10.in-addr.arpa A",
            "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa PTR",
        ],
        expect![[r#"
            ; 1.0.96.10.in-addr.arpa PTR
            NOERROR
              1.0.96.10.in-addr.arpa. 5 PTR web.default.svc.cluster.local.
            ; 3.0.1.10.in-addr.arpa PTR
            NOERROR
              3.0.1.10.in-addr.arpa. 5 PTR db-1.db.default.svc.cluster.local.
            ; 1.0.96.10.in-addr.arpa A
            NOERROR
              authority in-addr.arpa. 5 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. SERIAL 7200 1800 86400 5
            ; 3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa PTR
            NOERROR
              3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa. 5 PTR db-1.db.default.svc.cluster.local.
        "#]],
    );
}

#[test]
fn the_zone_speaks_of_itself() {
    check(
        "ttl 30",
        &["dns-version.cluster.local TXT", "Cluster.local SOA", "cluster.local NS", "ns.dns.cluster.local A"],
        expect![[r#"
        ; dns-version.cluster.local TXT
        NOERROR
          dns-version.cluster.local. 28800 TXT "1.1.0"
        ; Cluster.local SOA
        NOERROR
          Cluster.local. 30 SOA ns.dns.Cluster.local. hostmaster.Cluster.local. SERIAL 7200 1800 86400 30
        ; cluster.local NS
        NOERROR
          cluster.local. 30 NS web.default.svc.cluster.local.
          additional web.default.svc.cluster.local. 30 A 10.96.0.1
        ; ns.dns.cluster.local A
        NOERROR
          ns.dns.cluster.local. 30 A 10.96.0.1
    "#]],
    );
}

#[test]
fn pods_have_names_as_the_options_say() {
    for (mode, known, unknown) in
        [("disabled", "NXDOMAIN", "NXDOMAIN"), ("insecure", "NOERROR", "NOERROR"), ("verified", "NOERROR", "NXDOMAIN")]
    {
        let corefile = format!(".:53 {{\n kubernetes cluster.local {{\n pods {mode}\n }}\n }}");
        let code = |name: &str| rcode_name(answer(&corefile, CLUSTER, &format!("{name}.pod.cluster.local A")).rcode);
        assert_eq!((code("10-2-0-1.dev"), code("10-2-0-9.dev"), code("10-2-0-1.nowhere")), (known, unknown, "NXDOMAIN"), "{mode}");
        assert_eq!(code("nonsense.dev"), "NXDOMAIN", "{mode}");
    }
}

#[test]
fn every_server_behind_a_headless_service_is_named() {
    // The tests' server has the address of an endpoint of `web`; here it is one of `db` as well.
    let objects = format!("{CLUSTER}headless default/servers\n  ep 10.1.0.1,10.1.0.9 dns:53/udp\n  ep fd00::9 dns:53/udp\n");
    let corefile = ". {\n kubernetes cluster.local\n}";
    let answer = ask(corefile, &objects, "cluster.local NS");
    for server in ["10-1-0-1.servers", "10-1-0-9.servers"] {
        assert!(answer.contains(&format!("NS {server}.default.svc.cluster.local.")), "{answer}");
    }
    assert!(!answer.contains("fd00"), "a slice that this server is not in: {answer}");
    let without = ask(&corefile.replace("cluster.local\n", "cluster.local {\n noendpoints\n }\n"), &objects, "cluster.local NS");
    assert!(without.contains("NS ns.dns.cluster.local."), "{without}");
}

#[test]
fn an_address_that_several_services_of_the_server_share_is_told_once() {
    let objects = "ns default\nheadless default/one\n  ep 10.1.0.1 dns:53/udp\nheadless default/two\n  ep 10.1.0.1 dns:53/udp\n";
    let answer = |question: &str| answer(". {\n kubernetes cluster.local\n}", objects, question).answers.len();
    assert_eq!((answer("ns.dns.cluster.local A"), answer("cluster.local NS")), (1, 2));
}

#[test]
fn zonal_names_of_a_headless_service_outlive_its_endpoints() {
    let objects = format!("{CLUSTER}headless default/idle\n");
    let ask = |question: &str| ask(". {\n kubernetes cluster.local {\n zonal\n }\n}", &objects, question);
    assert!(ask("idle.default.svc.cluster.local A").contains("NXDOMAIN"));
    for (name, there) in [
        ("zone-a.pin._zone.idle", true),
        ("zone-a.prefer._zone.idle", true),
        ("zone-a.near._zone.idle", false),
        ("zone-a.pin._zone.web", false),
    ] {
        let answer = ask(&format!("{name}.default.svc.cluster.local A"));
        assert_eq!(answer.contains("NOERROR"), there, "{name}: {answer}");
    }
}

#[test]
fn options_narrow_what_exists() {
    for (options, name, code) in [
        ("namespaces dev", "web.default.svc.cluster.local", "NXDOMAIN"),
        ("namespaces dev", "web.dev.svc.cluster.local", "NOERROR"),
        ("namespace_labels team=b", "web.default.svc.cluster.local", "NXDOMAIN"),
        ("namespace_labels team=b", "web.dev.svc.cluster.local", "NOERROR"),
        ("labels app", "web.default.svc.cluster.local", "NXDOMAIN"),
        ("noendpoints", "db.default.svc.cluster.local", "NXDOMAIN"),
        ("noendpoints", "10-1-0-1.web.default.svc.cluster.local", "NXDOMAIN"),
        ("noendpoints", "web.default.svc.cluster.local", "NOERROR"),
        ("ignore empty_service", "dual.default.svc.cluster.local", "NXDOMAIN"),
        ("ignore empty_service", "web.default.svc.cluster.local", "NOERROR"),
        ("ignore empty_service\nnoendpoints", "web.default.svc.cluster.local", "NXDOMAIN"),
        ("zonal", "a.pin._zone.db.default.svc.cluster.local", "NOERROR"),
        ("zonal", "c.pin._zone.db.default.svc.cluster.local", "NOERROR"),
        ("zonal", "a.pin._zone.web.default.svc.cluster.local", "NXDOMAIN"),
        ("", "a.pin._zone.db.default.svc.cluster.local", "NXDOMAIN"),
        // Nobody stands behind the plugin.
        ("fallthrough", "nobody.default.svc.cluster.local", "SERVFAIL"),
    ] {
        let corefile = format!(".:53 {{\n kubernetes cluster.local {{\n {options}\n }}\n }}");
        assert_eq!(rcode_name(answer(&corefile, CLUSTER, &format!("{name} A")).rcode), code, "{options}: {name}");
    }
}

#[test]
fn labels_select_the_slices_of_other_clusters() {
    let objects = "ns default\nimport default/far\n  far east 10.5.0.1 http:80/tcp expose=yes\n  far west 10.5.0.2 http:80/tcp\n";
    let shown = |labels: &str| {
        let corefile = format!(".:53 {{\n kubernetes cluster.local cluster.set {{\n multicluster cluster.set\n {labels}\n }}\n }}");
        answer(&corefile, objects, "far.default.svc.cluster.set A").answers.len()
    };
    assert_eq!([shown(""), shown("labels expose=yes"), shown("labels expose=no")], [2, 1, 0]);
}

#[test]
fn nothing_is_denied_before_the_first_view() {
    let corefile = Corefile::parse(".:53 {\n kubernetes cluster.local\n }").expect("a Corefile");
    let (routes, _) = routes_to_look_at(&corefile, Arc::default(), false, None);
    let request = request("nobody.default.svc.cluster.local A");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answer = runtime.block_on(Next::start(&routes).whole(&request));
    assert_eq!((answer.rcode, answer.authorities.len()), (rcode::SERVFAIL, 1));
}

#[test]
fn a_set_that_is_too_long_is_cut_and_says_so() {
    let mut objects = "ns default\nheadless default/big\n".to_owned();
    for last in 0..200 {
        objects += &format!("  ep 10.9.0.{last} http:80/tcp\n");
    }
    let corefile = Corefile::parse(".:53 {\n kubernetes cluster.local\n }").expect("a Corefile");
    let Some(Spec::Kubernetes(options)) = corefile.blocks[0].plugins.first() else { panic!("kubernetes is there") };
    let zones = Zones::new(options.clone(), Arc::default(), false);
    let mut snapshot = Snapshot::unsynced();
    let view = Arc::new(names(&objects));
    snapshot.patch(&view, &snapshot.changes(&view), &HashSet::new(), options);
    for (limit, most, cut) in [(MIN_UDP, (512 - 12 - 36) / 16, true), (4_096, 200, false)] {
        let answer =
            request("big.default.svc.cluster.local A").written(|query, buffer| match zones.answer(&snapshot, query, buffer, limit, 7) {
                Outcome::Written(length, _) => Some(length).filter(|length| *length <= limit),
                _ => None,
            });
        let answer = answer.expect("an answer within the limit");
        assert_eq!((answer.answers.len(), answer.flags & flag::TC != 0), (most, cut), "{limit}");
    }
}

#[test]
fn a_change_touches_its_own_names_and_leaves_none_behind() {
    let corefile = Corefile::parse(".:53 {\n kubernetes cluster.local in-addr.arpa\n }").expect("a Corefile");
    let Some(Spec::Kubernetes(options)) = corefile.blocks[0].plugins.first() else { panic!("kubernetes is there") };
    let mut snapshot = Snapshot::unsynced();
    let mut view = names("ns default\nheadless default/db\n  ep 10.1.0.2 pg:5432/tcp host=db-0\nsvc default/web 10.96.0.1 http:80/tcp\n");
    let first = Arc::new(view.clone());
    snapshot.patch(&first, &snapshot.changes(&first), &HashSet::new(), options);
    let untouched = snapshot.services.get(&snapshot::key(&ServiceName::new("default", "web")).expect("key")).expect("web").clone();
    let later = names("headless default/db\n  ep 10.1.0.7 pg:5432/tcp host=db-0\n");
    let name = ServiceName::new("default", "db");
    view.revision = Revision(2);
    view.services.insert(Revision(2), name.clone(), later.services.get(&name).expect("db").clone());
    let second = Arc::new(view.clone());
    snapshot.patch(&second, &snapshot.changes(&second), &HashSet::new(), options);
    let (old, new) = ("10.1.0.2".parse().expect("address"), "10.1.0.7".parse().expect("address"));
    assert_eq!((snapshot.with_endpoint(old).len(), snapshot.with_endpoint(new).len()), (0, 1));
    let web = snapshot.services.get(&snapshot::key(&ServiceName::new("default", "web")).expect("key")).expect("web");
    assert!(Arc::ptr_eq(&untouched, web), "a Service that did not change is not compiled again");
    view.revision = Revision(3);
    view.services.remove(Revision(3), &name);
    let third = Arc::new(view);
    snapshot.patch(&third, &snapshot.changes(&third), &HashSet::new(), options);
    assert_eq!((snapshot.with_endpoint(new).len(), snapshot.services.iter().count()), (0, 1));
}
