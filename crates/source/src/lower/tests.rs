use std::fmt::Write as _;
use std::net::IpAddr;

use api::Content;
use expect_test::{Expect, expect};
use model::facts::PathMatch;
use model::facts::{BackendPort, Endpoint, IngressBackend, LoadBalancerName, Service, ServiceKind, Slice, TargetPort, Topology};

use super::*;

/// Lowers every object of a YAML text and shows what it says, then what is wrong with it.
fn check(yaml: &str, expected: Expect) {
    let mut texts = Interner::default();
    let mut shown = String::new();
    for entry in api::documents(yaml.as_bytes()).iter().flat_map(api::Document::entries) {
        let Content::Object(object) = entry.content else { panic!("not an object: {entry:?}") };
        let issues = match &object {
            AnyObject::Endpoints(it) => {
                let (slices, issues) = endpoints(it, &mut texts);
                slices.iter().for_each(|(name, it)| writeln!(shown, "Slice {name} {}", slice(it)).unwrap());
                issues
            }
            _ => {
                let lowered = lower(&object, &mut texts).expect("a fact");
                writeln!(shown, "{}", show(&lowered.fact)).unwrap();
                lowered.issues
            }
        };
        issues.iter().for_each(|issue| writeln!(shown, "! {issue}").unwrap());
    }
    expected.assert_eq(&shown);
}

