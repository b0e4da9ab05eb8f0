//! The Node object and its heartbeat: that this node is there, what it has, and that it is well.
//!
//! Source: kubelet's `nodestatus/setters.go` and `kubelet_node_status.go`, KEP-589 (heartbeats by Leases).

use std::time::{Duration, SystemTime};

use client::lease::Candidate;
use client::{Event, Freshness, Method, Pace, Scope, follow};
use kernel::sysctl;
use runtime::time::Rfc3339;
use runtime::{Backoff, Pending};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use crate::Config;
use crate::host::{Shared, blocking};

/// kubelet's own: renewed every quarter.
const LEASE: Duration = Duration::from_secs(40);
/// The status is written this often although nothing changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// kubelet's default `maxPods`.
const MAX_PODS: u32 = 110;

const MERGE: &str = "application/merge-patch+json";

/// Runs until it is aborted.
pub(crate) async fn run(config: Config, host: Shared, ready: Pending) {
    let (registered, node_uid) = watch::channel(String::new());
    tokio::join!(heartbeat(&config, node_uid), keep_registered(&config, &host, ready, registered));
}

/// `node_uid` is empty until the Node is there: the Lease belongs to it.
async fn heartbeat(config: &Config, mut node_uid: watch::Receiver<String>) {
    let mut lease = Candidate::new(config.client.clone(), "kube-node-lease", &config.name, &config.name, LEASE);
    loop {
        let Ok(uid) = node_uid.wait_for(|uid| !uid.is_empty()).await.map(|uid| uid.clone()) else { return };
        lease.owner = Some(json!({"apiVersion": "v1", "kind": "Node", "name": config.name, "uid": uid}));
        if let Err(error) = lease.try_hold().await {
            debug!(%error, "the heartbeat of this node was not written");
            sleep(Duration::from_secs(1)).await;
            continue;
        }
        sleep(LEASE / 4).await;
    }
}

/// Creates the Node, and again should somebody delete it; writes its status.
async fn keep_registered(config: &Config, host: &Shared, ready: Pending, registered: watch::Sender<String>) {
    let (events, mut nodes) = mpsc::channel(16);
    let scope = Scope { fields: format!("metadata.name={}", config.name), ..Scope::default() };
    let lower = |node: api::Node| node;
    tokio::spawn(follow(config.client.clone(), scope, Pace::default(), Freshness::default(), lower, events));
    let mut ready = Some(ready);
    let mut retry = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut due = Some(Instant::now());
    let mut addresses = host.addresses.clone();
    loop {
        tokio::select! {
            Ok(()) = addresses.changed() => due = Some(Instant::now()),
            Some(event) = nodes.recv() => match event {
                Event::Restarted { objects, .. } if objects.is_empty() => due = Some(Instant::now()),
                Event::Deleted(_) => due = Some(Instant::now()),
                _ => {}
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = Some(match write(config, host).await {
                    Ok(uid) => {
                        registered.send_replace(uid);
                        ready = None;
                        retry.reset();
                        Instant::now() + STATUS_EVERY
                    }
                    Err(error) => {
                        let delay = retry.delay();
                        if ready.is_some() {
                            warn!(node = %config.name, %error, "the Node could not be written, trying again");
                        }
                        Instant::now() + delay
                    }
                });
            }
        }
    }
}

/// Gives the Node's UID.
async fn write(config: &Config, host: &Shared) -> Result<String, client::Error> {
    let path = format!("/api/v1/nodes/{}", config.name);
    // What others put on the Node (taints, labels, cordon) stays: ours is merged into it.
    let node = object(config);
    let known = match config.client.call(Method::PATCH, &path, Some((MERGE, &node))).await {
        Err(error) if error.code() == Some(404) => {
            config.client.call(Method::POST, "/api/v1/nodes", Some(("application/json", &node))).await?
        }
        known => known?,
    };
    let uid = known["metadata"]["uid"].as_str().unwrap_or_default().to_string();
    let (addresses, name) = (host.addresses.borrow().clone(), config.name.clone());
    let version = config.version.clone();
    let status = blocking(move || {
        let addresses = addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}));
        let addresses: Value = addresses.chain([json!({"type": "Hostname", "address": name})]).collect();
        status(&Machine::read(), addresses, &version, &known, SystemTime::now())
    })
    .await;
    config.client.call(Method::PATCH, &format!("{path}/status"), Some((MERGE, &json!({"status": status})))).await?;
    Ok(uid)
}

fn object(config: &Config) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": go_arch(),
    });
    for (name, value) in &config.labels {
        labels[name] = value.as_str().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": config.name, "labels": labels},
        "spec": {
            "podCIDR": config.cidrs.first().map(ToString::to_string),
            "podCIDRs": config.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}

/// What this machine says of itself; empty where it does not.
#[derive(Debug, Default)]
struct Machine {
    n_cpus: usize,
    memory_kib: u64,
    kernel: String,
    boot_id: String,
    machine_id: String,
    os_image: String,
}

// === impl Machine ===

impl Machine {
    fn read() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let meminfo = file("/proc/meminfo");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let os_release = file("/etc/os-release");
        let os_image = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            n_cpus: std::thread::available_parallelism().map_or(1, Into::into),
            memory_kib: total.and_then(|total| total.split_whitespace().next()?.parse().ok()).unwrap_or(0),
            kernel: sysctl::read("kernel.osrelease").unwrap_or_default(),
            boot_id: sysctl::read("kernel.random.boot_id").unwrap_or_default(),
            machine_id: file("/etc/machine-id").trim().to_string(),
            os_image: os_image.unwrap_or("Linux").trim_matches('"').to_string(),
        }
    }
}

fn status(machine: &Machine, addresses: Value, version: &str, known: &Value, now: SystemTime) -> Value {
    let resources = json!({"cpu": machine.n_cpus.to_string(), "memory": format!("{}Ki", machine.memory_kib), "pods": MAX_PODS.to_string()});
    let condition = |name: &str, status: &str, reason: &str, message: &str| {
        let now = Rfc3339(now).to_string();
        let conditions = known["status"]["conditions"].as_array().into_iter().flatten();
        let same = conditions.into_iter().find(|known| known["type"] == name && known["status"] == status);
        let since = same.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(&now).to_string();
        json!({"type": name, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": since})
    };
    json!({
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "rutter runs pods on this node"),
        ],
        "nodeInfo": {
            "architecture": go_arch(),
            "bootID": machine.boot_id,
            "containerRuntimeVersion": concat!("process://", env!("CARGO_PKG_VERSION")),
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.machine_id,
        },
    })
}

/// Architectures as Go, and so Kubernetes, names them.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let known = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "DiskPressure", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}});
        let status = status(&Machine { n_cpus: 2, memory_kib: 7, ..Machine::default() }, json!([]), "v1.37.0", &known, UNIX_EPOCH);
        let times: Vec<_> =
            status["conditions"].as_array().into_iter().flatten().map(|known| known["lastTransitionTime"].as_str()).collect();
        assert_eq!(times[1..], [Some("1970-01-01T00:00:00Z"), Some("1970-01-01T00:00:00Z"), Some("2026-01-01T00:00:00Z")]);
        assert_eq!(status["capacity"], json!({"cpu": "2", "memory": "7Ki", "pods": "110"}));
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let machine = Machine::read();
        assert!(machine.n_cpus > 0 && machine.memory_kib > 0 && machine.kernel.contains('.'), "{machine:?}");
    }
}
