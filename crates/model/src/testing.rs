//! The little language of the tests: objects as short text, views as lines. In tests only.
//!
//! Statements end at `;` or a line's end; a word that means nothing panics, so that a typing error is no passing test.
//!
//! ```text
//! node a zone=z1 ip=192.168.0.2
//! cidr 10.96.0.0/12
//! svc [NS/]NAME WORD..       10.96.0.10 | [fd00::1]:80 | headless | external=HOST | http:80/udp>8080@30080 | itp-local | etp-local | local
//!                            eip=IP | lb=IP | lbname=HOST | range=CIDR | affinity=SECS | hc=PORT | proxy=NAME | headless-label
//! slice NAME WORD..          v4 | v6 | http:8080/tcp | of=SVC | trigger=MS | label:KEY=VALUE; without `of` it is the last Service's
//! ep IP[:PORT] WORD..        on=NODE | unready | tolerated | terminating | gone | zone=Z | zones=Z,Z | nodes=N,N | host=H | pod=P
//!                            without a port it joins the last slice, else a slice of that port's own
//! class NAME CONTROLLER
//! secret NAME
//! ingress NAME WORD..        at=SECS | class=C | annotation=C | default=SVC:PORT | tls=SECRET:HOST,HOST | use-regex | rewrite=TEXT |
//!                         canary=WEIGHT | alias=HOST | www
//!                            HOST/PATH=SVC:PORT (Prefix) | HOST/PATH!=SVC:PORT (Exact) | HOST/PATH~=SVC:PORT (regex) | HOST/PATH=resource
//! namespace NAME; pod NAME IP; import NAME IP|headless PORT..
//! remove KIND NAME
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::facts::PathMatch;
use crate::facts::*;
use crate::names::*;
use crate::node::Verdict;
use crate::options::Canary;
use crate::options::RouteOptions;
use crate::resolve::{Config, Model, Want};
use crate::route::{Action, Host, HostPattern, Route, Upstream, UpstreamKey};
use crate::{Issues, NameView, NodeView, RouteView};

/// A model on node `a` that wants every view.
pub(crate) fn model() -> Model {
    Model::new(Config { node_name: "a".into(), want: Want { packets: true, names: true, routes: true }, ..Config::default() })
}

/// The changes that a text says, slices last.
pub(crate) fn changes(text: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut slices: BTreeMap<SliceName, Slice> = BTreeMap::new();
    let mut last_service = ServiceName::new("default", "");
    let mut last_slice = SliceName::new("default", "");
    for statement in text.split([';', '\n']).map(str::trim).filter(|statement| !statement.is_empty()) {
        let mut words = statement.split_whitespace();
        let (kind, name) = (words.next().unwrap(), words.next().expect("a name"));
        match kind {
            "node" => changes.push(Change::Node(name.into(), Some(Arc::new(node(words))))),
            "cidr" => changes.push(Change::ServiceCidr(name.into(), Some(vec![parse(name)]))),
            "svc" => {
                last_service = service_name(name);
                changes.push(Change::Service(last_service.clone(), Some(Arc::new(service(words)))));
            }
            "slice" => {
                last_slice = SliceName { namespace: last_service.namespace.clone(), name: name.into() };
                slices.insert(last_slice.clone(), slice(&last_service, words));
            }
            "ep" => {
                let (ip, port) = match SocketAddr::from_str(name) {
                    Ok(address) => (address.ip(), Some(address.port())),
                    Err(_) => (parse(name), None),
                };
                if let Some(port) = port {
                    let family = Family::of(ip);
                    last_slice = SliceName::new(&*last_service.namespace, format!("{}-{family}-{port}", last_service.name));
                    slices.entry(last_slice.clone()).or_insert_with(|| Slice {
                        service: last_service.clone(),
                        family,
                        ports: [SlicePort { name: "".into(), protocol: Protocol::Tcp, port }].into(),
                        endpoints: [].into(),
                        names: None,
                        labels: Arc::default(),
                        triggered_at_ms: None,
                    });
                }
                let slice = slices.get_mut(&last_slice).expect("a slice before its endpoint");
                add_endpoint(slice, ip, words);
            }
            "class" => {
                let controller = words.next().expect("a controller").into();
                changes.push(Change::IngressClass(name.into(), Some(IngressClass { controller, is_default: false })));
            }
            "secret" => {
                let name = service_name(name);
                changes.push(Change::Secret(SecretName::new(name.namespace, name.name), Some(Arc::new(Secret { data: BTreeMap::new() }))));
            }
            "ingress" => changes.push(Change::Ingress(ingress_name(name), Some(Arc::new(ingress(words))))),
            "namespace" => changes.push(Change::Namespace(name.into(), Some(Arc::default()))),
            "pod" => {
                let ips = words.map(parse).collect();
                let name = service_name(name);
                let name = PodName { namespace: name.namespace, name: name.name };
                changes.push(Change::Pod(name, Some(Arc::new(Pod { ips, host_network: false, labels: Arc::default() }))));
            }
            "import" => {
                let service = service(words);
                let headless = service.kind == ServiceKind::Headless;
                let import = ServiceImport { headless, ips: service.cluster_ips, ports: service.ports };
                last_service = service_name(name);
                changes.push(Change::ServiceImport(last_service.clone(), Some(Arc::new(import))));
            }
            "remove" => changes.push(removal(name, words.next().expect("a name"))),
            _ => panic!("unknown statement: {statement}"),
        }
    }
    changes.extend(slices.into_iter().map(|(name, slice)| Change::Slice(name, Some(Arc::new(slice)))));
    changes
}

