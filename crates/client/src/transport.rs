//! The way to the server: kube-client's layers over connections that notice when their other end is gone.
//!
//! Owns the connections' timers. What is sent over them, and the credentials of that, are others' concern.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube_client::client::ConfigExt as _;
use kube_client::{Config, Error};
use tower::{BoxError, ServiceBuilder};

/// A watch sends nothing, so nobody hears that a server vanished without a word (its machine died, a firewall forgot the connection)
/// unless it is asked. After 45 s without an answer the connection is taken for dead, as by client-go: 30 s of silence, and three
/// questions 5 s apart.
const SILENT_FOR: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(5);
const N_QUESTIONS: u32 = 3;
/// A packet that goes nowhere is sent again after 1 s and 3 s more; whoever asks anew then is sooner than the next repetition.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// For what was sent and is not acknowledged the same as for silence: a request on a connection that died while it waited for use.
const UNHEARD_FOR: Duration = Duration::from_secs(45);

/// A client by `config`. A proxy before the server is refused by kube-client.
pub(crate) fn client(config: Config) -> Result<kube_client::Client, Error> {
    if config.proxy_url.is_some() {
        return kube_client::Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    tcp.set_keepalive(Some(SILENT_FOR));
    tcp.set_keepalive_interval(Some(ASK_EVERY));
    tcp.set_keepalive_retries(Some(N_QUESTIONS));
    tcp.set_tcp_user_timeout(Some(UNHEARD_FOR));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(kube_client::Client::new(service, config.default_namespace))
}
