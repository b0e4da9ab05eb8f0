//! The server at work: what it was started with, and how another Corefile takes its place.
//!
//! Routes are swapped under listeners that go on; only addresses that are new are bound and only those that nobody names any more are
//! closed. Snapshots are kept where the options of `kubernetes` are the same, and otherwise filled before anything is swapped, so that
//! no name is missing for a moment. A Corefile that is broken, or asks for what cannot be had, changes nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::{Drain, Readiness, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::build::{self, Parts};
use super::listener::{Listener, is_missing_family};
use super::metrics::Metrics;
use super::refresh::Refreshes;
use super::slow;
use super::status::Status;
use super::tcp;
use crate::config::{Corefile, Needs};
use crate::plugins::cache::Store;
use crate::plugins::forward::Guard;
use crate::plugins::kubernetes::{Current, Follower, Options};
use crate::plugins::{Spec, reload};
use crate::{Config, Error, Inputs, Running};

pub(crate) struct Server {
    corefile: watch::Sender<Arc<Corefile>>,
    /// In place of the Corefile's addresses, if there are any.
    listen: Vec<SocketAddr>,
    inputs: Inputs,
    drain: Drain,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    refreshes: Refreshes,
    guard: Arc<Guard>,
    tcp: tcp::Bounds,
    readiness: Readiness,
    status: Status,
    listeners: Vec<Listener>,
    followed: Vec<Kept>,
    /// Blocks made so far: each has a part of the cache of its own.
    n_blocks: u32,
}

/// Which blocks each address serves.
type Wanted = BTreeMap<SocketAddr, Vec<usize>>;

/// A snapshot and the task that keeps it up to date.
struct Kept {
    options: Options,
    current: Current,
    task: AbortHandle,
}

impl Server {
    /// Binds what the configuration asks for, and starts to follow the names.
    pub(crate) fn bind(config: Config, inputs: Inputs, drain: Drain, registry: Registry) -> Result<Self, Error> {
        let Config { corefile, listen } = config;
        let metrics = Metrics::new(&registry);
        let readiness = Readiness::default();
        let status = Status::new(readiness.clone(), inputs.fresh.clone(), registry, metrics.clone(), drain.clone());
        let mut server = Self {
            listen,
            inputs,
            drain,
            store: Arc::new(Store::new()),
            refreshes: Refreshes::start(),
            guard: Arc::default(),
            tcp: tcp::Bounds::default(),
            metrics,
            readiness,
            status,
            listeners: Vec::new(),
            followed: Vec::new(),
            n_blocks: 0,
            corefile: watch::channel(Arc::default()).0,
        };
        let (wanted, bound) = server.bind_missing(&corefile)?;
        server.listeners = bound;
        let (routes, followed) = server.build(&corefile, &wanted, &server.readiness.clone());
        server.swap(routes);
        server.followed = followed;
        server.metrics.reloaded(&corefile.text);
        server.corefile.send_replace(Arc::new(corefile));
        Ok(server)
    }

    pub(crate) fn running(&self) -> Running {
        Running {
            listening: self.listeners.iter().map(|listener| listener.address).collect(),
            status: self.status.bound(),
            readiness: self.readiness.clone(),
            corefile: self.corefile.subscribe(),
        }
    }

    /// Runs the listeners: from the first names on, to the end of the drain.
    pub(crate) async fn serve(mut self) {
        // Queries that come before that wait in the sockets, and are then answered instead of denied.
        let patience = self.patience();
        tokio::select! {
            waited = tokio::time::timeout(patience, self.readiness.wait()) => {
                if waited.is_err() {
                    warn!(?patience, "answering before the cluster's names are known");
                }
            }
            () = self.drain.started() => return,
        }
        let (later, jobs) = mpsc::channel(slow::MAX_WAITING);
        let slow = tokio::spawn(slow::run(jobs, self.metrics.clone()));
        self.listeners.iter_mut().for_each(|listener| listener.serve(&later, &self.tcp, &self.metrics));
        self.reload_until_drained(&later).await;
        drop(later);
        let pause = lameduck(&self.corefile());
        tokio::time::sleep(pause).await;
        for listener in std::mem::take(&mut self.listeners) {
            listener.stop().await;
        }
        self.followed.drain(..).for_each(|kept| kept.task.abort());
        self.status.stop().await;
        // With the threads gone nobody sends jobs any more.
        let _ = slow.await;
    }

