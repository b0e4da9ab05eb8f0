//! `rutter render`: the rules a mode would program, as text; touches nothing.

use clap::Args;
use model::resolve::Want;

use super::objects::ObjectsFlags;
use super::proxy::{self as packets, ProxyFlags};
use crate::app;
use crate::output;

#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub objects: ObjectsFlags,
    #[command(flatten)]
    pub proxy: ProxyFlags,
}

pub async fn run(flags: Box<Flags>) -> anyhow::Result<()> {
    let config = flags.proxy.config()?;
    let origin = flags.objects.origin(packets::api(&config))?;
    let look = app::look(packets::model(&config, Want { packets: true, ..Want::default() })?, origin).await?;
    let view = look.source.node.borrow().clone();
    output::lines(proxy::render(&view, &config)?);
    Ok(())
}
