//! What has to be there before a container runs: network, volumes, tokens; and the start itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use client::Method;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{Actor, Message, container_at, slot};
use crate::container::{self, Job, Refusal};
use crate::env::Facts;
use crate::files;
use crate::folder::Folder;
use crate::host::{Shared, blocking};
use crate::network::Place;
use crate::objects::{Snapshot, TokenKey, token_key};
use crate::shim;
use crate::spec::{Pod, TokenSource};
use crate::volumes::{self, VolumeError};

/// The tokens that a pod's volumes hold.
#[derive(Default)]
pub(super) struct Tokens {
    held: HashMap<TokenKey, Token>,
}

struct Token {
    text: String,
    renew_at: Instant,
}

/// A pod waits this long for a token and then tries again.
const TOKEN_WITHIN: Duration = Duration::from_secs(10);

/// Retries of what an object must come for; its coming is heard of as well.
const CONFIG_RETRY: Duration = Duration::from_secs(10);

/// An Event holds 1,024 bytes.
const MAX_IGNORED_TOLD: usize = 10;

/// What one start is made of, owned by the thread that does it.
struct Ingredients {
    pod: Arc<Pod>,
    at: usize,
    n: u32,
    folder: Folder,
    place: Place,
    snapshot: Snapshot,
    volumes: HashMap<String, PathBuf>,
}

/// How a start came out.
enum Start {
    Running(Child, shim::Running),
    Ended(shim::Ended),
    Refused(Refusal),
    Failed(std::io::Error),
}

// === impl Actor ===

impl Actor {
    /// Gives the pod its network and the files that name resolution reads. False: tried again at `not_before`.
    pub(super) async fn set_up_place(&mut self) -> bool {
        let (host, pod, folder) = (self.host.clone(), self.pod.clone(), self.folder.clone());
        match blocking(move || set_up_place(&host, &pod, &folder)).await {
            Ok(place) => {
                self.place = Some(place);
                self.retry.reset();
                self.tell_ignored();
                true
            }
            Err(why) => {
                self.not_before = Some(Instant::now() + self.retry.delay());
                self.host.events.warn(&self.pod, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"));
                false
            }
        }
    }

    /// What the pod asks for and does not get. Told once, before anything of it runs.
    fn tell_ignored(&self) {
        let (told, rest) = self.pod.ignored.split_at(self.pod.ignored.len().min(MAX_IGNORED_TOLD));
        if !told.is_empty() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let message = format!("this node runs the pod without heeding {}{more}", told.join(", "));
            self.host.events.warn(&self.pod, "FieldsIgnored", message);
        }
    }

    /// Brings the volumes up to date. False: tried again at `not_before`.
    pub(super) async fn prepare_volumes(&mut self) -> bool {
        self.volumes_due = None;
        let mut snapshot = self.host.objects.snapshot(&self.pod);
        if let Err(error) = self.tokens.renew(&self.host, &self.pod).await {
            return self.not_mounted("kube-api-access", &format!("failed to fetch token: {error}"));
        }
        snapshot.tokens = self.tokens.texts();
        let (host, pod, folder, place) = (self.host.clone(), self.pod.clone(), self.folder.clone(), self.place.clone());
        let prepared = blocking(move || prepare_volumes(&host, &pod, &folder, place.as_ref(), &snapshot)).await;
        match prepared {
            Ok(volumes) => {
                self.volumes = volumes;
                self.volumes_due = self.tokens.renew_at();
                self.retry.reset();
                true
            }
            Err((name, error)) => self.not_mounted(&name, &error.to_string()),
        }
    }

    fn not_mounted(&mut self, volume: &str, why: &str) -> bool {
        let retry_at = Instant::now() + self.retry.delay().max(Duration::from_secs(1));
        self.volumes_due = Some(retry_at);
        if self.slots.iter().all(|slot| slot.n.is_none()) {
            self.not_before = Some(retry_at);
        }
        self.host.events.warn(&self.pod, "FailedMount", format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}"));
        false
    }

