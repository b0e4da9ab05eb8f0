//! `rutter echo`: a small server that says who it is, who asked and with which headers.
//!
//! Made to stand behind Services in examples and tests: it tells what arrived, untouched. Must not know the rest of Rutter.

mod http;
mod lines;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app;

#[derive(Args, Debug)]
pub struct Flags {
    /// Answer HTTP here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Vec<SocketAddr>,
    /// Answer each line of a TCP connection here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub tcp: Vec<SocketAddr>,
    /// Answer each UDP datagram here (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub udp: Vec<SocketAddr>,
}

/// After SIGTERM: gone once nobody new came for this long. A second covers rules that still send here.
const QUIET: Duration = Duration::from_secs(1);

/// After SIGTERM: gone at the latest. The grace that `rutter up` gives a pod.
const AT_MOST: Duration = Duration::from_secs(10);

/// Who answers: told by the environment that a pod has.
#[derive(Clone, Debug, Default, serde::Serialize)]
struct Identity {
    pod: String,
    node: String,
    namespace: String,
}

/// What the listeners share.
struct Echo {
    identity: Identity,
    /// SIGTERM came: answers say `Connection: close`.
    stopping: watch::Sender<bool>,
    /// When the newest connection, line or datagram came.
    last_heard: watch::Sender<Instant>,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let flags = or_default(flags);
    let echo = Arc::new(Echo {
        identity: Identity::from_environment(),
        stopping: watch::Sender::new(false),
        last_heard: watch::Sender::new(Instant::now()),
    });
    for address in flags.http {
        http::serve(address, echo.clone()).await.with_context(|| format!("--http {address}"))?;
    }
    for address in flags.tcp {
        lines::serve_tcp(address, echo.clone()).await.with_context(|| format!("--tcp {address}"))?;
    }
    for address in flags.udp {
        lines::serve_udp(address, echo.clone()).await.with_context(|| format!("--udp {address}"))?;
    }
    app::stop_signal().await?;
    echo.stopping.send_replace(true);
    let end = Instant::now() + AT_MOST;
    loop {
        let quiet_since = (*echo.last_heard.borrow()).max(end - AT_MOST);
        let wake = (quiet_since + QUIET).min(end);
        if wake <= Instant::now() {
            return Ok(());
        }
        tokio::time::sleep_until(wake).await;
    }
}

/// Without any flag: HTTP on port 80, as nginx would.
fn or_default(mut flags: Flags) -> Flags {
    if flags.http.is_empty() && flags.tcp.is_empty() && flags.udp.is_empty() {
        flags.http.push(SocketAddr::from(([0, 0, 0, 0], 80)));
    }
    flags
}

// === impl Echo ===

impl Echo {
    fn heard(&self) {
        self.last_heard.send_replace(Instant::now());
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// One line of JSON for what came over plain TCP or UDP.
    fn line(&self, local: SocketAddr, remote: SocketAddr, body_bytes: usize) -> String {
        let mut line = self.report(local, remote, body_bytes).to_string();
        line.push('\n');
        line
    }

    fn report(&self, local: SocketAddr, remote: SocketAddr, body_bytes: usize) -> serde_json::Value {
        serde_json::json!({
            "pod": self.identity.pod,
            "node": self.identity.node,
            "namespace": self.identity.namespace,
            "local": local.to_string(),
            "remote": remote.to_string(),
            "body_bytes": body_bytes,
        })
    }
}

// === impl Identity ===

impl Identity {
    /// `POD_NAME`, `NODE_NAME`, `POD_NAMESPACE` as the downward API is used to give them; a pod's host name is its name.
    fn from_environment() -> Self {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        let mut identity = Self { pod: var("POD_NAME"), node: var("NODE_NAME"), namespace: var("POD_NAMESPACE") };
        if identity.pod.is_empty() {
            identity.pod = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string();
        }
        identity
    }
}
