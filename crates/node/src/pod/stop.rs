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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;

    use super::*;
    use crate::spec::{Exec, Sleep};

    /// A shim that does what it is asked and says so; what happened besides stands in the same list.
    async fn check(name: &str, pre_stop: Option<Handler>, grace: Duration) -> Vec<String> {
        let dir = std::env::temp_dir().join(format!("rutter-stop-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        let listener = UnixListener::bind(dir.join("shim.sock")).expect("a socket");
        let events = Arc::new(Mutex::new(Vec::new()));
        let note = |events: &Arc<Mutex<Vec<String>>>, what: &str| events.lock().expect("no panic").push(what.to_string());
        let (signalled, mut signals) = mpsc::channel(4);
        let noted = events.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).expect("a request");
                note(&noted, line.trim());
                let answer = if line.contains("exec") { r#"{"exited":{"exit_code":1,"output":"no"}}"# } else { r#""done""# };
                writeln!(stream, "{answer}").expect("answered");
                if line.contains("signal") && signalled.blocking_send(()).is_err() {
                    return;
                }
            }
        });
        let probed = Probed { pod_ip: [127, 0, 0, 1].into(), ports: Vec::new(), shim: dir.clone() };
        let (unreachable, failed) = (events.clone(), events.clone());
        let unreachable = async move {
            tokio::task::yield_now().await;
            note(&unreachable, "unreachable");
        };
        let failed = move |why: String| note(&failed, &format!("hook failed: {why}"));
        let stopping = tokio::spawn(stop(probed, pre_stop, unreachable, grace, failed));
        signals.recv().await.expect("a signal");
        stopping.abort();
        std::fs::remove_dir_all(&dir).expect("removed");
        let events = events.lock().expect("no panic");
        events.clone()
    }

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn nothing_is_sent_to_a_container_any_more_before_it_gets_term() {
        assert_eq!(check("term", None, GRACE).await, ["unreachable", r#"{"signal":15}"#]);
        let nap = Handler { sleep: Some(Sleep { seconds: 0 }), ..Handler::default() };
        assert_eq!(check("nap", Some(nap), GRACE).await, ["unreachable", r#"{"signal":15}"#]);
    }

    #[tokio::test]
    async fn a_hook_that_fails_is_told_and_holds_up_nothing() {
        let hook = Handler { exec: Some(Exec { command: vec!["x".to_string()] }), ..Handler::default() };
        let mut events = check("hook", Some(hook), GRACE).await;
        assert_eq!(events.pop().as_deref(), Some(r#"{"signal":15}"#));
        assert!(events.contains(&"hook failed: no".to_string()), "{events:?}");
    }

    #[tokio::test]
    async fn without_grace_it_is_killed_at_once() {
        assert_eq!(check("kill", None, Duration::ZERO).await, [r#"{"signal":9}"#]);
    }
}
