//! Answering: the cluster's names, and on behalf of others the rest of the world's.
//!
//! Owns the Corefile, the records made from a NameView, the cache, forwarding and the listeners. Hands on nothing but answers and
//! counts. Must not know Kubernetes objects on the wire, watches, or kernel rules.
//!
//! ```text
//!             ┌─ UDP thread: parse, route, one look-up, write ──────────────► reply     (cluster names, cache hits)
//! datagram ───┤
//!             └─ everything else ─► task ─► plugin ─► plugin ─► ... ────────► reply     (aliases, forwarding, transfers, TCP)
//!
//! NameView ──► follow: what changed ──► snapshot (immutable, swapped) ◄── read by both
//! ```

pub mod config;
mod name;
pub mod plugins;
pub mod probe;
mod server;
pub mod trace;
mod wire;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::{NameView, Revision};
use runtime::listen::BindError;
use runtime::{Drain, Readiness, Registry};
use tokio::sync::watch;

use crate::config::{Corefile, Needs};
pub use crate::name::{Name, NameError};
use crate::server::live::Server;

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Config {
    pub corefile: Corefile,
    /// `--listen`: in place of the ports and `bind` addresses of every block.
    pub listen: Vec<SocketAddr>,
}

/// What a server is told by others while it runs.
#[derive(Clone)]
pub struct Inputs {
    /// The names; a view of revision 0 says that nothing is known yet.
    pub names: watch::Receiver<Arc<NameView>>,
    /// What is known of them before all are: answered from once `startup_timeout` has passed, with nothing denied.
    pub early: Option<watch::Receiver<Arc<NameView>>>,
    /// The revision that a proxy in this process has put into the kernel: new ClusterIP names wait for it.
    pub applied: Option<watch::Receiver<Revision>>,
    /// Whether the names are up to date, as far as their source knows. While they are not, `/ready` says no and everything is
    /// answered as before.
    pub fresh: Option<watch::Receiver<bool>>,
    /// Asked before a changed Corefile is taken up. `None`: the names hold all that there is.
    pub feed: Option<Arc<dyn Feed>>,
}

/// Whoever fills the names, and may have to be told what is looked for in them.
pub trait Feed: Send + Sync {
    /// Fills the names with this and no more from now on: done when the last view that was sent holds it.
    ///
    /// # Errors
    /// A sentence for the operator, if that cannot be.
    fn feed(&self, needs: Needs) -> Feeding<'_>;

    /// Whether only pods of this node ask, and the names hold them where a Corefile completes searches.
    fn knows_who_asks(&self) -> bool {
        false
    }
}

pub type Feeding<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// A server that runs until its drain starts.
pub struct Running {
    /// The DNS addresses that were bound, ports filled in.
    pub listening: Vec<SocketAddr>,
    /// Those of `/health`, `/ready` and `/metrics`.
    pub status: Vec<SocketAddr>,
    /// Pending until the first names are in force.
    pub readiness: Readiness,
    /// The Corefile that is in force.
    pub corefile: watch::Receiver<Arc<Corefile>>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Of a changed Corefile: why the objects that it needs are not to be had.
    #[error("what its `kubernetes` needs cannot be had: {0}")]
    NotFed(String),
    #[error("what its `kubernetes` needs is not known after {0:?} (startup_timeout): it is tried again")]
    NotYetFed(Duration),
}

/// As [`start_with`], of a source whose freshness nobody tells.
///
/// # Errors
/// As there.
pub fn start(
    config: Config,
    names: watch::Receiver<Arc<NameView>>,
    applied: Option<watch::Receiver<Revision>>,
    drain: Drain,
    registry: Registry,
) -> Result<Running, Error> {
    start_with(config, Inputs { names, early: None, applied, fresh: None, feed: None }, drain, registry)
}

/// Binds everything, then answers as soon as the first names are known (or the Corefile's `startup_timeout` has passed). Must be
/// called in a tokio runtime.
///
/// A Corefile that came from a file is read again on SIGHUP or SIGUSR1 and, with `reload`, when it changes. A `drain` that starts lets
/// the Corefile's `lameduck` pass, then what was asked is answered, then the listeners close.
///
/// # Errors
/// An address that cannot be bound, by name; nothing runs then.
pub fn start_with(config: Config, inputs: Inputs, drain: Drain, registry: Registry) -> Result<Running, Error> {
    let server = Server::bind(config, inputs, drain, registry)?;
    let running = server.running();
    tokio::spawn(server.serve());
    Ok(running)
}
