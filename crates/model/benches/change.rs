//! What one changed endpoint costs in a big cluster, and what the cluster costs in memory.
//!
//! 50,000 Services of 5 endpoints, every tenth behind an Ingress; all three views. Each step replaces one endpoint of one Service
//! while a reader holds the views of the step before, takes the new ones and walks the difference, as the sinks do. CPU time is the
//! thread's own from `/proc`, so that a busy machine counts for nothing. `cargo bench -p rutter-model`; exits 1 above its goals.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::facts::PathMatch;
use model::facts::{
    BackendPort, Change, Endpoint, EndpointNames, Ingress, IngressBackend, IngressClass, IngressName, IngressPath, IngressRule, Labels,
    Node, Service, ServicePort, Slice, SlicePort, TargetPort, Topology,
};
use model::options::RouteOptions;
use model::resolve::Want;
use model::{Changed, Config, Family, Model, Protocol, ServiceName, SliceName, Text, View, Views};

const N_SERVICES: usize = 50_000;
const N_ENDPOINTS: usize = 5;
const N_CHANGES: usize = 5_000;
const N_NAMESPACES: usize = 200;
const N_NODES: usize = 1_000;

/// Goals of the project: CPU per change, and the whole process at 250,000 endpoints.
const MAX_MICROS: f64 = 200.0;
const MAX_MEGABYTES: f64 = 200.0;
/// About twice what was seen: a change must not come to cost what the cluster has.
const MAX_ALLOCATIONS: usize = 150;

struct Counting;

