//! Called as `node-cache`: NodeLocal DNSCache's flags and template, and then a server that forwards and caches.
//!
//! Nothing of the API is followed: the manifest that this stands in for gives no right to it. Source: kubernetes/dns `cmd/node-cache`.

mod flags;
mod template;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dns::config::Corefile;
use proxy::node_local::{Config, NodeLocal};
use runtime::metrics::IntCounterVec;
use runtime::status::{self, Page};
use runtime::{Drain, Registry};
use tokio::sync::watch;
use tracing::{info, warn};

use self::flags::Told;
use self::template::{KubeDns, Template};
use crate::feed::Never;
use crate::usage::Usage;
use crate::{app, output, process};

/// How often the template is looked at; upstream's time.
const EVERY: Duration = Duration::from_secs(10);
const NO_API: &str = "node-cache does not follow the API, so it has no `kubernetes`: `rutter dns --node-local` has";

/// Runs what `args`, the words behind the program's name, ask for. Mistakes are a [`Usage`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let told = Told::parse(args.into_iter().map(|arg| arg.to_string_lossy().into_owned()))?;
    if told.version {
        super::version::name();
        return Ok(());
    }
    runtime::log::init(if told.quiet { "warn" } else { "info" }, runtime::log::Format::Text);
    super::version::log();
    told.warnings.iter().for_each(|warning| warn!("{warning}"));
    if let Err(error) = kernel::limits::raise_open_files() {
        warn!(%error, "cannot raise the limit of open files");
    }
    process::block_on(serve(told))
}

async fn serve(told: Told) -> anyhow::Result<()> {
    let variable = template::variable_of(&told.upstream_service);
    let cluster_dns = std::env::var(&variable).ok().and_then(|text| text.parse().ok());
    let template = Template { base: told.base.clone(), local: told.local_ips.clone(), port: told.port, cluster_dns, variable };
    let kube_dns = told.kube_dns.clone();
    let text = template.render(&KubeDns::read(&kube_dns)?).map_err(Usage)?;
    put(&told.conf, &text).with_context(|| format!("writing -conf {}", told.conf.display()))?;
    let corefile = Corefile::read_on(&told.conf, told.port).map_err(super::dns::usage)?;
    if corefile.needs().names {
        return Err(Usage(NO_API.into()).into());
    }
    let (trigger, drain) = runtime::drain::channel();
    let errors = serve_metrics(&told, &drain)?;
    let mut node_local = NodeLocal::place(Config {
        addresses: told.local_ips.clone(),
        port: told.port,
        health_port: Some(told.health_port),
        interface: Some(told.interface.clone()),
        set_up_interface: told.set_up_interface,
        rules: told.set_up_rules,
    })
    .context("-localip")?;
    if told.skip_teardown {
        node_local.keep();
    }
    // The last view is there for ever; nobody sends another.
    let (_, names) = watch::channel(Arc::default());
    let inputs = dns::Inputs { names, early: None, applied: None, fresh: None, feed: Some(Arc::new(Never(NO_API))) };
    super::dns::start_alone(corefile, Vec::new(), inputs, drain.clone(), Registry::default())?;
    let servers = told.local_ips.iter().map(|ip| SocketAddr::new(*ip, told.port)).collect();
    let pid_file = told.pid_file.clone();
    if let Some(path) = &pid_file {
        std::fs::write(path, std::process::id().to_string()).with_context(|| format!("-pidfile {}", path.display()))?;
    }
    output::line("ready");
    tokio::select! {
        stop = app::stop_signal() => stop?,
        () = follow(&template, &kube_dns, &told.conf, text, &errors) => {}
        () = keep_pending(crate::node_local::supervise(&node_local, servers, drain.clone(), || errors.with_label_values(&["iptables"]).inc())) => {}
    }
    info!("stopping");
    // From here on nothing is exempted any more; what was asked is still answered.
    if !told.skip_teardown {
        node_local.hand_back();
    }
    drop(drain);
    trigger.drain().await;
    if let Some(path) = pid_file {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Runs something that goes on until the process ends, whatever becomes of it.
async fn keep_pending(work: impl Future<Output = ()>) {
    work.await;
    std::future::pending().await
}

/// Upstream's page of its own errors.
fn serve_metrics(told: &Told, drain: &Drain) -> anyhow::Result<IntCounterVec> {
    let registry = Registry::default();
    let errors = registry.counter_vec(
        "coredns_nodecache_setup_errors_total",
        "The number of errors during periodic network setup for node-cache",
        &["errortype"],
    );
    ["iptables", "iptables_lock", "interface_add", "interface_check", "configmap"]
        .iter()
        .for_each(|kind| _ = errors.with_label_values(&[kind]));
    if let Some(address) = told.metrics {
        let pages: status::Pages = Arc::new(move |ask| (ask.path == "/metrics").then(|| Page::metrics(&registry)));
        status::serve(address, pages, drain.clone()).context("-metrics-listen-address")?;
    }
    Ok(errors)
}

/// Writes the Corefile anew when what it is made of has changed; the server takes it up by its `reload`.
async fn follow(template: &Template, kube_dns: &Path, conf: &Path, mut written: String, errors: &IntCounterVec) {
    let mut last_error = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let made = KubeDns::read(kube_dns).map_err(|error| error.to_string()).and_then(|kube_dns| template.render(&kube_dns));
        let done = match made {
            Ok(text) if text == written => Ok(()),
            Ok(text) => {
                let put = put(conf, &text).map_err(|error| format!("writing {}: {error}", conf.display()));
                info!(conf = %conf.display(), "wrote the Corefile anew");
                written = text;
                put
            }
            Err(error) => Err(error),
        };
        let error = done.err();
        if let Some(error) = error.as_ref().filter(|error| last_error.as_ref() != Some(*error)) {
            errors.with_label_values(&["configmap"]).inc();
            warn!(%error, "kept the Corefile as it was");
        }
        last_error = error;
    }
}

/// Puts a file in place whole: whoever reads it meanwhile sees the old or the new one.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, text)?;
    std::fs::rename(next, path)
}
