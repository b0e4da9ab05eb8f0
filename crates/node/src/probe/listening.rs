//! Whether a container listens on its ports yet: what stands for readiness where nobody wrote a probe.
//!
//! A kubelet notices a started container a second later, and so hides the moments in which the process is there and does not listen.
//! We notice at once, and rules follow within milliseconds: without this, the first connections to a new pod would be refused.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::shim;
use crate::spec::ContainerPort;

/// A container that listens on none of the ports it declares is ready all the same after this time, as with a kubelet.
const PATIENCE: Duration = Duration::from_secs(1);

/// The kernel tells nobody when a socket begins to listen.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Waits until each TCP port of `ports` is listened on in the network namespace of the container of `shim_dir`, at most a second.
pub(crate) async fn wait(shim_dir: &Path, ports: &[ContainerPort]) {
    let mut wanted: HashSet<u16> =
        ports.iter().filter(|port| matches!(&*port.protocol, "" | "TCP")).map(|port| port.container_port).collect();
    let Ok(Some(running)) = shim::running(shim_dir) else { return };
    let all_listen = async {
        loop {
            for table in ["tcp", "tcp6"] {
                let text = tokio::fs::read_to_string(format!("/proc/{}/net/{table}", running.pid)).await.unwrap_or_default();
                for port in listening(&text) {
                    wanted.remove(&port);
                }
            }
            if wanted.is_empty() {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    // Patience that ran out is an answer too.
    let _ = timeout(PATIENCE, all_listen).await;
}

/// The ports in state LISTEN (0A) of /proc/net/tcp: `sl local_address rem_address st ...`, ports in hexadecimal (proc(5)).
fn listening(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let port = local.rsplit(':').next()?;
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_count() {
        let table = "  sl  local_address rem_address   st tx_queue\n   0: 00000000:0050 00000000:0000 0A 0:0\n   1: 0100007F:1F90 0100007F:9C40 01 0:0\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), [80]);
    }
}
