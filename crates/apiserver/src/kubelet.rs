//! What the server asks of whoever runs the Pods. `rutter` gives it the node of its own process; a server alone has none.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

/// What of a container's log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// The node that the Pod is on.
    pub node: String,
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    /// Go on as more is written.
    pub follow: bool,
    /// Of the container's last run but one.
    pub previous: bool,
    pub timestamps: bool,
    pub since_seconds: Option<u64>,
    /// RFC 3339.
    pub since_time: Option<String>,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
}

/// Why a node does not give a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is none (yet); answered as 400 BadRequest.
    #[error("{0}")]
    NotThere(String),
    /// The node cannot be asked; answered as 500.
    #[error("{0}")]
    Unreachable(String),
}

/// What is asked of the nodes that run Pods.
pub trait Kubelet: Send + Sync + 'static {
    /// Gives the pieces of a log as they come; the end of the channel is the end of the log.
    fn logs(&self, request: LogRequest) -> Pin<Box<dyn Future<Output = Result<mpsc::Receiver<Bytes>, LogError>> + Send + '_>>;
}

/// A cluster without any node that could be asked.
pub struct NoKubelet;

impl Kubelet for NoKubelet {
    fn logs(&self, request: LogRequest) -> Pin<Box<dyn Future<Output = Result<mpsc::Receiver<Bytes>, LogError>> + Send + '_>> {
        let LogRequest { node, namespace, pod, container, .. } = request;
        let url = format!("https://{node}:10250/containerLogs/{namespace}/{pod}/{container}");
        let error = LogError::Unreachable(format!("Get {url:?}: dial tcp: lookup {node}: no such host"));
        Box::pin(std::future::ready(Err(error)))
    }
}