fn removal(kind: &str, name: &str) -> Change {
    let namespaced = service_name(name);
    match kind {
        "node" => Change::Node(name.into(), None),
        "cidr" => Change::ServiceCidr(name.into(), None),
        "svc" => Change::Service(namespaced, None),
        "slice" => Change::Slice(SliceName::new(namespaced.namespace, namespaced.name), None),
        "class" => Change::IngressClass(name.into(), None),
        "secret" => Change::Secret(SecretName::new(namespaced.namespace, namespaced.name), None),
        "ingress" => Change::Ingress(ingress_name(name), None),
        _ => panic!("cannot remove a {kind}"),
    }
}

fn node<'a>(words: impl Iterator<Item = &'a str>) -> Node {
    let mut node = Node::default();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("zone", zone) => node.zone = Some(zone.into()),
            ("ip", ip) => node.internal_ips.push(parse(ip)),
            ("leaving", _) => node.leaving = true,
            _ => panic!("unknown word for a node: {word}"),
        }
    }
    node
}

fn service<'a>(words: impl Iterator<Item = &'a str>) -> Service {
    let mut service = Service::default();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("headless", _) => service.kind = ServiceKind::Headless,
            ("external", host) => service.kind = ServiceKind::ExternalName(host.into()),
            ("itp-local", _) => service.internal_policy = TrafficPolicy::Local,
            ("etp-local", _) => service.external_policy = TrafficPolicy::Local,
            ("local", _) => (service.internal_policy, service.external_policy) = (TrafficPolicy::Local, TrafficPolicy::Local),
            ("eip", ip) => service.external_ips.push(parse(ip)),
            ("lb", ip) => {
                service.load_balancer_ips.push(parse(ip));
                service.load_balancer_names.push(LoadBalancerName::Ip(parse(ip)));
            }
            ("lbname", host) => service.load_balancer_names.push(LoadBalancerName::Hostname(host.into())),
            ("range", range) => service.source_ranges.push(parse(range)),
            ("affinity", secs) => service.affinity = Some(Duration::from_secs(parse(secs))),
            ("hc", port) => service.health_check_node_port = Some(NodePort(parse(port))),
            ("proxy", name) => service.proxy_name = Some(name.into()),
            ("headless-label", _) => service.headless_label = true,
            _ => {
                if let Ok(ip) = IpAddr::from_str(word) {
                    service.cluster_ips.push(ip);
                } else if let Ok(address) = SocketAddr::from_str(word) {
                    service.cluster_ips.push(address.ip());
                    service.ports.push(port(service.ports.len(), &format!(":{}", address.port())));
                } else {
                    service.ports.push(port(service.ports.len(), word));
                }
            }
        }
    }
    service
}

