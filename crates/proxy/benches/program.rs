//! What the rules cost at the size of a big cluster: from nothing, one changed endpoint, and a restart over what is there.
//!
//! Views are made here, so that what is measured is the proxy and the kernel: each of N Services has 5 endpoints and one cluster IP. Time is
//! from the view that is sent to the revision in force; CPU is of all threads of this process, the kernel's work for it included.
//! `cargo bench -p rutter-proxy -- 1000 50000` (as root; makes a network namespace of its own); exits 1 above its goals.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use model::node::{NodeKey, NodeService, NodeServicePort, Verdict};
use model::{Family, NodeView, Protocol, Revision, ServiceName};
use proxy::Config;
use runtime::{Registry, drain};
use tokio::sync::watch;

const N_ENDPOINTS: u32 = 5;
const N_CHANGES: u64 = 200;

/// Goals of the project.
const MAX_CHANGE: Duration = Duration::from_millis(1);
const MAX_CHANGE_CPU: Duration = Duration::from_micros(500);
const MAX_RSS_MB: u64 = 150;

fn main() -> ExitCode {
    let sizes: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 5_000, 10_000, 50_000] } else { sizes };
    println!(
        "| services x {N_ENDPOINTS} | from nothing s (CPU s) | change p50 / p99 us | CPU us | restart s (CPU s) | rewritten | RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for n in sizes {
        let ns = Netns::new("proxy-bench");
        missed.extend(ns.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(measure(n))
        }));
    }
    missed.iter().for_each(|goal| println!("missed: {goal}"));
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(n: u32) -> Vec<String> {
    let mut view = NodeView { revision: Revision(1), globals_at: Revision(1), ..NodeView::default() };
    for i in 0..n {
        view.services.put(Revision(1), key(i), Some(Arc::new(service(i, 0))));
    }
    let (views, receiver) = watch::channel(Arc::new(view.clone()));
    let (first, mut running, stop) = start(receiver.clone(), 1).await;

    let mut times = Vec::new();
    let cpu = cpu_time();
    for change in 0..N_CHANGES {
        let i = (change * 7_919 % u64::from(n)) as u32;
        view.revision = Revision(2 + change);
        view.services.put(view.revision, key(i), Some(Arc::new(service(i, 1 + change as u32))));
        let start = Instant::now();
        views.send_replace(Arc::new(view.clone()));
        let wanted = view.revision;
        running.applied.wait_for(|now| *now == wanted).await.expect("the thread lives");
        times.push(start.elapsed());
    }
    let change_cpu = (cpu_time() - cpu) / N_CHANGES as u32;
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    stop.drain().await;
    drop(running);

    let (again, _running, stop) = start(receiver, view.revision.0).await;
    let rss = rss_mb();
    println!(
        "| {n} | {:.2} ({:.2}) | {} / {} | {} | {:.2} ({:.2}) | {} | {rss} |",
        first.took.as_secs_f64(),
        first.cpu.as_secs_f64(),
        p50.as_micros(),
        p99.as_micros(),
        change_cpu.as_micros(),
        again.took.as_secs_f64(),
        again.cpu.as_secs_f64(),
        again.written
    );
    stop.drain().await;
    let goals = [
        (p50 > MAX_CHANGE, format!("{n}: a change takes {p50:?}")),
        (change_cpu > MAX_CHANGE_CPU, format!("{n}: a change costs {change_cpu:?}")),
        (again.written > 0, format!("{n}: a restart wrote {} elements and rules", again.written)),
        (rss > MAX_RSS_MB, format!("{n}: {rss} MiB resident")),
    ];
    goals.into_iter().filter(|(missed, _)| *missed).map(|(_, goal)| goal).collect()
}

struct Started {
    took: Duration,
    cpu: Duration,
    /// Elements and rules written.
    written: u64,
}

async fn start(views: watch::Receiver<Arc<NodeView>>, revision: u64) -> (Started, proxy::Running, drain::Trigger) {
    let config = Config::parse("{mode: nftables, clusterCIDR: 10.0.0.0/8}").expect("a valid file");
    let (trigger, drain) = drain::channel();
    let registry = Registry::default();
    let (begin, cpu) = (Instant::now(), cpu_time());
    let mut running = proxy::start(config, views, drain, &registry).expect("started");
    running.applied.wait_for(|now| now.0 == revision).await.expect("the thread lives");
    let (took, cpu) = (begin.elapsed(), cpu_time() - cpu);
    let metrics = registry.render();
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map_or(0, |n| n as u64)
    };
    let written = value("rutter_proxy_elements_total") + value("rutter_proxy_rules_total");
    (Started { took, cpu, written }, running, trigger)
}

fn key(i: u32) -> NodeKey {
    NodeKey { service: ServiceName::new("default", format!("service-{i}")), family: Family::V4 }
}

/// Service `i`; every `turn` has another last endpoint.
fn service(i: u32, turn: u32) -> NodeService {
    let endpoint = |slot: u32| {
        let address = 0x0a10_0000 + i * N_ENDPOINTS + slot + if slot + 1 == N_ENDPOINTS { turn * 0x0010_0000 % 0x0080_0000 } else { 0 };
        SocketAddr::new(Ipv4Addr::from(address).into(), 8080)
    };
    let endpoints: Arc<[SocketAddr]> = (0..N_ENDPOINTS).map(endpoint).collect();
    let port = NodeServicePort { name: "http".into(), ..NodeServicePort::new(Protocol::Tcp, 80, Verdict::To(endpoints)) };
    NodeService { ports: vec![port], ..NodeService::new(IpAddr::from(Ipv4Addr::from(0x0ac0_0000 + i))) }
}

/// On the CPU, all threads that live; none ends while it is looked at.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let nanos = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