    /// Starts a container. What is wrong with it is told in its state; gives when to try again.
    pub(super) async fn start(&mut self, at: usize) -> Option<Instant> {
        let place = self.place.clone()?;
        let host = self.host.clone();
        let container = container_at(&self.pod, at).clone();
        let n = self.slots[at].next_n();
        let snapshot = host.objects.snapshot(&self.pod);
        let (pod, folder, volumes) = (self.pod.clone(), self.folder.clone(), self.volumes.clone());
        let ingredients = Ingredients { pod, at, n, folder, place, snapshot, volumes };
        match blocking(move || run_shim(&host, &ingredients)).await {
            Start::Running(child, running) => {
                self.host.events.normal(&self.pod, "Created", format!("Container created: {}", container.name));
                self.host.events.normal(&self.pod, "Started", format!("Container started: {}", container.name));
                self.note_start(at, n, running.started_at_ms);
                self.await_end(at, n, Some(child));
                self.hook_or_startup(at, n);
                None
            }
            Start::Ended(ended) => {
                self.note_start(at, n, ended.started_at_ms);
                self.end(at, ended);
                self.slots[at].not_before.or_else(|| Some(Instant::now()))
            }
            Start::Refused(refusal) => {
                let (reason, message) = (refusal.reason(), refusal.to_string());
                let retry_at = Instant::now() + CONFIG_RETRY;
                let is_new = !matches!(&self.slots[at].state.now, crate::status::State::Waiting { reason: known, .. } if known == reason);
                if is_new {
                    self.host.events.warn(&self.pod, "Failed", format!("Error: {message}"));
                }
                self.slots[at].wait(reason, message);
                self.slots[at].not_before = Some(retry_at);
                Some(retry_at)
            }
            Start::Failed(error) => {
                let retry_at = Instant::now() + self.retry.delay().max(Duration::from_secs(1));
                self.host.events.warn(&self.pod, "Failed", format!("Error: {error}"));
                self.slots[at].wait("RunContainerError", error.to_string());
                self.slots[at].not_before = Some(retry_at);
                Some(retry_at)
            }
        }
    }

    fn note_start(&mut self, at: usize, n: u32, since_ms: u64) {
        let id = slot::id(&self.pod, container_at(&self.pod, at), n);
        self.slots[at].started(n, id, since_ms);
    }

    pub(super) fn await_end(&self, at: usize, n: u32, child: Option<Child>) {
        let dir = self.folder.shim(&container_at(&self.pod, at).name, n);
        let to_self = self.to_self.clone();
        tokio::spawn(async move {
            let ended = shim::wait(dir, child).await;
            // A pod that is over no longer wants to know.
            let _ = to_self.send(Message::Ended { at, n, ended }).await;
        });
    }
}

fn set_up_place(host: &Shared, pod: &Pod, folder: &Folder) -> Result<Place, String> {
    let place = match pod.spec.host_network {
        // The shim is started in the node's namespace and stays there.
        true => Place { netns: PathBuf::from("/proc/self/ns/net"), addresses: host.addresses.borrow().clone() },
        false => host.network.add(&pod.metadata.uid).map_err(|error| error.to_string())?,
    };
    let written = std::fs::create_dir_all(folder.path())
        .and_then(|()| std::fs::write(folder.place(), serde_json::to_vec(&place)?))
        .and_then(|()| write_etc(host, pod, folder, &place));
    if let Err(error) = written {
        if !pod.spec.host_network {
            host.network.remove(&pod.metadata.uid, &place);
        }
        return Err(error.to_string());
    }
    Ok(place)
}

fn write_etc(host: &Shared, pod: &Pod, folder: &Folder, place: &Place) -> std::io::Result<()> {
    let meta = &pod.metadata;
    let (name, full) = hostname(host, pod);
    let of_host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let address = place.addresses.first().copied().unwrap_or(std::net::IpAddr::from([127, 0, 0, 1]));
    std::fs::create_dir_all(folder.etc("").as_path())?;
    std::fs::write(folder.etc("resolv.conf"), files::resolv_conf(&pod.spec, &meta.namespace, &host.dns, &of_host))?;
    std::fs::write(folder.etc("hosts"), files::hosts(&pod.spec, address, &name, full.as_deref()))?;
    std::fs::write(folder.etc("hostname"), format!("{name}\n"))
}

fn hostname(host: &Shared, pod: &Pod) -> (String, Option<String>) {
    if pod.spec.host_network {
        return (host.name.clone(), None);
    }
    files::hostname(&pod.spec, &pod.metadata.name, &pod.metadata.namespace, &host.dns.domain)
}

/// The folder of each volume, or the volume that cannot be had.
fn prepare_volumes(
    host: &Shared,
    pod: &Pod,
    folder: &Folder,
    place: Option<&Place>,
    snapshot: &Snapshot,
) -> Result<HashMap<String, PathBuf>, (String, VolumeError)> {
    let pod_ip = place.and_then(|place| place.addresses.first()).map(ToString::to_string).unwrap_or_default();
    let host_ip = host.ip().map(|ip| ip.to_string()).unwrap_or_default();
    let facts = Facts { pod, pod_ip: &pod_ip, host_ip: &host_ip, node_name: &host.name };
    let mut folders = HashMap::new();
    for volume in &pod.spec.volumes {
        let source = volumes::prepare(volume, &folder.volumes(), &facts, snapshot).map_err(|error| (volume.name.clone(), error))?;
        folders.insert(volume.name.clone(), source);
    }
    Ok(folders)
}