/// `name:80/udp>8080@30080`.
fn port(at: usize, word: &str) -> ServicePort {
    let (rest, node_port) = word.split_once('@').map_or((word, None), |(rest, port)| (rest, Some(NodePort(parse(port)))));
    let (rest, target) = rest.split_once('>').map_or((rest, None), |(rest, target)| (rest, Some(target)));
    let SlicePort { name, protocol, port } = slice_port(rest);
    let target_port = target
        .map_or(TargetPort::Number(port), |target| target.parse().map_or_else(|_| TargetPort::Name(target.into()), TargetPort::Number));
    ServicePort { at: at as Index, name, protocol, port, node_port, app_protocol: None, target_port }
}

fn slice_port(word: &str) -> SlicePort {
    let (rest, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => panic!("unknown protocol in {word}"),
    };
    let (name, port) = rest.split_once(':').unwrap_or_else(|| panic!("unknown word: {word}"));
    SlicePort { name: name.into(), protocol, port: parse(port) }
}

fn slice<'a>(service: &ServiceName, words: impl Iterator<Item = &'a str>) -> Slice {
    let mut slice = Slice {
        service: service.clone(),
        family: Family::V4,
        ports: [].into(),
        endpoints: [].into(),
        names: None,
        labels: Arc::default(),
        triggered_at_ms: None,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("v4", _) => slice.family = Family::V4,
            ("v6", _) => slice.family = Family::V6,
            ("of", name) => slice.service = service_name(name),
            ("trigger", ms) => slice.triggered_at_ms = Some(parse(ms)),
            (label, value) if label.starts_with("label:") => {
                let labels = slice.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
                slice.labels = Arc::new(labels.chain([(label["label:".len()..].into(), value.into())]).collect());
            }
            _ => slice.ports = slice.ports.iter().cloned().chain([slice_port(word)]).collect(),
        }
    }
    slice
}

fn add_endpoint<'a>(slice: &mut Slice, address: IpAddr, words: impl Iterator<Item = &'a str>) {
    let (mut ready, mut serving, mut terminating) = (true, true, false);
    let (mut hostname, mut pod, mut topology) = (None, None, Topology::default());
    let hints = |list: &str| Some(list.split(',').filter(|hint| !hint.is_empty()).map(Text::from).collect());
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("on", node) => topology.node = Some(node.into()),
            ("unready", _) => (ready, serving) = (false, false),
            ("tolerated", _) => ready = true,
            ("terminating", _) => (ready, terminating) = (false, true),
            ("gone", _) => (ready, serving, terminating) = (false, false, true),
            ("zone", zone) => topology.zone = Some(zone.into()),
            ("zones", list) => topology.zone_hints = hints(list),
            ("nodes", list) => topology.node_hints = hints(list),
            ("host", name) => hostname = Some(name),
            ("pod", name) => pod = Some(name),
            _ => panic!("unknown word for an endpoint: {word}"),
        }
    }
    let at = slice.endpoints.len();
    let endpoint = Endpoint { at: at as Index, address, ready, serving, terminating, topology: Arc::new(topology) };
    let hostnames = (0..at).map(|at| slice.hostname(at)).chain([hostname]).collect();
    let pods = (0..at).map(|at| slice.pod(at)).chain([pod]).collect();
    slice.names = Some(Box::new(EndpointNames { hostnames, pods }));
    slice.endpoints = slice.endpoints.iter().cloned().chain([endpoint]).collect();
}

