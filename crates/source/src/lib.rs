//! Source: where objects come from, and how they become views.
//!
//! Owns lowering (api -> model), the one task that holds the model, the file origin, the API origin, and what goes back to the API.
//! Hands on views through `tokio::sync::watch`: level-triggered, the latest wins, so a slow sink never holds up a fast one. Must not
//! know sinks, modes, or how the embedded API server stores.
//!
//! ```text
//! files | API ──► Told (changes) ──► task: Model::update ──► node, names, routes, issues (watch)
//! ```
//! No view is published before every required kind was listed once; optional kinds are waited for by nobody. Two kinds ([`Demand`]) are
//! followed only while somebody asks for them, which may change at any time.

mod cluster;
mod demand;
mod files;
mod interests;
mod lower;
mod report;
mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::Freshness;
use model::{Issues, Model, NameView, NodeView, RouteView};
use runtime::{Drain, Pending, Registry};
use tokio::sync::{mpsc, watch};

pub use demand::{Demand, OnDemand, Pods, Refused};
pub use interests::{Interest, Permission, interests, permissions};
pub use report::Report;
use task::Task;

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A JSON or YAML file, or a folder of them, followed as it changes.
    Files(PathBuf),
    Api(client::Origin),
}

/// What is to be known.
#[derive(Clone, Debug)]
pub struct Config {
    pub model: model::Config,
    /// What is asked for at the start already.
    pub on_demand: OnDemand,
}

/// The views as they come, and ways to ask and to tell.
pub struct Running {
    pub node: watch::Receiver<Arc<NodeView>>,
    pub names: watch::Receiver<Arc<NameView>>,
    /// The names that are known before all are: not told any more once `names` are out.
    pub early_names: watch::Receiver<Arc<NameView>>,
    pub routes: watch::Receiver<Arc<RouteView>>,
    pub issues: watch::Receiver<Arc<Issues>>,
    pub inspector: Inspector,
    /// What sinks find wrong, and where they answer. Bounded: a sink that finds it full tries again with its next change.
    pub reports: mpsc::Sender<Report>,
    pub staleness: Staleness,
    pub demand: Demand,
    /// What is asked of the API server.
    pub requests: client::Metrics,
}

/// Says how far behind the API server the views may be.
#[derive(Clone, Debug)]
pub struct Staleness {
    of: Vec<Freshness>,
}

/// Asks the task that owns the model.
#[derive(Clone)]
pub struct Inspector {
    asks: mpsc::Sender<Ask>,
}

/// A question to the model, answered between two updates.
pub(crate) type Ask = Box<dyn FnOnce(&Model) + Send>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--objects {path}: {source}")]
    Files {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("following --objects {path}: {source}")]
    Watch {
        path: PathBuf,
        #[source]
        source: notify::Error,
    },
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// Questions and reports that may wait.
const QUEUE: usize = 256;

/// Starts following `origin`. `ready` is let go when the first views are out.
///
/// # Errors
/// When the origin cannot be read at all; what goes wrong later is retried, told as an issue and logged.
pub async fn start(config: impl Into<Config>, origin: Origin, ready: Pending, drain: Drain, registry: &Registry) -> Result<Running, Error> {
    let config = config.into();
    let (asks, asked) = mpsc::channel(QUEUE);
    let (reports, reported) = mpsc::channel(QUEUE);
    let (outlets, node, names, routes, issues) = task::outlets();
    let early_names = outlets.early_names.subscribe();
    let requests = client::Metrics::new(registry);
    let (told, client) = match origin {
        Origin::Files(path) => (files::follow(path, config.model.want, drain.clone()).await?, None),
        Origin::Api(origin) => {
            runtime::tls::install_provider();
            let client = client::Client::connect(&origin).await?.counted(requests.clone());
            (cluster::follow(client.clone(), &config, drain.clone()), Some(client))
        }
    };
    let statuses = match &client {
        Some(client) => report::Statuses::to(client.clone(), drain.clone()),
        None => report::Statuses::nowhere(),
    };
    tokio::spawn(report::tell(issues.clone(), client, drain.clone()));
    let staleness = Staleness { of: told.freshness.iter().map(|(_, freshness)| freshness.clone()).collect() };
    let (listings, listed) = watch::channel(task::Listings::new());
    let demand = Demand::new(told.demand.clone(), listed);
    let metrics = task::Metrics::new(registry);
    let task = Task { model: Model::new(config.model), told, asks: asked, reports: reported, outlets, listings, statuses, metrics, drain };
    tokio::spawn(task.run(ready));
    Ok(Running { node, names, early_names, routes, issues, inspector: Inspector { asks }, reports, staleness, demand, requests })
}

// === impl Config ===

impl From<model::Config> for Config {
    fn from(model: model::Config) -> Self {
        Self { model, on_demand: OnDemand::default() }
    }
}

// === impl Staleness ===

impl Staleness {
    /// How long the views may have been out of date: zero while everything is watched, as for files; `None` before the first lists.
    /// Kinds that the server does not let us read do not count.
    pub fn worst(&self) -> Option<Duration> {
        if self.of.is_empty() {
            return Some(Duration::ZERO);
        }
        self.of.iter().filter_map(Freshness::staleness).max()
    }
}

// === impl Inspector ===

impl Inspector {
    /// Asks the model; `None` once its task has ended.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Model) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let ask = Box::new(move |model: &Model| {
            // Whoever asked may have gone away.
            let _ = answer.send(question(model));
        });
        self.asks.send(ask).await.ok()?;
        answered.await.ok()
    }
}