fn show(fact: &Change) -> String {
    match fact {
        Change::Service(name, Some(it)) => format!("Service {name} {}", service(it)),
        Change::Slice(name, Some(it)) => format!("Slice {name} {}", slice(it)),
        Change::Slice(name, None) => format!("Slice {name} is no fact"),
        Change::Ingress(name, Some(it)) => {
            let mut text = format!("Ingress {}/{} class {:?}/{:?}", name.namespace, name.name, it.class, it.class_annotation);
            it.default_backend.iter().for_each(|it| write!(text, "\n  * -> {}", backend(it)).unwrap());
            for rule in &it.rules {
                write!(text, "\n  {}", rule.host.as_deref().unwrap_or("any host")).unwrap();
                for path in &rule.paths {
                    let matched = match &path.path {
                        PathMatch::Exact(path) => format!("= {path}"),
                        PathMatch::Prefix(path) => path.to_string(),
                        other => format!("{other:?}"),
                    };
                    write!(text, "\n    {matched} -> {}", backend(&path.backend)).unwrap();
                }
            }
            it.tls.iter().for_each(|it| write!(text, "\n  tls {:?} {:?}", it.hosts, it.secret).unwrap());
            text
        }
        Change::Node(name, Some(it)) => format!(
            "Node {name} {} external {} pods {:?} zone {:?}{}",
            list(&it.internal_ips),
            list(&it.external_ips),
            it.pod_cidrs,
            it.zone,
            if it.leaving { " leaving" } else { "" }
        ),
        Change::Pod(name, Some(it)) => {
            format!("Pod {}/{}{} {}", name.namespace, name.name, if it.host_network { " host" } else { "" }, list(&it.ips))
        }
        Change::Secret(name, Some(it)) => {
            let data = it.data.iter().map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)));
            format!("Secret {name} {}", data.collect::<Vec<_>>().join(" "))
        }
        Change::ServiceImport(name, Some(it)) => {
            let ports: Vec<_> = it.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol.lower())).collect();
            format!("ServiceImport {name} {} {}{}", list(&it.ips), ports.join(" "), if it.headless { " headless" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

fn list(ips: &[IpAddr]) -> String {
    format!("[{}]", ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn service(it: &Service) -> String {
    let mut text = match &it.kind {
        ServiceKind::ClusterIp => list(&it.cluster_ips),
        ServiceKind::Headless => "headless".to_owned(),
        ServiceKind::ExternalName(name) => format!("external {name}"),
    };
    for port in &it.ports {
        let node_port = port.node_port.map(|node_port| format!("@{}", node_port.0)).unwrap_or_default();
        let target = match &port.target_port {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.to_string(),
        };
        write!(text, " {}:{}/{}>{target}{node_port}", port.name, port.port, port.protocol.lower()).unwrap();
    }
    if !it.external_ips.is_empty() {
        write!(text, " external-ips {}", list(&it.external_ips)).unwrap();
    }
    if !it.load_balancer_names.is_empty() {
        let names = it.load_balancer_names.iter().map(|name| match name {
            LoadBalancerName::Ip(ip) => ip.to_string(),
            LoadBalancerName::Hostname(name) => name.to_string(),
        });
        write!(text, " lb {} of {}", list(&it.load_balancer_ips), names.collect::<Vec<_>>().join(" ")).unwrap();
    }
    if !it.source_ranges.is_empty() {
        write!(text, " ranges {:?}", it.source_ranges).unwrap();
    }
    let policies = (it.internal_policy, it.external_policy);
    if policies != (model::facts::TrafficPolicy::Cluster, model::facts::TrafficPolicy::Cluster) {
        write!(text, " policies {policies:?}").unwrap();
    }
    it.affinity.iter().for_each(|time| write!(text, " affinity {}", time.as_secs()).unwrap());
    it.health_check_node_port.iter().for_each(|port| write!(text, " health {}", port.0).unwrap());
    it.proxy_name.iter().for_each(|name| write!(text, " of proxy {name}").unwrap());
    if it.headless_label {
        text.push_str(" headless-label");
    }
    it.annotations.iter().for_each(|(key, value)| write!(text, " {key}={value}").unwrap());
    text
}

fn slice(it: &Slice) -> String {
    let ports: Vec<_> = it.ports.iter().map(|port| format!("{}:{}/{}", port.name, port.port, port.protocol.lower())).collect();
    let mut text = format!("of {} {} {}", it.service, it.family, ports.join(" "));
    it.triggered_at_ms.iter().for_each(|ms| write!(text, " triggered {ms}").unwrap());
    for (place, endpoint) in it.endpoints.iter().enumerate() {
        let Endpoint { at: _, address, ready, serving, terminating, topology } = endpoint;
        let Topology { node, zone, zone_hints, node_hints } = &**topology;
        write!(text, "\n  {address}").unwrap();
        for (word, holds) in [("unready", !ready), ("unserving", !serving), ("terminating", *terminating)] {
            if holds {
                write!(text, " {word}").unwrap();
            }
        }
        for (word, value) in [("host", it.hostname(place)), ("on", node.as_deref()), ("zone", zone.as_deref()), ("pod", it.pod(place))] {
            value.iter().for_each(|value| write!(text, " {word} {value}").unwrap());
        }
        for (word, hints) in [("zones", zone_hints), ("nodes", node_hints)] {
            hints.iter().for_each(|hints| write!(text, " {word} {}", hints.join(",")).unwrap());
        }
    }
    text
}

fn backend(it: &IngressBackend) -> String {
    match it {
        IngressBackend::Service { name, port: BackendPort::Number(port) } => format!("{name}:{port}"),
        IngressBackend::Service { name, port: BackendPort::Name(port) } => format!("{name}:{port}"),
        IngressBackend::Resource(name) => format!("resource {name}"),
    }
}

#[test]
fn a_service_says_what_it_is() {
    check(
        "
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {rutter.dev/balance: maglev, other.example/x: z}
spec:
  type: LoadBalancer
  clusterIPs: [010.096.000.010, 'fd00::0a']
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP}
  externalIPs: [192.0.2.7]
  loadBalancerSourceRanges: [' 198.51.100.7/24 ']
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  sessionAffinity: ClientIP
status:
  loadBalancer:
    ingress: [{ip: 203.0.113.1}, {ip: 203.0.113.2, ipMode: Proxy}, {hostname: lb.example.}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{port: 5432}], healthCheckNodePort: 31000}
---
apiVersion: v1
kind: Service
metadata: {name: far, labels: {service.kubernetes.io/service-proxy-name: other, service.kubernetes.io/headless: ''}}
spec: {type: ExternalName, externalName: db.example.com., clusterIP: 10.96.0.9}
",
        expect![[r#"
            Service default/web [10.96.0.10 fd00::a] http:80/tcp>web@30080 dns:53/udp>53 external-ips [192.0.2.7] lb [203.0.113.1] of 203.0.113.1 203.0.113.2 lb.example ranges [198.51.100.0/24] policies (Cluster, Local) affinity 10800 health 31000 rutter.dev/balance=maglev
            Service default/db headless :5432/tcp>5432
            Service default/far external db.example.com of proxy other headless-label
        "#]],
    );
}

#[test]
fn a_service_without_an_address_is_headless_and_one_with_a_wrong_address_is_not() {
    check(
        "---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIPs: [10.96.0.1, nonsense, 10.96.0.2, 'fd00::1'], ports: [{port: 80}]}}
",
        expect![[r#"
            Service default/web headless :80/tcp>80
            Service default/web [] :80/tcp>80
            ! spec.clusterIPs[0]: `10.96.0.300` is no IP address (InvalidValue)
            Service default/web [10.96.0.1 fd00::1] :80/tcp>80
            ! spec.clusterIPs[1]: `nonsense` is no IP address (InvalidValue)
        "#]],
    );
}

#[test]
fn a_bad_field_of_a_service_costs_that_field_alone() {
    check(
        "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: Ingress
  clusterIP: 10.96.0.1
  ports:
  - {name: a, port: 80, nodePort: 70000}
  - {name: b, port: 0}
  - {name: c, port: 81, protocol: QUIC}
  - {name: d, port: 80}
  - {name: a, port: 82}
  - {name: a, port: 80, protocol: UDP, targetPort: 99999}
  externalIPs: [1.2.3, 192.0.2.1]
  externalTrafficPolicy: Nearby
  internalTrafficPolicy: Local
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: -1}}
  loadBalancerSourceRanges: [10.0.0.0/8, 10.0.0.0/99]
status: {loadBalancer: {ingress: [{ip: nowhere}, {ip: 203.0.113.1}]}}
",
        expect![[r#"
            Service default/web [10.96.0.1] a:80/tcp>80 a:80/udp>80 external-ips [192.0.2.1] lb [203.0.113.1] of 203.0.113.1 ranges [10.0.0.0/8] policies (Local, Cluster) affinity 10800
            ! spec.type: `Ingress` is none of ClusterIP, NodePort, LoadBalancer, ExternalName; ClusterIP is used (InvalidValue)
            ! status.loadBalancer.ingress[0].ip: `nowhere` is no IP address (InvalidValue)
            ! spec.ports[0].nodePort: 70000 is no port from 1 to 65535 (InvalidValue)
            ! spec.ports[1].port: 0 is no port from 1 to 65535 (InvalidValue)
            ! spec.ports[2].protocol: `QUIC` is none of TCP, UDP, SCTP (InvalidValue)
            ! spec.ports[3]: port 80 TCP named "a" comes before it; only that is used (Conflict)
            ! spec.ports[4]: port 80 TCP named "a" comes before it; only that is used (Conflict)
            ! spec.ports[5].targetPort: 99999 is no port from 1 to 65535 (InvalidValue)
            ! spec.externalIPs[0]: `1.2.3` is no IP address (InvalidValue)
            ! spec.loadBalancerSourceRanges[1]: `10.0.0.0/99` is no CIDR (InvalidValue)
            ! spec.externalTrafficPolicy: `Nearby` is neither Cluster nor Local; Cluster is used (InvalidValue)
            ! spec.sessionAffinityConfig.clientIP.timeoutSeconds: -1 is no time; 10800 is used (InvalidValue)
        "#]],
    );
}

#[test]
fn source_ranges_of_which_none_can_be_read_admit_nobody() {
    check(
        "---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, loadBalancerSourceRanges: [home]}}",
        expect![[r#"
            Service default/web [10.96.0.1] ranges [0.0.0.0/32, ::/128]
            ! spec.loadBalancerSourceRanges[0]: `home` is no CIDR (InvalidValue)
        "#]],
    );
}

#[test]
fn a_slice_says_where_its_endpoints_are() {
    check(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: '2026-11-24T18:14:20.5Z'}
addressType: IPv4
ports: [{name: http, port: 8080}, {port: 53, protocol: UDP}, {name: every}, {name: zero, port: 0}]
endpoints:
- addresses: [010.0.0.1, 10.0.0.99]
  nodeName: a
  zone: z1
  hostname: web-0
  targetRef: {kind: Pod, name: web-0}
  hints: {forZones: [{name: z1}, {name: z2}], forNodes: [{name: a}]}
- addresses: [10.0.0.2]
  conditions: {ready: false, serving: true, terminating: true}
  targetRef: {kind: Node, name: a}
- addresses: [10.0.0.3]
  conditions: {ready: false, serving: false}
",
        expect![[r#"
            Slice shop/web-1 of shop/web IPv4 http:8080/tcp :53/udp triggered 1795544060500
              10.0.0.1 host web-0 on a zone z1 pod web-0 zones z1,z2 nodes a
              10.0.0.2 unready terminating
              10.0.0.3 unready unserving
        "#]],
    );
}

#[test]
fn slices_of_no_service_or_of_host_names_are_no_facts() {
    check(
        "---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: b, labels: {kubernetes.io/service-name: web}}, addressType: FQDN}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: c, labels: {kubernetes.io/service-name: web}}, addressType: IPX}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: d, labels: {multicluster.kubernetes.io/service-name: far}}, addressType: IPv6}
",
        expect![[r#"
            Slice default/a is no fact
            Slice default/b is no fact
            Slice default/c is no fact
            ! addressType: `IPX` is none of IPv4, IPv6, FQDN (InvalidValue)
            Slice default/d of default/far IPv6 
        "#]],
    );
}

#[test]
fn a_bad_endpoint_costs_that_endpoint_alone() {
    check(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: a, port: 8080}, {name: b, port: 65536}, {name: c, port: 1, protocol: ICMP}]
endpoints: [{addresses: []}, {addresses: [10.0.0]}, {addresses: ['fd00::1']}, {addresses: [10.0.0.1]}]
",
        expect![[r#"
            Slice default/web-1 of default/web IPv4 a:8080/tcp
              fd00::1
              10.0.0.1
            ! ports[1].port: 65536 is no port from 1 to 65535 (InvalidValue)
            ! ports[2].protocol: `ICMP` is none of TCP, UDP, SCTP (InvalidValue)
            ! endpoints[0].addresses: has no address (InvalidValue)
            ! endpoints[1].addresses[0]: `10.0.0` is no IP address (InvalidValue)
        "#]],
    );
}

#[test]
fn endpoints_become_the_slices_that_would_mirror_them() {
    check(
        "
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets:
- addresses: [{ip: 192.0.2.1, nodeName: a}, {ip: 'fd00::1'}, {ip: nonsense}]
  notReadyAddresses: [{ip: 192.0.2.2, hostname: db-2, targetRef: {kind: Pod, name: db-2}}]
  ports: [{name: sql, port: 5432}, {name: bad, port: -1}]
- addresses: [{ip: 192.0.2.3}]
---
{apiVersion: v1, kind: Endpoints, metadata: {name: skipped, labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}}, subsets: [{addresses: [{ip: 192.0.2.1}]}]}
",
        expect![[r#"
            Slice default/db~0-ipv4 of default/db IPv4 sql:5432/tcp
              192.0.2.1 on a
              192.0.2.2 unready unserving host db-2 pod db-2
            Slice default/db~0-ipv6 of default/db IPv6 sql:5432/tcp
              fd00::1
            Slice default/db~1-ipv4 of default/db IPv4 
              192.0.2.3
            ! subsets[0].ports[1].port: -1 is no port from 1 to 65535 (InvalidValue)
            ! subsets[0].addresses[2].ip: `nonsense` is no IP address (InvalidValue)
        "#]],
    );
}

#[test]
fn an_ingress_says_where_requests_go() {
    check(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {kubernetes.io/ingress.class: nginx}}
spec:
  ingressClassName: nginx
  defaultBackend: {resource: {apiGroup: k8s.example, kind: Bucket, name: assets}}
  tls: [{hosts: [A.example], secretName: cert}, {}]
  rules:
  - host: A.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /exact, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}
      - {pathType: ImplementationSpecific, backend: {service: {name: api, port: {number: 81}}}}
  - host: '*.example'
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: rest, port: {number: 80}}}}]}
",
        expect![[r#"
            Ingress default/web class Some("nginx")/Some("nginx")
              * -> resource k8s.example/Bucket assets
              a.example
                / -> web:80
                = /exact -> web:http
                / -> api:81
              *.example
              any host
                / -> rest:80
              tls ["a.example"] Some("cert")
              tls [] None
        "#]],
    );
}

#[test]
fn a_bad_rule_costs_that_rule_alone() {
    check(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  tls: [{hosts: ['*'], secretName: cert}]
  rules:
  - host: 'a.*.example'
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
  - host: b.example
    http:
      paths:
      - {path: relative, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /no-type, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /typo, pathType: prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /port, pathType: Prefix, backend: {service: {name: web}}}
      - {path: /nowhere, pathType: Prefix, backend: {}}
      - {path: /ok, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
",
        expect![[r#"
            Ingress default/web class None/None
              b.example
                /ok -> web:80
            ! spec.rules[0].host: `a.*.example` is no host name, with or without `*.` in front (InvalidValue)
            ! spec.rules[1].http.paths[0].path: `relative` does not start with `/` (InvalidValue)
            ! spec.rules[1].http.paths[1].pathType: is not set; one of Exact, Prefix, ImplementationSpecific is required (InvalidValue)
            ! spec.rules[1].http.paths[2].pathType: `prefix` is none of Exact, Prefix, ImplementationSpecific (InvalidValue)
            ! spec.rules[1].http.paths[3].backend.service.port: 0 is no port from 1 to 65535 (InvalidValue)
            ! spec.rules[1].http.paths[4].backend: names neither a service nor a resource (InvalidValue)
            ! spec.tls[0].hosts[0]: `*` is no host name, with or without `*.` in front (InvalidValue)
        "#]],
    );
}

#[test]
fn nodes_pods_secrets_and_the_rest_say_what_decisions_need() {
    check(
        "
apiVersion: v1
kind: Node
metadata: {name: a, labels: {topology.kubernetes.io/zone: z1}}
spec: {podCIDRs: [10.244.0.0/24, bad], taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}
status: {addresses: [{type: Hostname, address: a}, {type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: x}, {type: ExternalIP, address: 203.0.113.9}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: p}, status: {podIP: 10.244.0.7, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: h}, spec: {hostNetwork: true}, status: {podIP: 192.0.2.1, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done}, status: {podIP: 10.244.0.7, phase: Succeeded}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: aGVsbG8=, b: eA==}, stringData: {b: z}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.5/12, 'fd00::/200']}}
---
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: far}, spec: {type: Headless, ips: [10.9.9.9], ports: [{port: 80}, {port: 99999}]}}
",
        expect![[r#"
            Node a [10.0.0.1] external [203.0.113.9] pods [10.244.0.0/24] zone Some("z1") leaving
            ! status.addresses[2].address: `x` is no IP address (InvalidValue)
            ! spec.podCIDRs[1]: `bad` is no CIDR (InvalidValue)
            Pod default/p [10.244.0.7]
            Pod default/h host [192.0.2.1]
            Pod default/done []
            Secret default/s a=hello b=z
            IngressClass("nginx", Some(IngressClass { controller: "k8s.io/ingress-nginx", is_default: true }))
            ServiceCidr("kubernetes", Some([10.96.0.0/12]))
            ! spec.cidrs[1]: `fd00::/200` is no CIDR (InvalidValue)
            ServiceImport default/far [10.9.9.9] 80/tcp headless
            ! spec.ports[1].port: 99999 is no port from 1 to 65535 (InvalidValue)
        "#]],
    );
}
