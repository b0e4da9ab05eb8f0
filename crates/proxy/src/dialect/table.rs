//! Every flag of kube-proxy: its name, how its value is written, what it means, and what `--help` says of it.
//!
//! Source: `kube-proxy --help` of 1.37 and `cmd/kube-proxy/app/options.go`; the retired ones from its history since 1.10.

use super::Kind::{self, Bool, Float, Gates, Int, List, Text};

/// One flag. The command line, `--help` and the file that `--write-config-to` writes all come from this.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    pub(super) kind: Kind,
    pub(super) means: Means,
    /// What stands for the value in `--help`; empty: it needs none.
    pub value: &'static str,
    pub help: &'static str,
    /// Read, and then of no effect here: the help says why.
    idle: bool,
}

/// What a flag means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Fields of the configuration, by their paths.
    Fields(&'static [&'static str]),
    /// Something of [`super::Invocation`], seen to by name.
    Own,
    /// Nothing any more.
    Retired,
}

use Means::{Fields, Own, Retired};

pub(super) const FLAGS: &[Flag] = &[
    flag(
        "bind-address",
        Text,
        Fields(&["bindAddress"]),
        "IP",
        "The node's primary address, where its Node does not say it; nothing is bound to it",
    ),
    flag("bind-address-hard-fail", Bool, Own, "", "End where a status page cannot be bound, in place of a warning"),
    flag("cleanup", Bool, Own, "", "Remove what any mode left in the kernel, and end"),
    flag(
        "cluster-cidr",
        Text,
        Fields(&["clusterCIDR"]),
        "CIDR",
        "The pods' addresses: what comes from elsewhere to a cluster IP is masqueraded (two, by a comma, for dual stack)",
    ),
    flag("config", Text, Own, "FILE", "A KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)"),
    idle("config-sync-period", Text, Fields(&["configSyncPeriod"]), "DURATION", "Watches lose nothing here, so nothing is listed again"),
    flag(
        "conntrack-max-per-core",
        Int,
        Fields(&["conntrack.maxPerCore"]),
        "N",
        "Most connections that are tracked, for each core; 0 leaves the kernel's limit",
    ),
    flag("conntrack-min", Int, Fields(&["conntrack.min"]), "N", "Most connections that are tracked, whatever the number of cores"),
    flag(
        "conntrack-tcp-be-liberal",
        Bool,
        Fields(&["conntrack.tcpBeLiberal"]),
        "",
        "Take packets outside the TCP window for a part of their connection",
    ),
    flag(
        "conntrack-tcp-timeout-close-wait",
        Text,
        Fields(&["conntrack.tcpCloseWaitTimeout"]),
        "DURATION",
        "How long a TCP connection in CLOSE_WAIT is tracked; 0 leaves the kernel's",
    ),
    flag(
        "conntrack-tcp-timeout-established",
        Text,
        Fields(&["conntrack.tcpEstablishedTimeout"]),
        "DURATION",
        "How long an idle TCP connection is tracked; 0 leaves the kernel's",
    ),
    flag(
        "conntrack-udp-timeout",
        Text,
        Fields(&["conntrack.udpTimeout"]),
        "DURATION",
        "How long a UDP flow without an answer is tracked; 0 leaves the kernel's",
    ),
    flag(
        "conntrack-udp-timeout-stream",
        Text,
        Fields(&["conntrack.udpStreamTimeout"]),
        "DURATION",
        "How long an answered UDP flow is tracked; 0 leaves the kernel's",
    ),
    flag(
        "detect-local-mode",
        Text,
        Fields(&["detectLocalMode"]),
        "MODE",
        "How pods are told from others: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
    ),
    flag(
        "feature-gates",
        Gates,
        Fields(&["featureGates"]),
        "NAME=BOOL,..",
        "Feature gates: PreferSameTrafficDistribution; others change nothing",
    ),
    flag(
        "healthz-bind-address",
        Text,
        Fields(&["healthzBindAddress"]),
        "ADDR:PORT",
        "Where /healthz and /livez are served; port 0: nowhere",
    ),
    flag("help", Bool, Own, "", "Print this"),
    flag("hostname-override", Text, Own, "NAME", "The name of this node, where it is not the host name"),
    flag("init-only", Bool, Own, "", "Set what needs the whole host (conntrack's limits), and end; CAP_NET_ADMIN is enough afterwards"),
    flag("iptables-localhost-nodeports", Bool, Fields(&["iptables.localhostNodePorts"]), "", "Node ports on 127.0.0.1, under mode auto"),
    flag(
        "iptables-masquerade-bit",
        Int,
        Fields(&["iptables.masqueradeBit"]),
        "N",
        "The bit of the packet mark that says \"masquerade\", 0 to 31",
    ),
    flag("iptables-min-sync-period", Text, Fields(&["iptables.minSyncPeriod"]), "DURATION", "The least time between two syncs"),
    flag("iptables-sync-period", Text, Fields(&["iptables.syncPeriod"]), "DURATION", "How often the kernel's rules are looked after"),
    idle("ipvs-exclude-cidrs", List, Fields(&["ipvs.excludeCIDRs"]), "CIDR,..", "Not in this version"),
    idle("ipvs-min-sync-period", Text, Fields(&["ipvs.minSyncPeriod"]), "DURATION", "Not in this version"),
    idle("ipvs-scheduler", Text, Fields(&["ipvs.scheduler"]), "NAME", "Not in this version"),
    idle("ipvs-strict-arp", Bool, Fields(&["ipvs.strictARP"]), "", "Not in this version"),
    idle("ipvs-sync-period", Text, Fields(&["ipvs.syncPeriod"]), "DURATION", "Not in this version"),
    idle("ipvs-tcp-timeout", Text, Fields(&["ipvs.tcpTimeout"]), "DURATION", "Not in this version"),
    idle("ipvs-tcpfin-timeout", Text, Fields(&["ipvs.tcpFinTimeout"]), "DURATION", "Not in this version"),
    idle("ipvs-udp-timeout", Text, Fields(&["ipvs.udpTimeout"]), "DURATION", "Not in this version"),
    idle("kube-api-burst", Int, Fields(&["clientConnection.burst"]), "N", "Lists and watches are few here and are not throttled"),
    idle("kube-api-content-type", Text, Fields(&["clientConnection.contentType"]), "TYPE", "What the server answers is read as it comes"),
    idle("kube-api-qps", Float, Fields(&["clientConnection.qps"]), "N", "As --kube-api-burst"),
    flag("kubeconfig", Text, Own, "FILE", "Read objects from the API server that this file leads to"),
    idle("log-flush-frequency", Text, Fields(&["logging.flushFrequency"]), "DURATION", "The log is not buffered"),
    retired("log-json-info-buffer-size", Text),
    retired("log-json-split-stream", Bool),
    retired("log-text-info-buffer-size", Text),
    retired("log-text-split-stream", Bool),
    idle("logging-format", Text, Fields(&["logging.format"]), "FORMAT", "The log is text; json is a warning"),
    flag(
        "masquerade-all",
        Bool,
        Fields(&["iptables.masqueradeAll", "nftables.masqueradeAll"]),
        "",
        "Masquerade everything that is sent to a cluster IP",
    ),
    idle("master", Text, Own, "URL", "The kubeconfig names the server"),
    flag(
        "metrics-bind-address",
        Text,
        Fields(&["metricsBindAddress"]),
        "ADDR:PORT",
        "Where /metrics, /proxyMode and /configz are served; port 0: nowhere",
    ),
    flag(
        "nodeport-addresses",
        List,
        Fields(&["nodePortAddresses"]),
        "CIDR,..",
        "Which of the node's addresses node ports are on: ranges, or primary, localhost, all",
    ),
    flag("oom-score-adj", Int, Fields(&["oomScoreAdj"]), "N", "How soon the process is killed when memory runs out, -1000 to 1000"),
    flag(
        "pod-bridge-interface",
        Text,
        Fields(&["detectLocal.bridgeInterface"]),
        "NAME",
        "The bridge that pods come from, under --detect-local-mode=BridgeInterface",
    ),
    flag(
        "pod-interface-name-prefix",
        Text,
        Fields(&["detectLocal.interfaceNamePrefix"]),
        "PREFIX",
        "How interfaces of pods are called, under --detect-local-mode=InterfaceNamePrefix",
    ),
    idle("profiling", Bool, Fields(&["enableProfiling"]), "", "There is no /debug/pprof; perf(1) reads this process"),
    flag("proxy-mode", Text, Fields(&["mode"]), "MODE", "auto or nftables (iptables, ipvs and userspace are not in this version)"),
    idle("show-hidden-metrics-for-version", Text, Fields(&["showHiddenMetricsForVersion"]), "VERSION", "No metric is hidden"),
    flag("v", Int, Own, "N", "How much is logged: 4 and more is debug"),
    flag("version", Bool, Own, "", "Print the version"),
    idle("vmodule", Text, Fields(&["logging.vmodule"]), "PATTERN=N,..", "RUST_LOG chooses what is logged"),
    flag("write-config-to", Text, Own, "FILE", "Write the configuration there, and end"),
    // Gone from kube-proxy, and still in many a manifest.
    retired("alsologtostderr", Bool),
    retired("boot-id-file", Text),
    retired("cleanup-ipvs", Bool),
    retired("cleanup-iptables", Bool),
    retired("conntrack-max", Int),
    retired("healthz-port", Int),
    retired("log-backtrace-at", Text),
    retired("log-dir", Text),
    retired("log-file", Text),
    retired("log-file-max-size", Int),
    retired("logtostderr", Bool),
    retired("machine-id-file", Text),
    retired("metrics-port", Int),
    retired("one-output", Bool),
    retired("proxy-port-range", Text),
    retired("resource-container", Text),
    retired("skip-headers", Bool),
    retired("skip-log-headers", Bool),
    retired("stderrthreshold", Text),
    retired("udp-timeout", Text),
];

const fn flag(name: &'static str, kind: Kind, means: Means, value: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, means, value, help, idle: false }
}

const fn idle(name: &'static str, kind: Kind, means: Means, value: &'static str, why: &'static str) -> Flag {
    Flag { idle: true, ..flag(name, kind, means, value, why) }
}

const fn retired(name: &'static str, kind: Kind) -> Flag {
    let value = if matches!(kind, Bool) { "" } else { "VALUE" };
    flag(name, kind, Retired, value, "Retired: taken with a warning, and changes nothing")
}

// === impl Flag ===

impl Flag {
    /// Taken for the sake of old manifests, with a warning.
    pub fn is_retired(&self) -> bool {
        self.means == Retired
    }

    /// Taken as kube-proxy takes it, and without effect: the help says why.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Stands for fields of the configuration file.
    pub fn is_field(&self) -> bool {
        matches!(self.means, Fields(_))
    }

    /// Needs no value: alone it means true.
    pub fn is_switch(&self) -> bool {
        self.kind == Bool
    }
}
