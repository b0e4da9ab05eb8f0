//! How soon a changed view is answered at the size of a big cluster: 10,000 Services with 15 endpoints each.
//!
//! From the view that is sent to the first answer over UDP that has the change, asked for one question behind the other; the time of one
//! question is told beside it, since it is in every figure. `cargo bench -p rutter-dns -- 1000 10000`; exits 1 above its goal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::facts::{Endpoint, Namespace, Slice, SlicePort};
use model::name::{NamedKind, NamedService};
use model::{Family, NameView, Protocol, Revision, ServiceName};
use runtime::{Registry, drain};
use tokio::sync::watch;

const N_ENDPOINTS: u32 = 15;
const N_CHANGES: u64 = 500;

/// The goal of the project, for the middle of all changes: a machine that others share holds up a few of them.
const MAX_DELAY: Duration = Duration::from_millis(1);
/// An answer that is not there by then is not coming.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let sizes: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000] } else { sizes };
    println!("| services x {N_ENDPOINTS} | a change until it is answered, p50 / p99 us | one question us |\n|---|---|---|");
    let mut missed = false;
    for n in sizes {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        missed |= runtime.block_on(measure(n)) > MAX_DELAY;
    }
    if missed {
        println!("missed: {MAX_DELAY:?}");
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Gives the median.
async fn measure(n: u32) -> Duration {
    let mut view = NameView { revision: Revision(1), ..NameView::default() };
    view.namespaces.put(Revision(1), "default".into(), Some(Arc::new(Namespace::default())));
    for i in 0..n {
        view.services.put(Revision(1), name(i), Some(Arc::new(service(i, 0))));
    }
    let (views, names) = watch::channel(Arc::new(view.clone()));
    let corefile = dns::config::Corefile::parse(".:53 {\n kubernetes cluster.local\n}").expect("a Corefile");
    let config = dns::Config { corefile, listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))] };
    let (trigger, drain) = drain::channel();
    let running = dns::start(config, names, None, drain, Registry::default()).expect("started");
    running.readiness.wait().await;

    let server = running.listening[0];
    let measuring = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let (mut delays, mut questions) = (Vec::new(), Vec::new());
        for change in 0..N_CHANGES {
            let i = (change * 7_919 % u64::from(n)) as u32;
            let turn = 1 + change as u32;
            view.revision = Revision(2 + change);
            view.services.put(view.revision, name(i), Some(Arc::new(service(i, turn))));
            let (next, wanted) = (Arc::new(view.clone()), address(i, N_ENDPOINTS - 1, turn).octets());
            let question = question(&format!("service-{i}"));
            let started = Instant::now();
            views.send_replace(next);
            loop {
                let asked = Instant::now();
                let answer = ask(&socket, &question);
                questions.push(asked.elapsed());
                // Data of four octets, behind their count: nothing else in the answer reads so.
                if answer.windows(6).any(|octets| octets[..2] == [0, 4] && octets[2..] == wanted) {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "the change is not answered");
            }
            delays.push(started.elapsed());
        }
        (delays, questions)
    });
    let (mut delays, mut questions) = measuring.await.expect("no panic");
    delays.sort_unstable();
    questions.sort_unstable();
    let p50 = delays[delays.len() / 2];
    let p99 = delays[delays.len() * 99 / 100];
    println!("| {n} | {} / {} | {} |", p50.as_micros(), p99.as_micros(), questions[questions.len() / 2].as_micros());
    trigger.drain().await;
    p50
}

fn ask(socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 4_096];
    socket.send(question).expect("sent");
    let length = socket.recv(&mut buffer).expect("an answer in time");
    buffer[..length].to_vec()
}

/// `<service>.default.svc.cluster.local. A`, with EDNS for all addresses to fit.
fn question(service: &str) -> Vec<u8> {
    let mut wire = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in [service, "default", "svc", "cluster", "local"] {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.extend([0, 0, 1, 0, 1]);
    // OPT of 4,096 octets.
    wire.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    wire
}

fn name(i: u32) -> ServiceName {
    ServiceName::new("default", format!("service-{i}"))
}

/// Endpoint `slot` of a Service; the last one is another with each `turn`.
fn address(i: u32, slot: u32, turn: u32) -> Ipv4Addr {
    let moves = if slot + 1 == N_ENDPOINTS { turn * 0x0010_0000 % 0x0080_0000 } else { 0 };
    Ipv4Addr::from(0x0a10_0000 + i * N_ENDPOINTS + slot + moves)
}

fn service(i: u32, turn: u32) -> NamedService {
    let endpoint = |slot| Endpoint {
        at: slot as _,
        address: IpAddr::from(address(i, slot, turn)),
        ready: true,
        serving: true,
        terminating: false,
        topology: Arc::default(),
    };
    let slice = Slice {
        service: name(i),
        family: Family::V4,
        ports: [SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }].into_iter().collect(),
        endpoints: (0..N_ENDPOINTS).map(endpoint).collect(),
        names: None,
        labels: Arc::default(),
        triggered_at_ms: None,
    };
    NamedService {
        kind: NamedKind::Headless,
        ports: Vec::new(),
        slices: [Arc::new(slice)].into(),
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        labels: Arc::default(),
        triggered_at_ms: None,
    }
}
