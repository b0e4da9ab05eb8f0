//! The fields of a `KubeProxyConfiguration`, read one by one so that every mistake is found.
//!
//! Source: k8s.io/kube-proxy/config/v1alpha1 and `pkg/proxy/apis/config/validation`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use model::Family;
use serde_json::Value;

use super::{Config, ConfigErrors, Conntrack, LocalDetector, ModeName, NodePortAddresses, duration};

pub(crate) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub(crate) const KIND: &str = "KubeProxyConfiguration";
const DEFAULT_CONFIG_SYNC: Duration = Duration::from_secs(15 * 60);

/// Fields of sections that mean nothing to this proxy: read so that a mistyped name is still told.
const IPVS: &[&str] =
    &["syncPeriod", "minSyncPeriod", "scheduler", "excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout"];
const WINKERNEL: &[&str] = &["networkName", "sourceVip", "enableDSR", "rootHnsEndpointName", "forwardHealthCheckVip"];
const LOGGING: &[&str] = &["flushFrequency", "verbosity", "options"];
/// Feature gates that change what we do; all others are kube-proxy's own affair.
const GATES: &[&str] = &["PreferSameTrafficDistribution"];

pub(super) fn read(value: &Value) -> Result<Config, ConfigErrors> {
    let mut told = Told::default();
    let config = Section::new("", value, &mut told).map(|top| read_top(top));
    match config {
        Some(config) if told.errors.is_empty() => Ok(Config { warnings: told.warnings, given: value.clone(), ..config }),
        _ => Err(ConfigErrors(told.errors)),
    }
}

/// What is told about the file.
#[derive(Default)]
struct Told {
    errors: Vec<String>,
    warnings: Vec<String>,
}

fn read_top(mut top: Section<'_, '_>) -> Config {
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if let Some(found) = top.string(field).filter(|found| found != wanted) {
            top.wrong(field, &format!("{found:?} is not {wanted}"));
        }
    }
    let mode_text = top.string("mode").unwrap_or_default();
    let mode = ModeName::parse(&mode_text).unwrap_or_else(|| {
        top.wrong("mode", &format!("{mode_text:?} is not one of nftables, iptables, ipvs, userspace"));
        ModeName::Auto
    });
    let detector = read_detector(&mut top);
    let node_ports = read_node_ports(&mut top, mode);
    let mut nftables = Rules::default();
    let mut iptables = Rules::default();
    let mut localhost = true;
    top.section("nftables", |section| nftables = Rules::read(section));
    top.section("iptables", |section| {
        localhost = section.boolean("localhostNodePorts").unwrap_or(true);
        iptables = Rules::read(section);
    });
    // Under `auto` the file may be one that was written for the iptables mode.
    let or_iptables = |set: &Rules| if mode == ModeName::Auto { Rules { ..iptables }.under(set) } else { Rules { ..*set } };
    let rules = or_iptables(&nftables);
    let mut kubeconfig = None;
    top.section("clientConnection", |section| {
        kubeconfig = section.string("kubeconfig").filter(|path| !path.is_empty());
        section.ignore(&["acceptContentTypes", "contentType"]);
        section.without_effect(&["qps", "burst"], "lists and watches are few here and are not throttled");
    });
    let mut conntrack = Conntrack::default();
    top.section("conntrack", |section| conntrack = read_conntrack(section));
    for (name, fields) in [("ipvs", IPVS), ("winkernel", WINKERNEL)] {
        top.section(name, |section| section.ignore(fields));
    }
    top.section("logging", |section| {
        section.ignore(LOGGING);
        if section.string("format").is_some_and(|format| !matches!(format.as_str(), "" | "text")) {
            section.warn("format", "the log is text");
        }
        section.without_effect(&["vmodule"], "RUST_LOG chooses what is logged");
    });
    if top.duration("configSyncPeriod").is_some_and(|period| ![Duration::ZERO, DEFAULT_CONFIG_SYNC].contains(&period)) {
        top.warn("configSyncPeriod", "watches lose nothing here, so nothing is listed again");
    }
    top.without_effect(&["enableProfiling"], "there is no /debug/pprof; perf(1) reads this process");
    top.without_effect(&["showHiddenMetricsForVersion"], "no metric is hidden");
    top.without_effect(&["portRange"], "dead in kube-proxy since the userspace mode went");
    top.without_effect(&["windowsRunAsService"], "this is not Windows");
    let feature_gates = top.gates();
    for gate in feature_gates.keys().filter(|gate| !GATES.contains(&gate.as_str())) {
        top.warn("featureGates", &format!("{gate} changes nothing here"));
    }
    let localhost_node_ports = localhost_families(mode, localhost, &node_ports);
    let bind_address = top.parsed::<IpAddr>("bindAddress", "an IP address");
    // As kube-proxy has it, though nothing else is bound to that address.
    let [everywhere, loopback] = if bind_address.is_some_and(|ip| ip.is_ipv6()) { ["[::]", "[::1]"] } else { ["0.0.0.0", "127.0.0.1"] };
    let config = Config {
        mode,
        node_name: top.string("hostnameOverride").map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()),
        kubeconfig,
        bind_address: bind_address.filter(|address| !address.is_unspecified()),
        healthz_bind: top.bind("healthzBindAddress", 10256, everywhere),
        metrics_bind: top.bind("metricsBindAddress", 10249, loopback),
        bind_hard_fail: top.boolean("bindAddressHardFail").unwrap_or(false),
        detector,
        node_ports,
        masquerade_all: rules.masquerade_all.unwrap_or(false),
        masquerade_bit: rules.masquerade_bit.unwrap_or(14),
        sync_period: rules.sync_period.filter(|period| !period.is_zero()).unwrap_or(Duration::from_secs(30)),
        // kube-proxy waits a second by default, since a sync of its costs so much; ours costs what changed.
        min_sync_period: rules.min_sync_period.unwrap_or(Duration::ZERO),
        feature_gates,
        oom_score_adj: Some(top.integer("oomScoreAdj", -1000..=1000).map_or(-999, |n| n as i32)),
        conntrack,
        localhost_node_ports,
        warnings: Vec::new(),
        given: Value::Null,
    };
    top.finish();
    config
}

