//! The embedded API alone, for trying it out: `serve DATA-DIR LISTEN`. Writes DATA-DIR/kubeconfig and serves until SIGINT.

use std::sync::Arc;

use apiserver::{Config, NoKubelet, start};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let data_dir = std::path::PathBuf::from(arguments.next().unwrap_or_else(|| "data".to_owned()));
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:6443".to_owned()).parse()?;
    let (trigger, drain) = runtime::drain::channel();
    let config = Config {
        kubeconfig_out: data_dir.join("kubeconfig"),
        data_dir,
        listen,
        also_listen: Vec::new(),
        advertise: None,
        service_cidrs: vec!["10.96.0.0/12".parse()?],
        cluster_domain: "cluster.local".to_owned(),
        kubelet: Arc::new(NoKubelet),
    };
    let running = start(config, drain, runtime::Registry::default()).await?;
    println!("ready {}", running.kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    trigger.drain().await;
    Ok(())
}
