//! What the API asks of a node: logs, from the node of this process.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apiserver::{Kubelet, LogError, LogRequest};
use bytes::Bytes;
use node::logs;
use tokio::sync::mpsc;

/// The node's logs, once there is a node.
#[derive(Default)]
pub struct NodeLogs {
    node: OnceLock<node::Running>,
}

impl NodeLogs {
    pub fn set(&self, node: node::Running) {
        // Started once.
        let _ = self.node.set(node);
    }
}

impl Kubelet for NodeLogs {
    fn logs(&self, request: LogRequest) -> Pin<Box<dyn Future<Output = Result<mpsc::Receiver<Bytes>, LogError>> + Send + '_>> {
        Box::pin(async move {
            let node = self.node.get().ok_or_else(|| LogError::Unreachable("the node is not up yet".to_string()))?;
            let since_time = request.since_time.as_deref().and_then(api::Time::parse).and_then(|time| {
                let seconds = u64::try_from(time.seconds).ok()?;
                Some(UNIX_EPOCH + Duration::new(seconds, time.nanos))
            });
            let since_seconds = request.since_seconds.map(|seconds| SystemTime::now() - Duration::from_secs(seconds));
            let options = logs::Options {
                follow: request.follow,
                previous: request.previous,
                timestamps: request.timestamps,
                tail_lines: request.tail_lines,
                since: since_time.or(since_seconds),
                limit_bytes: request.limit_bytes,
            };
            let log = node.logs(&request.uid, &request.container, options).await;
            log.map_err(|error| LogError::NotThere(format!("{error} in pod {}", request.pod)))
        })
    }
}