/// What the sections of all rule-writing modes have in common.
#[derive(Default)]
struct Rules {
    masquerade_all: Option<bool>,
    masquerade_bit: Option<u8>,
    sync_period: Option<Duration>,
    min_sync_period: Option<Duration>,
}

impl Rules {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            masquerade_all: section.boolean("masqueradeAll"),
            masquerade_bit: section.integer("masqueradeBit", 0..=31).map(|bit| bit as u8),
            sync_period: section.duration("syncPeriod"),
            min_sync_period: section.duration("minSyncPeriod"),
        }
    }

    /// `over`, and where it says nothing, `self`.
    fn under(self, over: &Rules) -> Self {
        Self {
            masquerade_all: over.masquerade_all.or(self.masquerade_all),
            masquerade_bit: over.masquerade_bit.or(self.masquerade_bit),
            sync_period: over.sync_period.or(self.sync_period),
            min_sync_period: over.min_sync_period.or(self.min_sync_period),
        }
    }
}

fn read_detector(top: &mut Section<'_, '_>) -> LocalDetector {
    let cidrs = read_cluster_cidrs(top);
    let (mut bridge, mut prefix) = (String::new(), String::new());
    top.section("detectLocal", |section| {
        bridge = section.string("bridgeInterface").unwrap_or_default();
        prefix = section.string("interfaceNamePrefix").unwrap_or_default();
    });
    let mode = top.string("detectLocalMode").unwrap_or_default();
    // 15: IFNAMSIZ without its final zero.
    let mut interface = |field: &str, name: String| {
        if name.is_empty() || name.len() > 15 {
            top.wrong(field, &format!("detectLocalMode {mode} needs an interface name of 1 to 15 characters, not {name:?}"));
        }
        name
    };
    match mode.as_str() {
        "" | "ClusterCIDR" if cidrs.is_empty() => LocalDetector::None,
        "" | "ClusterCIDR" => LocalDetector::ClusterCidr(cidrs),
        "NodeCIDR" => LocalDetector::NodeCidr,
        "BridgeInterface" => LocalDetector::Bridge(interface("detectLocal.bridgeInterface", bridge)),
        "InterfaceNamePrefix" => LocalDetector::InterfacePrefix(interface("detectLocal.interfaceNamePrefix", prefix)),
        other => {
            let other = other.to_owned();
            top.wrong("detectLocalMode", &format!("{other:?} is not one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix"));
            LocalDetector::None
        }
    }
}