fn ingress<'a>(words: impl Iterator<Item = &'a str>) -> Ingress {
    let mut options = RouteOptions::default();
    let mut ingress = Ingress {
        class: None,
        class_annotation: None,
        created_at_secs: 0,
        default_backend: None,
        rules: Vec::new(),
        tls: Vec::new(),
        options: Arc::default(),
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("at", secs) => ingress.created_at_secs = parse(secs),
            ("class", class) => ingress.class = Some(class.into()),
            ("annotation", class) => ingress.class_annotation = Some(class.into()),
            ("default", name) => ingress.default_backend = Some(backend(name)),
            ("tls", tls) => {
                let (secret, hosts) = tls.split_once(':').unwrap_or((tls, ""));
                let hosts = hosts.split(',').filter(|host| !host.is_empty()).map(Text::from).collect();
                let at = ingress.tls.len() as Index;
                ingress.tls.push(IngressTls { at, hosts, secret: (!secret.is_empty()).then(|| secret.into()) });
            }
            ("use-regex", _) => options.use_regex = true,
            ("rewrite", target) => options.rewrite_target = Some(target.into()),
            ("canary", weight) => options.canary = Some(Canary { weight: parse(weight), weight_total: 100, ..Canary::default() }),
            ("alias", name) => options.aliases.push(name.into()),
            ("www", _) => options.from_to_www = true,
            (rule, name) if rule.contains('/') => {
                let (host, path) = rule.split_at(rule.find('/').unwrap());
                let path = match path {
                    exact if exact.ends_with('!') => PathMatch::Exact(exact.trim_end_matches('!').into()),
                    regex if regex.ends_with('~') => PathMatch::Regex(regex.trim_end_matches('~').into()),
                    prefix => PathMatch::Prefix(prefix.into()),
                };
                let host = (!host.is_empty()).then(|| Text::from(host));
                let paths = vec![IngressPath { at: 0, path, backend: backend(name) }];
                ingress.rules.push(IngressRule { at: ingress.rules.len() as Index, host, paths });
            }
            _ => panic!("unknown word for an ingress: {word}"),
        }
    }
    ingress.options = Arc::new(options);
    ingress
}

fn backend(word: &str) -> IngressBackend {
    let Some((name, port)) = word.split_once(':') else { return IngressBackend::Resource(word.into()) };
    IngressBackend::Service { name: name.into(), port: backend_port(port) }
}

fn backend_port(port: &str) -> BackendPort {
    port.parse().map_or_else(|_| BackendPort::Name(port.into()), BackendPort::Number)
}

pub(crate) fn upstream_key(word: &str) -> UpstreamKey {
    let (name, port) = word.rsplit_once(':').expect("a port");
    UpstreamKey { service: service_name(name), port: backend_port(port) }
}

fn service_name(name: &str) -> ServiceName {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    ServiceName::new(namespace, name)
}

fn ingress_name(name: &str) -> IngressName {
    let ServiceName { namespace, name } = service_name(name);
    IngressName { namespace, name }
}

fn parse<T: FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no {}", std::any::type_name::<T>()))
}

// === views as lines ===

pub(crate) fn show_packets(view: &NodeView) -> String {
    let mut out = String::new();
    let mut services: Vec<_> = view.services.iter().collect();
    services.sort_by_key(|(key, _)| *key);
    for (key, service) in services {
        write!(out, "{} {}", key.service, service.cluster_ip).unwrap();
        service.external_ips.iter().for_each(|ip| write!(out, " eip={ip}").unwrap());
        service.load_balancer_ips.iter().for_each(|ip| write!(out, " lb={ip}").unwrap());
        service.source_ranges.iter().flatten().for_each(|range| write!(out, " range={range}").unwrap());
        service.affinity.iter().for_each(|affinity| write!(out, " affinity={}", affinity.as_secs()).unwrap());
        if !service.masquerade_external {
            out.push_str(" keeps-source");
        }
        if let Some(check) = &service.health_check {
            write!(out, " hc={}:{}", check.port.0, check.local_endpoints).unwrap();
        }
        out.push('\n');
        for port in &service.ports {
            write!(out, "  {}:{}/{}", port.name, port.port, port.protocol.lower()).unwrap();
            port.node_port.iter().for_each(|port| write!(out, "@{}", port.0).unwrap());
            write!(out, " internal {} external {}", show_verdict(&port.internal), show_verdict(&port.external)).unwrap();
            if port.external_from_inside != port.external {
                write!(out, " inside {}", show_verdict(&port.external_from_inside)).unwrap();
            }
            if *port.serving != *port.external_from_inside.endpoints() {
                write!(out, " serving {:?}", port.serving).unwrap();
            }
            out.push('\n');
        }
    }
    out
}

pub(crate) fn show_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::To(endpoints) => format!("{endpoints:?}"),
        Verdict::Reject => "reject".into(),
        Verdict::Drop => "drop".into(),
    }
}