fn run_shim(host: &Shared, ingredients: &Ingredients) -> Start {
    let Ingredients { pod, at, n, folder, place, snapshot, volumes } = ingredients;
    let (container, n) = (container_at(pod, *at), *n);
    let (hostname, _) = hostname(host, pod);
    let host_ip = host.ip().map(|ip| ip.to_string()).unwrap_or_default();
    let job = Job {
        pod,
        container,
        n,
        folder,
        netns: &place.netns,
        addresses: &place.addresses,
        hostname: &hostname,
        host_ip: &host_ip,
        node_name: &host.name,
        program: &host.program,
        snapshot,
        volumes,
    };
    let spec = match container::spec(&job) {
        Ok(spec) => spec,
        Err(refusal) => return Start::Refused(refusal),
    };
    let dir = folder.shim(&container.name, n);
    let started = prepare_dir(folder, &container.name, n, &dir).and_then(|()| shim::start(&dir, &spec));
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            let _ = std::fs::remove_dir_all(&dir);
            return Start::Failed(error);
        }
    };
    match (shim::running(&dir), shim::ended(&dir)) {
        // One that ended already is reaped by whoever waits for it.
        (Ok(Some(running)), _) => Start::Running(child, running),
        (_, Ok(Some(ended))) => {
            let mut child = child;
            let _ = child.wait();
            Start::Ended(ended)
        }
        (Err(error), _) | (_, Err(error)) => Start::Failed(error),
        (Ok(None), Ok(None)) => Start::Failed(std::io::Error::other("the shim says that it started a container but not which")),
    }
}

/// Makes the folder of a start. Of those before the last is kept, for `kubectl logs --previous`; the layer of none.
fn prepare_dir(folder: &Folder, container: &str, n: u32, dir: &Path) -> std::io::Result<()> {
    for old in folder.starts(container) {
        let _ = std::fs::remove_dir_all(folder.shim(container, old).join("layer"));
        if old + 1 < n {
            let _ = std::fs::remove_dir_all(folder.shim(container, old));
            let log = folder.log(container, old);
            let _ = std::fs::remove_file(crate::log::put_aside(&log));
            let _ = std::fs::remove_file(log);
        }
    }
    std::fs::create_dir_all(dir)
}

// === impl Tokens ===

impl Tokens {
    /// Asks for the tokens that are missing or old.
    async fn renew(&mut self, host: &Shared, pod: &Pod) -> Result<(), String> {
        let sources = pod.spec.volumes.iter().filter_map(|volume| volume.projected.as_ref()).flat_map(|projected| &projected.sources);
        for source in sources.filter_map(|source| source.service_account_token.as_ref()) {
            let key = token_key(source);
            if self.held.get(&key).is_some_and(|token| token.renew_at > Instant::now()) {
                continue;
            }
            match timeout(TOKEN_WITHIN, request(host, pod, source)).await {
                Ok(Ok(token)) => {
                    self.held.insert(key, token);
                }
                // The old one is better than none.
                Ok(Err(_)) | Err(_) if self.held.contains_key(&key) => {
                    self.held.entry(key).and_modify(|token| token.renew_at = Instant::now() + CONFIG_RETRY);
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("no answer within {} s", TOKEN_WITHIN.as_secs())),
            }
        }
        Ok(())
    }

    fn texts(&self) -> HashMap<TokenKey, String> {
        self.held.iter().map(|(key, token)| (key.clone(), token.text.clone())).collect()
    }

    fn renew_at(&self) -> Option<Instant> {
        self.held.values().map(|token| token.renew_at).min()
    }
}

async fn request(host: &Shared, pod: &Pod, source: &TokenSource) -> Result<Token, client::Error> {
    let (audience, expiration) = token_key(source);
    let meta = &pod.metadata;
    let account = if pod.spec.service_account_name.is_empty() { "default" } else { &pod.spec.service_account_name };
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": if audience.is_empty() { json!([]) } else { json!([audience]) },
            "expirationSeconds": expiration,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid},
        },
    });
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", meta.namespace);
    let answer = host.client.call(Method::POST, &path, Some(("application/json", &body))).await?;
    let text = answer["status"]["token"].as_str().unwrap_or_default().to_string();
    let lifetime = answer["spec"]["expirationSeconds"].as_u64().unwrap_or(expiration.unsigned_abs());
    // kubelet renews after four fifths.
    Ok(Token { text, renew_at: Instant::now() + Duration::from_secs(lifetime) * 4 / 5 })
}