fn read_cluster_cidrs(top: &mut Section<'_, '_>) -> Vec<IpNet> {
    let text = top.string("clusterCIDR").unwrap_or_default();
    let mut cidrs: Vec<IpNet> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<IpNet>() {
            Ok(cidr) if cidrs.iter().any(|c| Family::of(c.addr()) == Family::of(cidr.addr())) => {
                top.wrong("clusterCIDR", &format!("{text:?} has two ranges of one family"));
            }
            Ok(cidr) => cidrs.push(cidr.trunc()),
            Err(_) => top.wrong("clusterCIDR", &format!("{part:?} is not a CIDR")),
        }
    }
    cidrs
}

fn read_node_ports(top: &mut Section<'_, '_>, mode: ModeName) -> NodePortAddresses {
    let mut chosen = NodePortAddresses::default();
    let list = top.strings("nodePortAddresses");
    for text in &list {
        match text.as_str() {
            "primary" => chosen.primary = true,
            "localhost" => chosen.localhost = true,
            "all" => chosen.all = true,
            text => match text.parse::<IpNet>() {
                Ok(cidr) => chosen.cidrs.push(cidr.trunc()),
                Err(_) => top.wrong("nodePortAddresses", &format!("{text:?} is neither a CIDR nor primary, localhost, all")),
            },
        }
    }
    match mode {
        _ if !list.is_empty() => chosen,
        ModeName::Nftables => NodePortAddresses { primary: true, ..chosen },
        _ => NodePortAddresses { all: true, ..chosen },
    }
}

/// Under `auto` as in kube-proxy's iptables mode: IPv4, unless `localhostNodePorts` is off or the addresses leave loopback out.
/// In nftables mode only where the addresses name loopback themselves (KEP-6032).
fn localhost_families(mode: ModeName, on: bool, chosen: &NodePortAddresses) -> Vec<Family> {
    let loopback = |family| match family {
        Family::V4 => IpNet::from(IpAddr::from([127, 0, 0, 1])),
        Family::V6 => IpNet::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
    };
    let named = |family| {
        let inside = |cidr: &IpNet| Family::of(cidr.addr()) == family && cidr.addr().is_loopback() && cidr.contains(&loopback(family));
        chosen.localhost || chosen.cidrs.iter().any(inside)
    };
    let as_iptables = |family| {
        let covered = chosen.cidrs.iter().any(|cidr| cidr.contains(&loopback(family)));
        family == Family::V4 && on && (chosen.of_family(family).all || covered || chosen.localhost)
    };
    Family::BOTH
        .into_iter()
        .filter(|family| if mode == ModeName::Auto { as_iptables(*family) || chosen.localhost } else { named(*family) })
        .collect()
}

fn read_conntrack(section: &mut Section<'_, '_>) -> Conntrack {
    let default = Conntrack::default();
    let mut count = |field: &str, otherwise: u32| section.integer(field, 0..=i64::from(i32::MAX)).map_or(otherwise, |n| n as u32);
    let (max_per_core, min) = (count("maxPerCore", default.max_per_core), count("min", default.min));
    Conntrack {
        max_per_core,
        min,
        tcp_established: section.duration("tcpEstablishedTimeout").unwrap_or(default.tcp_established),
        tcp_close_wait: section.duration("tcpCloseWaitTimeout").unwrap_or(default.tcp_close_wait),
        tcp_be_liberal: section.boolean("tcpBeLiberal").unwrap_or(default.tcp_be_liberal),
        udp: section.duration("udpTimeout").unwrap_or(default.udp),
        udp_stream: section.duration("udpStreamTimeout").unwrap_or(default.udp_stream),
    }
}

impl Default for Conntrack {
    /// kube-proxy's own (`SetDefaults_KubeProxyConfiguration`).
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            max_per_core: 32 * 1024,
            min: 128 * 1024,
            tcp_established: hours(24),
            tcp_close_wait: hours(1),
            tcp_be_liberal: false,
            udp: Duration::ZERO,
            udp_stream: Duration::ZERO,
        }
    }
}

