//! One container's start: from its spec to what a shim is told.
//!
//! Owns what kubelet calls the runtime configuration: command, environment, mounts, user. Must not know how a shim does it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::env::{self, EnvError, Facts};
use crate::folder::Folder;
use crate::objects::Snapshot;
use crate::shim;
use crate::spec::{Container, ContainerPort, Pod};
use crate::volumes::{self, VolumeError};

/// Where a container of the image `rutter/echo` finds this program.
const OWN_PROGRAM: &str = "/.rutter";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As nginx, for which `rutter/echo` stands in.
const DEFAULT_PORT: u16 = 80;

/// What one start of a container is made of.
pub(crate) struct Job<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) n: u32,
    pub(crate) folder: &'a Folder,
    pub(crate) netns: &'a Path,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) hostname: &'a str,
    pub(crate) host_ip: &'a str,
    pub(crate) node_name: &'a str,
    /// The file of this program.
    pub(crate) program: &'a Path,
    pub(crate) snapshot: &'a Snapshot,
    /// Folders by the volume's name.
    pub(crate) volumes: &'a HashMap<String, PathBuf>,
}

/// Why a container cannot be started as things are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "image {0} needs a container runtime and none is there: without one a container needs a `command` (found on this machine) or the image rutter/echo; \
         install containerd and start rutter with --container-runtime-endpoint unix:///run/containerd/containerd.sock"
    )]
    NeedsRuntime(String),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error("container has runAsNonRoot and would run as root: set runAsUser, since there is no image to say another user")]
    Root,
    #[error("no volume {0}")]
    NoVolume(String),
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

// === impl Refusal ===

impl Refusal {
    /// The word in the container's state.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refusal::NeedsRuntime(_) => "ImageNeedsRuntime",
            _ => "CreateContainerConfigError",
        }
    }
}

/// What the shim is to start.
pub(crate) fn spec(job: &Job<'_>) -> Result<shim::Spec, Refusal> {
    let Job { pod, container, folder, .. } = job;
    let is_echo = runs_echo(container);
    if container.command.is_empty() && !is_echo {
        return Err(Refusal::NeedsRuntime(container.image.clone()));
    }
    let user = user(pod, container);
    if must_not_be_root(pod, container) && user.is_none_or(|(uid, _)| uid == 0) {
        return Err(Refusal::Root);
    }
    let env = environment(job, is_echo, user)?;
    let args = env::expand_all(&container.args, &env);
    let argv = match is_echo {
        true => {
            [OWN_PROGRAM.to_string(), "echo".to_string()].into_iter().chain(if args.is_empty() { echo_flags(job) } else { args }).collect()
        }
        false => [env::expand_all(&container.command, &env), args].concat(),
    };
    let mut mounts: Vec<shim::Volume> = ["hosts", "hostname", "resolv.conf"]
        .into_iter()
        .map(|name| shim::Volume { source: Some(folder.etc(name)), target: Path::new("/etc").join(name), read_only: false })
        .collect();
    if is_echo {
        let source = Some(job.program.to_path_buf());
        mounts.push(shim::Volume { source, target: OWN_PROGRAM.into(), read_only: true });
    }
    for mount in &container.volume_mounts {
        let folder = job.volumes.get(&mount.name).ok_or_else(|| Refusal::NoVolume(mount.name.clone()))?;
        let source = sub_path(folder, &mount.sub_path)?;
        mounts.push(shim::Volume { source: Some(source), target: PathBuf::from(&mount.mount_path), read_only: mount.read_only });
    }
    Ok(shim::Spec {
        argv,
        env,
        netns: job.netns.to_path_buf(),
        hostname: job.hostname.to_string(),
        layer: folder.shim(&container.name, job.n).join("layer"),
        volumes: mounts,
        work_dir: (!container.working_dir.is_empty()).then(|| PathBuf::from(&container.working_dir)),
        user,
        log: folder.log(&container.name, job.n),
    })
}

/// Whether the container is this program's own echo server: by its image, whatever its tag or digest.
fn runs_echo(container: &Container) -> bool {
    let image = container.image.split('@').next().unwrap_or_default();
    let image = ["docker.io/", "index.docker.io/"].iter().find_map(|registry| image.strip_prefix(registry)).unwrap_or(image);
    let name = image.split(':').next().unwrap_or_default();
    name == "rutter/echo" && container.command.is_empty()
}

/// Where `rutter echo` is to listen.
fn echo_flags(job: &Job<'_>) -> Vec<String> {
    let default = [ContainerPort { container_port: DEFAULT_PORT, ..ContainerPort::default() }];
    let ports = if job.container.ports.is_empty() { &default[..] } else { &job.container.ports };
    let mut flags = Vec::new();
    for port in ports {
        let flag = match port.protocol.as_str() {
            "UDP" => "--udp",
            "TCP" | "" => "--http",
            _ => continue,
        };
        let any = IpAddr::from([0, 0, 0, 0]);
        // The own IPv6 address, since `[::]` would take the port for IPv4 as well.
        let six = job.addresses.iter().copied().find(IpAddr::is_ipv6);
        for address in std::iter::once(any).chain(six) {
            flags.extend([flag.to_string(), SocketAddr::new(address, port.container_port).to_string()]);
        }
    }
    flags
}