    /// Looks at the Corefile when a signal says so and as often as it asks for itself.
    async fn reload_until_drained(&mut self, later: &mpsc::Sender<slow::Job>) {
        let drain = self.drain.clone();
        let Some(path) = self.corefile().path.clone() else { return drain.started().await };
        // CoreDNS reloads on SIGUSR1, most other servers on SIGHUP.
        let (mut hangup, mut user) = (listen_to(SignalKind::hangup()), listen_to(SignalKind::user_defined1()));
        let mut seen = self.corefile().text.clone();
        loop {
            let corefile = self.corefile();
            let pause = corefile.blocks.iter().flat_map(|block| &block.plugins).find_map(|plugin| match plugin {
                Spec::Reload(options) => Some(reload::pause(options)),
                _ => None,
            });
            tokio::select! {
                () = drain.started() => return,
                () = caught(&mut hangup) => {}
                () = caught(&mut user) => {}
                () = sleep(pause) => {}
            }
            self.reload(&path, &mut seen, later).await;
        }
    }

    /// Takes up the file's text if it is another than the one `seen`.
    async fn reload(&mut self, path: &Path, seen: &mut String, later: &mpsc::Sender<slow::Job>) {
        let (file, port): (PathBuf, u16) = (path.to_owned(), self.corefile().port);
        // A disk may take its time.
        let Ok((text, read)) = tokio::task::spawn_blocking(move || Corefile::load(&file, port)).await else { return };
        if text == *seen {
            return;
        }
        *seen = text;
        match read {
            Ok(corefile) => match self.take_up(corefile, later).await {
                Ok(()) => info!(corefile = %path.display(), "took up the changed Corefile"),
                Err(error) => {
                    self.metrics.reload_failed.inc();
                    if let Error::NotYetFed(_) = error {
                        seen.clear();
                    }
                    error!(corefile = %path.display(), %error, "refused the changed Corefile: the last one goes on");
                }
            },
            Err(mistakes) => {
                self.metrics.reload_failed.inc();
                for mistake in mistakes {
                    error!(%mistake, "refused the changed Corefile: the last one goes on");
                }
            }
        }
    }