/// One object of the file: fields are taken out of it, and what is left at the end is unknown.
struct Section<'a, 'e> {
    path: String,
    fields: BTreeMap<&'a str, &'a Value>,
    told: &'e mut Told,
}

impl<'a, 'e> Section<'a, 'e> {
    fn new(path: &str, value: &'a Value, told: &'e mut Told) -> Option<Self> {
        let fields = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            Value::Null => BTreeMap::new(),
            _ => {
                told.errors.push(format!("{}: must be an object", if path.is_empty() { "the file" } else { path }));
                return None;
            }
        };
        Some(Self { path: path.to_owned(), fields, told })
    }

    fn wrong(&mut self, field: &str, why: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.told.errors.push(format!("{}{dot}{field}: {why}", self.path));
    }

    fn warn(&mut self, field: &str, why: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.told.warnings.push(format!("{}{dot}{field}: {why}", self.path));
    }

    /// Fields that do nothing here: told where they hold more than nothing.
    fn without_effect(&mut self, fields: &[&'static str], why: &str) {
        for field in fields {
            let asks = self.take(field).is_some_and(|value| match value {
                Value::Bool(on) => *on,
                Value::String(text) => !text.is_empty(),
                Value::Number(n) => n.as_f64() != Some(0.0),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            });
            if asks {
                self.warn(field, &format!("without effect: {why}"));
            }
        }
    }

    /// The field's value, unless it is absent or null.
    fn take(&mut self, field: &str) -> Option<&'a Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    fn expect<T>(&mut self, field: &str, what: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.take(field)?;
        let found = read(value);
        if found.is_none() {
            self.wrong(field, &format!("{value} is not {what}"));
        }
        found
    }

    fn string(&mut self, field: &str) -> Option<String> {
        self.expect(field, "a string", |value| value.as_str().map(str::to_owned))
    }

    fn strings(&mut self, field: &str) -> Vec<String> {
        let read = |value: &Value| value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect();
        self.expect(field, "a list of strings", read).unwrap_or_default()
    }

    fn boolean(&mut self, field: &str) -> Option<bool> {
        self.expect(field, "true or false", Value::as_bool)
    }

    fn integer(&mut self, field: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        self.expect(field, &what, |value| value.as_i64().filter(|n| range.contains(n)))
    }

    fn duration(&mut self, field: &str) -> Option<Duration> {
        self.expect(field, "a duration such as 30s", |value| duration::parse(value.as_str()?))
    }

    fn parsed<T: std::str::FromStr>(&mut self, field: &str, what: &str) -> Option<T> {
        let text = self.string(field).filter(|text| !text.is_empty())?;
        let found = text.parse().ok();
        if found.is_none() {
            self.wrong(field, &format!("{text:?} is not {what}"));
        }
        found
    }

    /// `ADDRESS:PORT`, or an address alone; port 0: nowhere. Empty, as in kubeadm's file, is as good as absent: `default`.
    fn bind(&mut self, field: &str, port: u16, default: &str) -> Option<SocketAddr> {
        let text = self.string(field).filter(|text| !text.is_empty()).unwrap_or_else(|| format!("{default}:{port}"));
        let found = text.parse().ok().or_else(|| text.parse().ok().map(|ip| SocketAddr::new(ip, port)));
        if found.is_none() {
            self.wrong(field, &format!("{text:?} is not ADDRESS:PORT"));
        }
        found.filter(|address| address.port() != 0)
    }

    fn gates(&mut self) -> BTreeMap<String, bool> {
        let read = |value: &Value| value.as_object()?.iter().map(|(k, v)| Some((k.clone(), v.as_bool()?))).collect();
        self.expect("featureGates", "an object of true and false", read).unwrap_or_default()
    }

    fn section(&mut self, field: &str, read: impl FnOnce(&mut Section<'a, '_>)) {
        let Some(value) = self.take(field) else { return };
        let path = if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) };
        if let Some(mut section) = Section::new(&path, value, self.told) {
            read(&mut section);
            section.finish();
        }
    }

    fn ignore(&mut self, fields: &[&'static str]) {
        for field in fields {
            self.fields.remove(field);
        }
    }

    fn finish(mut self) {
        for name in std::mem::take(&mut self.fields).into_keys() {
            self.wrong(name, "unknown field");
        }
    }
}