fn environment(job: &Job<'_>, is_echo: bool, user: Option<(u32, u32)>) -> Result<Vec<(String, String)>, EnvError> {
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    let home = if user.is_some_and(|(uid, _)| uid != 0) { "/" } else { "/root" };
    let mut given = vec![pair("PATH", PATH), pair("HOSTNAME", job.hostname), pair("HOME", home)];
    let meta = &job.pod.metadata;
    if is_echo {
        given.extend([pair("POD_NAME", &meta.name), pair("POD_NAMESPACE", &meta.namespace), pair("NODE_NAME", job.node_name)]);
    }
    given.extend(job.snapshot.links.iter().cloned());
    let pod_ip = job.addresses.first().map(IpAddr::to_string).unwrap_or_default();
    let facts = Facts { pod: job.pod, pod_ip: &pod_ip, host_ip: job.host_ip, node_name: job.node_name };
    env::environment(job.container, &facts, &given, job.snapshot)
}

/// `None`: root.
fn user(pod: &Pod, container: &Container) -> Option<(u32, u32)> {
    let (own, shared) = (container.security_context.as_ref(), pod.spec.security_context.as_ref());
    let uid = own.and_then(|context| context.run_as_user).or_else(|| shared.and_then(|context| context.run_as_user));
    let gid = own.and_then(|context| context.run_as_group).or_else(|| shared.and_then(|context| context.run_as_group));
    (uid.is_some() || gid.is_some()).then(|| (uid.unwrap_or(0), gid.unwrap_or(0)))
}

fn must_not_be_root(pod: &Pod, container: &Container) -> bool {
    let (own, shared) = (container.security_context.as_ref(), pod.spec.security_context.as_ref());
    let own = own.and_then(|context| context.run_as_non_root);
    own.or_else(|| shared.and_then(|context| context.run_as_non_root)).unwrap_or(false)
}

/// A folder or file of a volume; a folder is made where nothing is, as kubelet does.
fn sub_path(folder: &Path, path: &str) -> Result<PathBuf, VolumeError> {
    if path.is_empty() {
        return Ok(folder.to_path_buf());
    }
    let source = folder.join(volumes::inside(path)?);
    if !source.exists() {
        std::fs::create_dir_all(&source)?;
    }
    // A link inside the volume may lead anywhere: what is mounted must be of this volume.
    let real = source.canonicalize()?;
    if real.starts_with(folder.canonicalize()?) { Ok(real) } else { Err(VolumeError::Outside(path.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line (or the refusal) of the only container of a pod given as JSON.
    fn check(container: &str, addresses: &[&str]) -> String {
        let pod: Pod =
            serde_json::from_str(&format!(r#"{{"metadata":{{"name":"web","namespace":"shop"}},"spec":{{"containers":[{container}]}}}}"#))
                .expect("a pod");
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let folder = Folder::of(Path::new("/data"), "uid").expect("a UID");
        let job = Job {
            pod: &pod,
            container: &pod.spec.containers[0],
            n: 0,
            folder: &folder,
            netns: Path::new("/ns"),
            addresses: &addresses,
            hostname: "web",
            host_ip: "10.244.0.1",
            node_name: "n1",
            program: Path::new("/bin/rutter"),
            snapshot: &Snapshot::default(),
            volumes: &HashMap::new(),
        };
        match spec(&job) {
            Ok(spec) => spec.argv.join(" "),
            Err(refusal) => format!("{}: {}", refusal.reason(), refusal.to_string().split(':').next().unwrap_or_default()),
        }
    }

    #[test]
    fn the_echo_image_runs_this_program_on_the_ports_of_the_container() {
        assert_eq!(check(r#"{"image":"rutter/echo"}"#, &["10.244.0.5"]), "/.rutter echo --http 0.0.0.0:80");
        let ports = r#""ports":[{"containerPort":8080},{"containerPort":53,"protocol":"UDP"}]"#;
        assert_eq!(
            check(&format!(r#"{{"image":"docker.io/rutter/echo:1.0",{ports}}}"#), &["10.244.0.5", "fd00::5"]),
            "/.rutter echo --http 0.0.0.0:8080 --http [fd00::5]:8080 --udp 0.0.0.0:53 --udp [fd00::5]:53"
        );
        assert_eq!(check(r#"{"image":"rutter/echo","args":["--tcp","0.0.0.0:9"]}"#, &[]), "/.rutter echo --tcp 0.0.0.0:9");
    }

    #[test]
    fn a_container_that_must_not_be_root_needs_another_user() {
        let container = |user: &str| format!(r#"{{"image":"any","command":["true"],"securityContext":{{"runAsNonRoot":true{user}}}}}"#);
        assert_eq!(check(&container(""), &[]), "CreateContainerConfigError: container has runAsNonRoot and would run as root");
        assert_eq!(check(&container(r#","runAsUser":1000"#), &[]), "true");
    }

    #[test]
    fn a_command_is_run_as_given() {
        let env = r#""env":[{"name":"X","value":"1"}]"#;
        assert_eq!(check(&format!(r#"{{"image":"any","command":["sh","-c"],"args":["echo $(X)"],{env}}}"#), &[]), "sh -c echo 1");
        assert_eq!(check(r#"{"image":"rutter/echo","command":["true"]}"#, &[]), "true");
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        assert_eq!(check(r#"{"image":"nginx:1"}"#, &[]), "ImageNeedsRuntime: image nginx");
        assert_eq!(
            check(r#"{"image":"a","command":["b"],"volumeMounts":[{"name":"v","mountPath":"/v"}]}"#, &[]),
            "CreateContainerConfigError: no volume v"
        );
    }
}