static N_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` as it came; counting touches nothing else.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        N_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The names that many objects share, each once, as `source` interns them.
struct Names {
    namespaces: Vec<Text>,
    node: Text,
    zone: Text,
    topologies: Vec<Arc<Topology>>,
    http: Text,
    labels: Arc<Labels>,
    options: Arc<RouteOptions>,
}

fn main() {
    let names = Names {
        namespaces: (0..N_NAMESPACES).map(|at| format!("team-{at}").into()).collect(),
        node: node_name(0),
        zone: zone_name(0),
        topologies: (0..N_NODES).map(topology).collect(),
        http: "http".into(),
        labels: Arc::default(),
        options: Arc::default(),
    };
    let config = Config { node_name: names.node.clone(), want: Want { packets: true, names: true, routes: true }, ..Config::default() };
    let mut model = Model::new(config);
    let rss_before = rss_megabytes();
    let live_before = LIVE_BYTES.load(Ordering::Relaxed);
    let cpu_before = cpu_nanos();
    model.update([
        Change::Node(names.node.clone(), Some(Arc::new(Node { zone: Some(names.zone.clone()), ..Node::default() }))),
        Change::IngressClass("nginx".into(), Some(IngressClass { controller: "k8s.io/ingress-nginx".into(), is_default: false })),
    ]);
    // By pages, as lists come.
    for page in (0..N_SERVICES).collect::<Vec<_>>().chunks(500) {
        let services = page.iter().map(|at| Change::Service(service_name(&names, *at), Some(Arc::new(service(&names, *at)))));
        let slices = page.iter().map(|at| slice_change(&names, *at, 0));
        let ingresses = page.iter().filter(|at| *at % 10 == 0).map(|at| ingress(&names, *at));
        model.update(services.chain(slices).chain(ingresses));
    }
    let load_ms = (cpu_nanos() - cpu_before) as f64 / 1e6;
    let live = (LIVE_BYTES.load(Ordering::Relaxed) - live_before) as f64 / 1e6;
    let rss = rss_megabytes();

    let changes: Vec<Change> = (0..N_CHANGES).map(|at| slice_change(&names, at * 10 * 7 % N_SERVICES, 1 + at / N_SERVICES)).collect();
    let mut last = model.views().clone();
    let (mut most, mut all, mut differences) = (0, 0, 0);
    let cpu_before = cpu_nanos();
    for change in changes {
        let before = N_ALLOCATIONS.load(Ordering::Relaxed);
        let views = model.update([change]);
        differences += difference(&last, &views);
        last = views;
        let allocations = N_ALLOCATIONS.load(Ordering::Relaxed) - before;
        most = most.max(allocations);
        all += allocations;
    }
    let micros = (cpu_nanos() - cpu_before) as f64 / 1e3 / N_CHANGES as f64;
    assert_eq!(differences, 3 * N_CHANGES, "each change shows once in each view");

    println!("{N_SERVICES} services x {N_ENDPOINTS} endpoints, {} ingresses, {N_CHANGES} changes", N_SERVICES / 10);
    println!("| what                                              | measured | goal    |");
    println!("|---------------------------------------------------|----------|---------|");
    println!("| one endpoint: resolve + three differences, CPU us | {micros:8.1} | {MAX_MICROS:7.0} |");
    println!("| allocations per change, mean                      | {:8.1} |         |", all as f64 / N_CHANGES as f64);
    println!("| allocations per change, most                      | {most:8} | {MAX_ALLOCATIONS:7} |");
    println!("| first load of everything, CPU ms                  | {load_ms:8.0} |         |");
    println!("| facts and views, MB allocated                     | {live:8.1} |         |");
    println!("| process, MB resident (before: {rss_before:4.1})                | {rss:8.1} | {MAX_MEGABYTES:7.0} |");
    if micros > MAX_MICROS || most > MAX_ALLOCATIONS || rss > MAX_MEGABYTES {
        eprintln!("above a goal");
        std::process::exit(1);
    }
}

/// Walks what changed in each view, old value against new, as a sink does.
fn difference(old: &Views, new: &Views) -> usize {
    fn differing<K: Eq + std::hash::Hash + Clone, V: PartialEq>(changed: Changed<K>, old: &View<K, V>, new: &View<K, V>) -> usize {
        let Changed::Keys(keys) = changed else { panic!("one change, and the history is lost") };
        keys.iter().filter(|key| old.get(key) != new.get(key)).count()
    }
    differing(new.node.since(old.node.revision), &old.node.services, &new.node.services)
        + differing(new.names.services.since(old.names.revision), &old.names.services, &new.names.services)
        + differing(new.routes.upstreams.since(old.routes.revision), &old.routes.upstreams, &new.routes.upstreams)
}

fn service_name(names: &Names, at: usize) -> ServiceName {
    ServiceName { namespace: names.namespaces[at % N_NAMESPACES].clone(), name: format!("service-{at}").into() }
}

fn service(names: &Names, at: usize) -> Service {
    Service {
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + at as u32))],
        ports: vec![ServicePort {
            at: 0,
            name: names.http.clone(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
            app_protocol: None,
            target_port: TargetPort::Number(8080),
        }],
        labels: names.labels.clone(),
        annotations: names.labels.clone(),
        ..Service::default()
    }
}

fn node_name(at: usize) -> Text {
    format!("node-{at}.example.internal").into()
}

fn zone_name(at: usize) -> Text {
    format!("zone-{}", at % 3).into()
}

fn topology(node: usize) -> Arc<Topology> {
    Arc::new(Topology { node: Some(node_name(node)), zone: Some(zone_name(node)), ..Topology::default() })
}

/// The slice of one Service; the first endpoint's address tells the generation.
fn slice_change(names: &Names, at: usize, generation: usize) -> Change {
    let service = service_name(names, at);
    let name = SliceName { namespace: service.namespace.clone(), name: format!("service-{at}-x7k2p").into() };
    let ports: Arc<[SlicePort]> = [SlicePort { name: names.http.clone(), protocol: Protocol::Tcp, port: 8080 }].into();
    let endpoints = (0..N_ENDPOINTS).map(|endpoint| {
        let pod = at * N_ENDPOINTS + endpoint;
        let moved = if endpoint == 0 { generation * 0x40_0000 } else { 0 };
        Endpoint {
            at: endpoint as u32,
            address: IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (pod + moved) as u32)),
            ready: true,
            serving: true,
            terminating: false,
            topology: names.topologies[pod % N_NODES].clone(),
        }
    });
    let pods = (0..N_ENDPOINTS).map(|endpoint| Some(format!("service-{at}-5d9c7b6f4-{endpoint:05}"))).collect();
    let slice = Slice {
        service,
        family: Family::V4,
        ports,
        endpoints: endpoints.collect(),
        names: Some(Box::new(EndpointNames { pods, ..EndpointNames::default() })),
        labels: names.labels.clone(),
        triggered_at_ms: Some(1_700_000_000_000 + generation as u64),
    };
    Change::Slice(name, Some(Arc::new(slice)))
}

fn ingress(names: &Names, at: usize) -> Change {
    let ServiceName { namespace, name } = service_name(names, at);
    let backend = IngressBackend::Service { name: name.clone(), port: BackendPort::Number(80) };
    let rule = IngressRule {
        at: 0,
        host: Some(format!("{name}.example.com").into()),
        paths: vec![IngressPath { at: 0, path: PathMatch::Prefix("/".into()), backend }],
    };
    let ingress = Ingress {
        class: Some("nginx".into()),
        class_annotation: None,
        created_at_secs: at as u64,
        default_backend: None,
        rules: vec![rule],
        tls: Vec::new(),
        options: names.options.clone(),
    };
    Change::Ingress(IngressName { namespace, name }, Some(Arc::new(ingress)))
}

/// CPU time of this thread so far.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel's schedstat");
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds first")
}

fn rss_megabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).expect("kB") / 1e3
}