    async fn take_up(&mut self, corefile: Corefile, later: &mpsc::Sender<slow::Job>) -> Result<(), Error> {
        let (before, needs) = (self.corefile().needs(), corefile.needs());
        // What only the last one needs is given up behind the change, so that neither lacks anything.
        let fed = self.feed(before.or(&needs), startup_timeout(&corefile)).await;
        let bound = match fed {
            Ok(()) => self.bind_missing(&corefile),
            Err(error) => Err(error),
        };
        // What is late is asked for still, so that it is there the next time.
        if bound.as_ref().is_err_and(|error| !matches!(error, Error::NotYetFed(_))) {
            let _ = self.feed(before, Duration::ZERO).await;
        }
        let (wanted, bound) = bound?;
        self.listeners.extend(bound);
        // The ones that start with this Corefile are not those that `/ready` waits for.
        let filled = Readiness::default();
        let (routes, followed) = self.build(&corefile, &wanted, &filled);
        let patience = self.patience();
        if tokio::time::timeout(patience, filled.wait()).await.is_err() {
            warn!(?patience, "going on before the cluster's names are known");
        }
        self.swap(routes);
        for gone in std::mem::replace(&mut self.followed, followed) {
            if !self.followed.iter().any(|kept| Arc::ptr_eq(&kept.current, &gone.current)) {
                gone.task.abort();
            }
        }
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.listeners).into_iter().partition(|listener| wanted.contains_key(&listener.wanted));
        self.listeners = kept;
        self.listeners.iter_mut().for_each(|listener| listener.serve(later, &self.tcp, &self.metrics));
        for listener in gone {
            info!(address = %listener.address, "no block names this address any more");
            listener.stop().await;
        }
        self.metrics.reloaded(&corefile.text);
        self.corefile.send_replace(Arc::new(corefile));
        let _ = self.feed(needs, Duration::ZERO).await;
        Ok(())
    }

    /// Has the names hold what is needed. `patience`: for how long that is waited for; zero is enough to ask.
    async fn feed(&self, needs: Needs, patience: Duration) -> Result<(), Error> {
        let Some(feed) = &self.inputs.feed else { return Ok(()) };
        match tokio::time::timeout(patience, feed.feed(needs)).await {
            Ok(fed) => fed.map_err(Error::NotFed),
            Err(_) => Err(Error::NotYetFed(patience)),
        }
    }

    fn corefile(&self) -> Arc<Corefile> {
        self.corefile.borrow().clone()
    }

    /// Binds the addresses that are not bound yet: all of them or, with an error, none.
    fn bind_missing(&mut self, corefile: &Corefile) -> Result<(Wanted, Vec<Listener>), Error> {
        let wanted = build::addresses(corefile, &self.listen);
        let mut bound: Vec<Listener> = Vec::new();
        for address in wanted.keys().filter(|address| !self.listeners.iter().any(|listener| listener.wanted == **address)) {
            let ours = self.listeners.iter().chain(&bound);
            let beside: Vec<_> = ours.filter(|listener| overlap(listener.wanted, *address)).collect();
            match Listener::bind(*address, &beside) {
                Ok(listener) => bound.push(listener),
                Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_missing_family(&error) => {
                    info!(%address, "this machine has no IPv6");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.status.update(corefile.blocks.iter().flat_map(|block| &block.plugins))?;
        Ok((wanted, bound))
    }

    /// Makes what serves a Corefile: routes by listener, and snapshots, new ones of which are pending in `filled`.
    fn build(&mut self, corefile: &Corefile, wanted: &Wanted, filled: &Readiness) -> (Vec<(usize, Vec<super::Route>)>, Vec<Kept>) {
        self.metrics.enabled.reset();
        let listening: Vec<SocketAddr> = self.listeners.iter().map(|listener| listener.address).collect();
        let local = build::local_addresses(listening.iter().copied());
        let parts = Parts {
            metrics: self.metrics.clone(),
            store: self.store.clone(),
            refreshes: self.refreshes.clone(),
            guard: self.guard.clone(),
            listen: build::with_local(&listening, &local),
            local,
            known: self.followed.iter().map(|kept| (kept.options.clone(), kept.current.clone())).collect(),
            first_block: self.n_blocks,
            own_pods: self.inputs.feed.as_ref().is_some_and(|feed| feed.knows_who_asks()),
            live: true,
            onlooker: None,
        };
        self.n_blocks += corefile.blocks.len() as u32;
        let (blocks, followed) = build::blocks(corefile, &parts);
        let routes = self.listeners.iter().enumerate().filter_map(|(at, listener)| {
            let on = wanted.get(&listener.wanted)?;
            Some((at, build::routes(corefile, &blocks, on, listener.wanted, !self.listen.is_empty())))
        });
        let routes = routes.collect();
        let followed = followed.into_iter().map(|followed| {
            let known = self.followed.iter().find(|kept| Arc::ptr_eq(&kept.current, &followed.current));
            let task = known.map(|kept| kept.task.clone()).unwrap_or_else(|| {
                let follower = Follower {
                    options: followed.options.clone(),
                    current: followed.current.clone(),
                    names: self.inputs.names.clone(),
                    early: self.inputs.early.clone(),
                    applied: self.inputs.applied.clone(),
                    metrics: self.metrics.clone(),
                    ready: Some(filled.register("kubernetes")),
                };
                tokio::spawn(follower.run()).abort_handle()
            });
            Kept { options: followed.options, current: followed.current, task }
        });
        (routes, followed.collect())
    }

    fn swap(&self, routes: Vec<(usize, Vec<super::Route>)>) {
        for (at, routes) in routes {
            self.listeners[at].routes.store(Arc::new(routes));
        }
    }

    /// How long the names of the cluster are waited for.
    fn patience(&self) -> Duration {
        self.followed.iter().map(|kept| kept.options.startup_timeout).max().unwrap_or_default()
    }
}

/// Whether one of the two has a port on all addresses that the other has on one of them.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same = one.port() == other.port() && one.port() != 0 && one.is_ipv4() == other.is_ipv4();
    same && one.ip().is_unspecified() != other.ip().is_unspecified()
}

/// How long what a Corefile needs is waited for.
fn startup_timeout(corefile: &Corefile) -> Duration {
    let plugins = corefile.blocks.iter().flat_map(|block| &block.plugins);
    let times = plugins.map(|plugin| if let Spec::Kubernetes(options) = plugin { options.startup_timeout } else { Duration::ZERO });
    times.max().unwrap_or_default()
}

fn lameduck(corefile: &Corefile) -> Duration {
    let plugins = corefile.blocks.iter().flat_map(|block| &block.plugins);
    let times = plugins.map(|plugin| if let Spec::Health(health) = plugin { health.lameduck } else { Duration::ZERO });
    times.max().unwrap_or_default()
}

fn listen_to(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| warn!(%error, "this signal will not reload the Corefile")).ok()
}

/// Waits for a signal; for ever where it cannot be caught.
async fn caught(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
