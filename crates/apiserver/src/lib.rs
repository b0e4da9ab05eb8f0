//! The embedded Kubernetes API: a server that kubectl and any other client take for the real one.
//!
//! Owns the store with its revisions, the verbs, watches, discovery, validation, allocation of Service addresses and ports, and who may talk to
//! it. One generic path serves all kinds; kinds are rows of a table that is read at the start, their types are data (`schema/`), what little
//! they do besides stands in hooks. Must not know who asks, what a Service is for, nor how pods run: that is for its clients.
//!
//! # The front door
//! - [`start`]: opens the store, listens, writes the kubeconfig.
//! - [`backup`] and [`restore`]: all objects as one file.
//! - [`Kubelet`]: what the server asks of whoever runs the pods.

mod answer;
mod api_state;
mod auth;
mod backup;
mod bootstrap;
mod defaults;
mod discovery;
mod fields;
mod hooks;
mod indexer;
mod kinds;
mod kubelet;
mod media;
mod names;
mod openapi;
mod patch;
mod protobuf;
mod quantity;
#[cfg(test)]
mod recorded;
mod refusal;
mod request;
mod schema;
mod selectors;
mod server;
mod store;
mod table;
#[cfg(test)]
mod testing;
mod validate;
mod value;
mod verbs;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use runtime::listen::{self, BindError, Share};
use runtime::{Drain, Registry};

use api_state::Api;
use auth::{Authority, Tokens};
use discovery::Discovery;
use hooks::Cluster;
use indexer::ByKind;
use kinds::Kinds;
use server::Server;
use store::Store;

pub use auth::PkiError;
pub use backup::{BackupError, backup, restore};
pub use kubelet::{Kubelet, LogError, LogRequest, NoKubelet};
pub use refusal::Refusal;
pub use store::StoreError;

/// How the server is to run.
pub struct Config {
    /// Holds the store and the keys; made if it is not there.
    pub data_dir: PathBuf,
    /// Where clients reach it. Port 0: any free one.
    pub listen: SocketAddr,
    /// Further addresses to listen on, such as that of the pods' bridge.
    pub also_listen: Vec<SocketAddr>,
    /// Where pods reach it: the endpoint of Service `kubernetes`. None: nowhere.
    pub advertise: Option<SocketAddr>,
    /// Where Services get their addresses from, one range per family; the first is the default family's.
    pub service_cidrs: Vec<IpNet>,
    pub cluster_domain: String,
    /// The administrator's kubeconfig, written at every start.
    pub kubeconfig_out: PathBuf,
    pub kubelet: Arc<dyn Kubelet>,
}

/// A server that answers. It stops when its drain starts.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    pub kubeconfig: PathBuf,
    /// The certificate of its authority, in PEM: what pods and other clients trust it by.
    pub ca: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the folder {path} cannot be made")]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the listener of {address} cannot be used")]
    Listener {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the objects that every cluster has cannot be made")]
    Bootstrap(#[source] Refusal),
}

/// Opens the store and starts to serve. Must be called within a tokio runtime; returns once requests are answered.
pub async fn start(config: Config, drain: Drain, registry: Registry) -> Result<Running, Error> {
    runtime::tls::install_provider();
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir).map_err(|source| Error::DataDir { path: data_dir.clone(), source })?;
    let pki = data_dir.join("pki");
    let authority = Authority::open(&pki)?;
    let issuer = format!("https://kubernetes.default.svc.{}", config.cluster_domain);
    let kinds = Arc::new(Kinds::load());
    let store = Store::open(data_dir, kinds.collections(), ByKind::of(&kinds))?;
    let api = Arc::new(Api {
        schema: schema::Schema::load(),
        store,
        kinds,
        cluster: Cluster { service_cidrs: config.service_cidrs.clone() },
        tokens: Tokens::open(&pki, issuer)?,
        kubelet: config.kubelet.clone(),
        drain: drain.clone(),
    });
    let mut listeners = Vec::new();
    for address in std::iter::once(&config.listen).chain(&config.also_listen) {
        let listener = listen::tcp(*address, Share::No)?;
        let failed = |source| Error::Listener { address: *address, source };
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        listeners.push((listener, bound));
    }
    let address = listeners[0].1;
    let (shared, advertise) = (api.clone(), config.advertise);
    let made = api.store.write(move |txn| bootstrap::ensure(txn, &shared, address.port(), advertise));
    made.await.map_err(Error::Bootstrap)?;

    let bound: Vec<IpAddr> = listeners.iter().map(|(_, address)| address.ip()).collect();
    let tls = authority.server_config(&server_names(&config.cluster_domain), &server_addresses(&config, &bound))?;
    let client = authority.client("kubernetes-admin", "system:masters")?;
    let reachable = match address.ip() {
        ip if ip.is_unspecified() => {
            SocketAddr::new(if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }, address.port())
        }
        _ => address,
    };
    let text = auth::kubeconfig(&format!("https://{reachable}"), &authority.pem, &client);
    auth::write_private(&config.kubeconfig_out, text.as_bytes())?;
    backup::serve(api.clone(), data_dir, drain.clone());
    let server = Arc::new(Server::new(api.clone(), Discovery::new(&api.kinds, &reachable.to_string()), registry));
    for (listener, _) in listeners {
        tokio::spawn(server.clone().listen(listener, tls.clone(), drain.clone()));
    }
    Ok(Running { address, kubeconfig: config.kubeconfig_out, ca: authority.pem })
}

/// The names under which pods and people know the server.
fn server_names(cluster_domain: &str) -> Vec<String> {
    let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
    service.into_iter().chain([format!("kubernetes.default.svc.{cluster_domain}"), "localhost".to_owned()]).collect()
}

fn server_addresses(config: &Config, bound: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    addresses.extend(bound.iter().filter(|address| !address.is_unspecified()));
    addresses.extend(config.advertise.map(|address| address.ip()));
    addresses.extend(config.service_cidrs.iter().map(bootstrap::first_address));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
