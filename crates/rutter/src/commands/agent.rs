//! `rutter agent`: proxy, dns and ingress of one node in one process, on one watch of the objects.

use std::net::SocketAddr;

use clap::Args;
use model::resolve::Want;

use super::dns::{DnsFlags, NodeLocalFlags};
use super::ingress::IngressFlags;
use super::objects::ObjectsFlags;
use super::proxy::{self as packets, ProxyFlags};
use crate::app::{App, host_name};
use crate::feed;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten, next_help_heading = packets::HEADING)]
    pub proxy: ProxyFlags,
    #[command(flatten, next_help_heading = super::dns::HEADING)]
    pub dns: DnsFlags,
    #[command(flatten, next_help_heading = super::dns::HEADING)]
    pub node_local: NodeLocalFlags,
    /// Answer DNS here in place of the Corefile's ports and addresses (repeatable)
    #[arg(long, value_name = "ADDR:PORT", help_heading = super::dns::HEADING)]
    pub dns_listen: Vec<SocketAddr>,
    #[command(flatten, next_help_heading = super::ingress::HEADING)]
    pub ingress: IngressFlags,
    /// Where /healthz and /metrics of the ingress are served
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:10254", help_heading = super::ingress::HEADING)]
    pub ingress_status: SocketAddr,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    let config = flags.proxy.config()?;
    let on_node = flags.node_local.on(|| config.node_name.clone().map_or_else(host_name, Ok))?;
    let corefile = flags.dns.corefile()?;
    let origin = flags.objects.origin(packets::api(&config))?;
    let want = Want { packets: true, names: true, routes: true };
    let model = model::Config { ingress: flags.ingress.model()?, ..packets::model(&config, want)? };
    packets::can_run(&config)?;
    // Nothing is started that would inherit the score: this is the whole of a node's service network.
    proxy::prepare(&config);
    let mut app = App::new(
        "agent",
        source::Config { model, on_demand: feed::on_demand(&corefile.needs(), on_node.as_ref().map(|on_node| &*on_node.node)) },
        origin,
    )
    .await?;
    app.start_proxy(config)?;
    app.start_ingress(flags.ingress.config()?, flags.ingress_status, "--ingress-status")?;
    let config = dns::Config { corefile, listen: flags.dns_listen };
    super::dns::start(&mut app, config, "--dns-listen", on_node, None).await?.run(app).await
}
