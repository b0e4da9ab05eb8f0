//! Ending one container: hook, then TERM, then KILL. And running the hooks themselves.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use crate::host::blocking;
use crate::probe::{self, Probed};
use crate::shim;
use crate::spec::Handler;

const TERM: i32 = 15;
const KILL: i32 = 9;

/// However long a hook took, a container has this long after TERM (kubelet's `minimumGracePeriodInSeconds`).
const LEAST_AFTER_TERM: Duration = Duration::from_secs(2);

/// Ends the container of the shim in `probed`: `pre_stop` and `unreachable` first, then TERM, and KILL at `deadline`. Without grace KILL at once.
///
/// Abort the task when the container has ended.
pub(super) async fn stop(
    probed: Probed,
    pre_stop: Option<Handler>,
    unreachable: impl Future<Output = ()>,
    grace: Duration,
    failed: impl FnOnce(String),
) {
    let deadline = Instant::now() + grace;
    if !grace.is_zero() {
        let hook = async {
            if let Some(handler) = &pre_stop
                && let Err(why) = run(handler, &probed, grace).await
            {
                failed(why);
            }
        };
        // Both have to be over; neither may cost the other's time.
        let _ = timeout_at(deadline, async { tokio::join!(hook, unreachable) }).await;
        signal(probed.shim.clone(), TERM).await;
        sleep_until(deadline.max(Instant::now() + LEAST_AFTER_TERM)).await;
    }
    signal(probed.shim, KILL).await;
}

/// Runs a lifecycle hook.
pub(super) async fn run(handler: &Handler, probed: &Probed, within: Duration) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        return probe::command(exec.command.clone(), probed, within).await;
    }
    if let Some(get) = &handler.http_get {
        return tokio::time::timeout(within, probe::http(get, probed)).await.unwrap_or_else(|_| Err("no answer in time".to_string()));
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
    }
    Ok(())
}

/// A shim that does not answer has ended, and its container with it.
async fn signal(shim: PathBuf, signal: i32) {
    let answer = blocking(move || shim::ask(&shim, &shim::Request::Signal(signal))).await;
    if let Ok(shim::Answer::Failed(why)) = answer {
        warn!(signal, why, "a container could not be signalled");
    }
}
