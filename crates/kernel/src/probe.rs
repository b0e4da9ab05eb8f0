//! What this kernel can do for us, told so that an operator knows what to change.

use crate::Errno;
use crate::nft::{CommitError, Family, Nft};

/// Why nf_tables cannot be used here.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("nf_tables needs CAP_NET_ADMIN: run as root, or in a container with securityContext.capabilities.add: [NET_ADMIN]")]
    NoNetAdmin,
    #[error("this kernel has no nf_tables: load the module (modprobe nf_tables nft_chain_nat) or use another kernel")]
    NoNfTables,
    #[error("nf_tables mode needs Linux {major}.{minor}, this is {found}", major = NEEDED.0, minor = NEEDED.1)]
    TooOld { found: String },
    #[error("nf_tables cannot be asked: {0}")]
    Other(CommitError),
}

/// The first version whose `reject` works in prerouting and whose maps take concatenations of data: kube-proxy's own limit.
const NEEDED: (u32, u32) = (5, 13);

/// Whether nf_tables answers, may be written, and is new enough.
pub fn nf_tables() -> Result<(), ProbeError> {
    new_enough(release()?)?;
    // Even a listing needs CAP_NET_ADMIN in the user namespace of the network namespace.
    match Nft::open().and_then(|mut nft| nft.tables(Family::Ip)) {
        Ok(_) => Ok(()),
        Err(CommitError::Socket { errno: Errno::EPERM }) => Err(ProbeError::NoNetAdmin),
        Err(CommitError::Socket { errno: Errno(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL) }) => Err(ProbeError::NoNfTables),
        Err(other) => Err(ProbeError::Other(other)),
    }
}

/// Something that a kernel has or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// What it says instead, and what to do about it; none if it is there.
    pub missing: Option<String>,
}

/// What this network namespace's kernel can do of all that any part of ours may ask for. Nothing is changed, no module is loaded by us
/// (the kernel itself loads those that a question needs).
pub fn features() -> Vec<Feature> {
    let feature = |name, found: Result<(), String>| Feature { name, missing: found.err() };
    let file = |path: &str, hint: &str| if std::path::Path::new(path).exists() { Ok(()) } else { Err(hint.to_owned()) };
    vec![
        feature("nf_tables", nf_tables().map_err(|error| error.to_string())),
        feature("conntrack", file("/proc/sys/net/netfilter/nf_conntrack_max", "load the module nf_conntrack")),
        feature("ip_tables", file("/proc/net/ip_tables_names", "load the module iptable_nat")),
        feature("ipset", crate::ipset::names().map(drop).map_err(|errno| format!("load the module ip_set ({errno})"))),
        feature("IPVS", file("/proc/net/ip_vs", "load the module ip_vs")),
        feature("IPv6", file("/proc/net/if_inet6", "it is disabled (ipv6.disable=1)")),
        feature("overlayfs", has_filesystem("overlay")),
        feature("cgroup v2", file("/sys/fs/cgroup/cgroup.controllers", "mount cgroup2 at /sys/fs/cgroup")),
        feature("BPF", file("/proc/sys/kernel/unprivileged_bpf_disabled", "needs CONFIG_BPF_SYSCALL")),
        feature("BTF", file("/sys/kernel/btf/vmlinux", "needs CONFIG_DEBUG_INFO_BTF")),
    ]
}

fn has_filesystem(name: &str) -> Result<(), String> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let found = known.lines().any(|line| line.split_whitespace().last() == Some(name));
    if found { Ok(()) } else { Err(format!("load the module {name}")) }
}

/// The kernel's release, as `uname -r` says it.
pub fn release() -> Result<String, ProbeError> {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .map_err(|error| ProbeError::Other(CommitError::Socket { errno: error.into() }))
}

/// A release that says no version is taken for a new one.
fn new_enough(found: String) -> Result<(), ProbeError> {
    if version(&found).is_some_and(|v| v < NEEDED) { Err(ProbeError::TooOld { found }) } else { Ok(()) }
}

pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_there_or_says_what_to_do() {
        let features = features();
        assert!(features.iter().all(|feature| feature.missing.as_ref().is_none_or(|why| !why.is_empty())), "{features:?}");
        // Without it no test of packets could run.
        assert!(features.iter().any(|feature| feature.name == "nf_tables" && feature.missing.is_none()), "{features:?}");
    }

    #[test]
    fn reads_the_release_of_any_distribution() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert_eq!(version("strange"), None);
    }

    #[test]
    fn an_old_kernel_is_told_what_is_needed() {
        let told = |release: &str| new_enough(release.to_owned()).err().map(|error| error.to_string());
        assert_eq!(told("5.4.0-150-generic").as_deref(), Some("nf_tables mode needs Linux 5.13, this is 5.4.0-150-generic"));
        assert_eq!(told("5.13.0"), None);
        assert_eq!(told("strange"), None);
    }
}
