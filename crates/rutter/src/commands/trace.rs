//! `rutter trace TARGET`: asks the running process of this network namespace, else decides from the objects itself.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use model::resolve::Want;
use tokio::sync::watch;

use super::dns::DnsFlags;
use super::ingress::IngressFlags;
use super::objects::ObjectsFlags;
use super::proxy::{self as packets, ProxyFlags};
use crate::app::{self, admin};
use crate::feed;
use crate::output;
use crate::trace::{self, Parts, Question, Sender, Target, Trace};
use crate::usage::Usage;

#[derive(Args, Debug)]
pub struct Flags {
    /// tcp|udp|sctp://HOST:PORT, http(s)://HOST[:PORT]/PATH, or a name
    pub target: String,
    /// The record type, where the target is a name
    pub record_type: Option<String>,
    /// Who sends, or looks for the name along its search list: an address, or a Pod (default: the node)
    #[arg(long, value_name = "IP|[NAMESPACE/]POD")]
    pub from: Option<String>,
    /// The node that decides, by --objects or --kubeconfig (default: this one)
    #[arg(long, value_name = "NODE", conflicts_with = "kernel")]
    pub on: Option<String>,
    /// Also compare the rules that were decided with what the kernel holds: each difference is told, and ends it with 1
    #[arg(long)]
    pub kernel: bool,
    /// text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: String,
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten, next_help_heading = packets::HEADING)]
    pub proxy: ProxyFlags,
    #[command(flatten, next_help_heading = super::dns::HEADING)]
    pub dns: DnsFlags,
    #[command(flatten, next_help_heading = super::ingress::HEADING)]
    pub ingress: IngressFlags,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    let target = Target::parse(&flags.target, flags.record_type.as_deref()).map_err(|error| Usage(error.to_string()))?;
    if let Target::Name { name, record_type } = &target {
        dns::trace::check(name, record_type).map_err(|error| Usage(error.to_string()))?;
    }
    let from = flags.from.as_deref().map(Sender::parse);
    let question = Question { target, from, elsewhere: flags.on.is_some(), kernel: flags.kernel };
    let asks_process = flags.objects.objects.is_none() && flags.objects.kubeconfig.is_none();
    if asks_process && flags.on.is_some() {
        return Err(Usage("--on needs --objects or --kubeconfig: a running process decides for its own node alone".to_string()).into());
    }
    let trace = if asks_process { ask(&question).await? } else { decide(&flags, question).await? };
    match flags.output.as_str() {
        "json" => output::line(serde_json::to_string_pretty(&trace)?),
        "text" => output::lines(&trace),
        other => return Err(Usage(format!("-o {other}: text or json")).into()),
    }
    let n = trace.kernel.map_or(0, |differences| differences.len());
    anyhow::ensure!(n == 0, "the kernel holds other rules than were decided: {n} difference{}", if n == 1 { "" } else { "s" });
    Ok(())
}

/// Asks whichever process of this network namespace decides that: each part may run alone, and knows no more than it needs.
async fn ask(question: &Question) -> anyhow::Result<Trace> {
    let (part, what) = match &question.target {
        // Those without rules in the kernel have nothing to compare.
        _ if question.kernel => ("proxy", "has rules in the kernel"),
        Target::Packet { .. } => ("proxy", "decides about packets"),
        Target::Name { .. } => ("dns", "answers names"),
        Target::Request { .. } => ("ingress", "serves URLs"),
    };
    for name in ["agent", "up", part] {
        if let Ok(page) = admin::get(name, &format!("/trace?{}", question.to_query())).await {
            return serde_json::from_slice(&page).context("reading the answer of the running process");
        }
    }
    Err(Usage(format!("no rutter that {what} runs in this network namespace: give --objects or --kubeconfig")).into())
}

async fn decide(flags: &Flags, question: Question) -> anyhow::Result<Trace> {
    let mut config = flags.proxy.config()?;
    config.node_name = flags.on.clone().or(config.node_name);
    let want = Want { packets: true, names: true, routes: true };
    let model = model::Config { ingress: flags.ingress.model()?, ..packets::model(&config, want)? };
    let corefile = flags.dns.corefile()?;
    let config_of_source = source::Config { model, on_demand: feed::on_demand(&corefile.needs(), None) };
    let look = app::look(config_of_source, flags.objects.origin(None)?).await?;
    let parts = Parts { proxy: Some(config), corefile: Some(watch::channel(Arc::new(corefile)).1) };
    trace::ask(&look.source.inspector, question, parts).await.context("the objects went away")
}