pub(crate) fn show_names(view: &NameView) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (name, service) in view.services.iter() {
        let mut line = format!("{name} {:?}", service.kind);
        service.external_ips.iter().for_each(|ip| write!(line, " eip={ip}").unwrap());
        service.load_balancer.iter().for_each(|lb| write!(line, " {lb:?}").unwrap());
        for port in &service.ports {
            write!(line, " {}:{}/{}", port.name, port.port, port.protocol.lower()).unwrap();
        }
        service.sorted_endpoints().iter().for_each(|endpoint| line += &show_endpoint("", endpoint));
        lines.push(line);
    }
    for (name, import) in view.imports.iter() {
        let mut line = format!("import {name} {:?}", import.import.ips);
        import.sorted_endpoints().iter().for_each(|(cluster, endpoint)| line += &show_endpoint(cluster, endpoint));
        lines.push(line);
    }
    lines.extend(view.namespaces.iter().map(|(name, _)| format!("namespace {name}")));
    lines.extend(view.pods.iter().map(|(name, pod)| format!("pod {}/{} {:?}", name.namespace, name.name, pod.ips)));
    lines.sort();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn show_endpoint(cluster: &str, endpoint: &crate::name::NamedEndpoint<'_>) -> String {
    let mut line = format!("\n  {}", endpoint.address);
    endpoint.hostname.iter().for_each(|host| write!(line, " host={host}").unwrap());
    endpoint.pod.iter().for_each(|pod| write!(line, " pod={pod}").unwrap());
    if !cluster.is_empty() {
        write!(line, " cluster={cluster}").unwrap();
    }
    endpoint.ports.iter().for_each(|port| write!(line, " {}:{}/{}", port.name, port.port, port.protocol.lower()).unwrap());
    line
}

pub(crate) fn show_routes(view: &RouteView) -> String {
    let mut lines: Vec<String> = view.hosts.iter().map(|(key, host)| show_host(&key.host, host)).collect();
    lines.extend(view.upstreams.iter().map(|(key, upstream)| {
        let what = match &**upstream {
            Upstream::Endpoints(endpoints) => format!("{endpoints:?}"),
            Upstream::External { host, port } => format!("{host}:{port}"),
            Upstream::Absent => "absent".into(),
        };
        format!("upstream {}:{} {what}", key.service, show_port(&key.port))
    }));
    lines.extend(view.secrets.iter().map(|(name, _)| format!("secret {name}")));
    lines.sort();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn show_host(pattern: &HostPattern, host: &Host) -> String {
    let mut line = match pattern {
        HostPattern::Exact(host) => format!("host {host}"),
        HostPattern::Wildcard(suffix) => format!("host *.{suffix}"),
        HostPattern::Any => "host <any>".into(),
    };
    if host.tls {
        line += " tls";
    }
    host.aliases.iter().for_each(|alias| write!(line, " alias={alias}").unwrap());
    if host.from_to_www {
        line += " www";
    }
    host.certificates.iter().for_each(|secret| write!(line, " cert={secret}").unwrap());
    for route in &host.routes {
        let (kind, path) = match &route.path {
            PathMatch::Exact(path) => ("=", path),
            PathMatch::Prefix(path) => ("^", path),
            PathMatch::Regex(path) => ("~", path),
        };
        write!(line, "\n  {kind} {path} -> {}", show_action(route)).unwrap();
    }
    if let Some(route) = &host.default_backend {
        write!(line, "\n  else -> {}", show_action(route)).unwrap();
    }
    line
}

fn show_action(route: &Route) -> String {
    let Action::Forward(backends) = &route.action else { return "404".into() };
    let backends: Vec<_> =
        backends.iter().map(|backend| format!("{}:{}", backend.upstream.service, show_port(&backend.upstream.port))).collect();
    let canary = route.canary.as_ref().map_or_else(String::new, |canary| {
        format!(" canary {}:{} {}%", canary.upstream.service, show_port(&canary.upstream.port), canary.terms.weight)
    });
    format!("{}{canary} ({} {})", backends.join(" "), route.origin.object.name, route.origin.field)
}

fn show_port(port: &BackendPort) -> String {
    match port {
        BackendPort::Number(number) => number.to_string(),
        BackendPort::Name(name) => name.to_string(),
    }
}

pub(crate) fn show_issues(issues: &Issues) -> String {
    issues.iter().map(|(object, issue)| format!("{object}: {issue}\n")).collect()
}
