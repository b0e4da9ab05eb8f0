//! Trials: a node on any API server. `node KUBECONFIG DATA NAME`.
#![allow(clippy::disallowed_methods)]
use std::io::{Read as _, Write as _};
use std::sync::Arc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "shim" => node::shim::run(args[2].as_ref()).expect("shim"),
        "echo" => {
            let l = std::net::TcpListener::bind(&args[3]).expect("bind");
            println!("echo {:?}", &args[2..]);
            for s in l.incoming() {
                let mut s = s.expect("s");
                let mut b = [0; 1024];
                let _ = s.read(&mut b);
                let body = format!("{} {}\n", std::env::var("POD_NAME").unwrap_or_default(), s.peer_addr().expect("peer"));
                println!("GET {body}");
                let _ = write!(s, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            }
        }
        "cleanup" => rt().block_on(async { node::tear_down(args[2].as_ref()).await.expect("down") }),
        _ => rt().block_on(run(args)),
    }
}
fn rt() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("rt")
}
async fn run(args: Vec<String>) {
    runtime::tls::install_provider();
    runtime::log::init("info", runtime::log::Format::Text);
    let client = client::Client::connect(&client::Origin::Kubeconfig(args[1].clone().into())).await.expect("client");
    let (trigger, drain) = runtime::drain::channel();
    let readiness = runtime::Readiness::default();
    let config = node::Config {
        name: args[3].clone(),
        data_dir: args[2].clone().into(),
        cidrs: vec!["10.244.0.0/24".parse().expect("c")],
        cluster_cidrs: vec!["10.244.0.0/16".parse().expect("c")],
        cluster_dns: [10, 96, 0, 10].into(),
        cluster_domain: "cluster.local".into(),
        addresses: vec![],
        labels: Default::default(),
        version: "v1.37.0".into(),
        client,
        gone: Arc::new(|_| Box::pin(async {})),
    };
    node::start(config, drain, &readiness).await.expect("start");
    readiness.wait().await;
    println!("ready");
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("s");
    term.recv().await;
    trigger.drain().await;
}
