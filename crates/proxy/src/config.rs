//! What the service proxy is told: kube-proxy's configuration file, read to our own terms.
//!
//! [`Config::parse`] takes a `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`) in YAML or JSON. Unknown fields are refused
//! by name and all mistakes are told at once. Fields that mean something to another mode or another system only are read and
//! forgotten. Flags are the binary's: it writes them over the fields of [`Config`].

mod duration;
mod file;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(crate) use file::{API_VERSION, KIND};
use ipnet::IpNet;
use model::Family;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub mode: ModeName,
    /// `hostnameOverride`; `None`: the host's name.
    pub node_name: Option<String>,
    /// `clientConnection.kubeconfig`.
    pub kubeconfig: Option<String>,
    /// `bindAddress`, unless it is unspecified: the node's primary address where no Node object says it.
    pub bind_address: Option<IpAddr>,
    /// Where `/healthz` is served; `None`: nowhere.
    pub healthz_bind: Option<SocketAddr>,
    /// Where `/metrics` is served; `None`: nowhere.
    pub metrics_bind: Option<SocketAddr>,
    /// A port that cannot be bound ends the process instead of being a warning.
    pub bind_hard_fail: bool,
    pub detector: LocalDetector,
    pub node_ports: NodePortAddresses,
    /// Which families have their TCP node ports on loopback too, served by a listener of our own.
    pub localhost_node_ports: Vec<Family>,
    pub masquerade_all: bool,
    /// Which bit of the packet mark says "masquerade".
    pub masquerade_bit: u8,
    /// How long a change may wait before `/healthz` complains is twice this; also how often the kernel is looked after.
    pub sync_period: Duration,
    /// The least time between two syncs.
    pub min_sync_period: Duration,
    pub feature_gates: BTreeMap<String, bool>,
    /// `oomScoreAdj`; `None` leaves the process as it was started.
    pub oom_score_adj: Option<i32>,
    pub conntrack: Conntrack,
    /// What the file asks for and this proxy does not do, each with its field: nothing that changes where a packet goes.
    pub warnings: Vec<String>,
    /// The file as it was given.
    given: serde_json::Value,
}

/// `conntrack`: what is set of the kernel's connection tracking at the start; 0 leaves a value as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    pub max_per_core: u32,
    pub min: u32,
    pub tcp_established: Duration,
    pub tcp_close_wait: Duration,
    pub tcp_be_liberal: bool,
    pub udp: Duration,
    pub udp_stream: Duration,
}

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeName {
    /// Unset: the best that this kernel can run.
    Auto,
    Nftables,
    Iptables,
    Ipvs,
    Userspace,
}

/// How a packet is known to come from a pod of this node or cluster, so that it need not be masqueraded (KEP-2450).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDetector {
    /// Nothing is known to be local: nothing is masqueraded for being foreign.
    None,
    /// By source address; at most one range of each family.
    ClusterCidr(Vec<IpNet>),
    /// The same with the `podCIDRs` of the own Node.
    NodeCidr,
    /// By the bridge it comes from.
    Bridge(String),
    /// By the first letters of the interface it comes from.
    InterfacePrefix(String),
}

/// `nodePortAddresses`: which of the node's addresses node ports are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// Every local address but loopback.
    pub all: bool,
    /// The Node's own addresses (`status.addresses`, type InternalIP).
    pub primary: bool,
    /// Loopback too.
    pub localhost: bool,
    /// Local addresses inside these.
    pub cidrs: Vec<IpNet>,
}

/// All mistakes of a configuration file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

// === impl Config ===

impl Default for Config {
    /// What an empty file says.
    fn default() -> Self {
        file::read(&serde_json::Value::Object(serde_json::Map::new())).expect("BUG: an empty configuration is valid")
    }
}

impl Config {
    /// Reads a `KubeProxyConfiguration`.
    ///
    /// # Errors
    /// Every mistake, each with the path of its field.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        file::read(&Self::read_text(text)?)
    }

    /// YAML or JSON, whatever its fields mean.
    pub(crate) fn read_text(text: &str) -> Result<serde_json::Value, ConfigErrors> {
        serde_saphyr::from_str(text).map_err(|error| ConfigErrors(vec![format!("not YAML: {error}")]))
    }

    /// Reads a `KubeProxyConfiguration` that is a value already.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn from_value(value: &serde_json::Value) -> Result<Self, ConfigErrors> {
        file::read(value)
    }

    /// Whether a feature gate is on; `default` where the file does not say.
    pub fn gate(&self, name: &str, default: bool) -> bool {
        self.feature_gates.get(name).copied().unwrap_or(default)
    }

    /// The mark's bit as a mask.
    pub(crate) fn masquerade_mark(&self) -> u32 {
        1 << self.masquerade_bit
    }

    /// For `/configz`: all that is in force, in the file's words.
    pub(crate) fn to_json(&self) -> String {
        serde_json::json!({"kubeproxy.config.k8s.io": shown::shown(self)}).to_string()
    }
}

// === impl ModeName ===

impl ModeName {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "auto" => ModeName::Auto,
            "nftables" => ModeName::Nftables,
            "iptables" => ModeName::Iptables,
            "ipvs" => ModeName::Ipvs,
            "userspace" => ModeName::Userspace,
            _ => return None,
        })
    }

    /// The mode by name; `auto` is what it stands for.
    pub fn as_str(self) -> &'static str {
        match self {
            ModeName::Auto | ModeName::Nftables => "nftables",
            ModeName::Iptables => "iptables",
            ModeName::Ipvs => "ipvs",
            ModeName::Userspace => "userspace",
        }
    }

    /// The mode that runs, where this version has it.
    ///
    /// # Errors
    /// [`crate::StartError::NotYet`].
    pub fn available(self) -> Result<ModeName, crate::StartError> {
        match self {
            ModeName::Auto | ModeName::Nftables => Ok(ModeName::Nftables),
            other => Err(crate::StartError::NotYet(other)),
        }
    }
}

impl std::fmt::Display for ModeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl NodePortAddresses ===

impl NodePortAddresses {
    /// What holds for one family: a list that names ranges of the other family only leaves this one at all its addresses.
    ///
    /// Source: kube-proxy's `NewNodePortAddresses`.
    pub fn of_family(&self, family: Family) -> NodePortAddresses {
        let cidrs: Vec<IpNet> = self.cidrs.iter().filter(|c| Family::of(c.addr()) == family).copied().collect();
        let whole = cidrs.iter().any(|c| c.prefix_len() == 0);
        let nothing = cidrs.is_empty() && !self.primary && !self.localhost;
        NodePortAddresses { all: self.all || whole || nothing, cidrs, ..*self }
    }
}
