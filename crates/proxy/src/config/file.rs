//! The fields of a `KubeProxyConfiguration`, read one by one so that every mistake is found.
//!
//! Source: k8s.io/kube-proxy/config/v1alpha1 and `pkg/proxy/apis/config/validation`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use model::Family;
use serde_json::Value;

use super::{Config, ConfigErrors, LocalDetector, ModeName, NodePortAddresses, duration};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// Fields of sections that mean nothing to this proxy: read so that a mistyped name is still told.
const IPVS: &[&str] =
    &["syncPeriod", "minSyncPeriod", "scheduler", "excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout"];
const WINKERNEL: &[&str] = &["networkName", "sourceVip", "enableDSR", "rootHnsEndpointName", "forwardHealthCheckVip"];
const CONNTRACK: &[&str] =
    &["maxPerCore", "min", "tcpEstablishedTimeout", "tcpCloseWaitTimeout", "tcpBeLiberal", "udpTimeout", "udpStreamTimeout"];
const LOGGING: &[&str] = &["format", "flushFrequency", "verbosity", "vmodule", "options"];
/// Top-level fields without meaning here: tuning of informers, profiling, Windows, and what is long dead.
const IGNORED: &[&str] = &["configSyncPeriod", "enableProfiling", "showHiddenMetricsForVersion", "portRange", "windowsRunAsService"];

pub(super) fn read(value: &Value) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let config = Section::new("", value, &mut errors).map(|top| read_top(top));
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(errors)),
    }
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
    top.section("nftables", |section| nftables = Rules::read(section));
    top.section("iptables", |section| {
        section.boolean("localhostNodePorts");
        iptables = Rules::read(section);
    });
    // Under `auto` the file may be one that was written for the iptables mode.
    let or_iptables = |set: &Rules| if mode == ModeName::Auto { Rules { ..iptables }.under(set) } else { Rules { ..*set } };
    let rules = or_iptables(&nftables);
    let mut kubeconfig = None;
    top.section("clientConnection", |section| {
        kubeconfig = section.string("kubeconfig").filter(|path| !path.is_empty());
        section.ignore(&["acceptContentTypes", "contentType", "qps", "burst"]);
    });
    for (name, fields) in [("ipvs", IPVS), ("winkernel", WINKERNEL), ("conntrack", CONNTRACK), ("logging", LOGGING)] {
        top.section(name, |section| section.ignore(fields));
    }
    top.ignore(IGNORED);
    let config = Config {
        mode,
        node_name: top.string("hostnameOverride").map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()),
        kubeconfig,
        bind_address: top.parsed::<IpAddr>("bindAddress", "an IP address").filter(|address| !address.is_unspecified()),
        healthz_bind: top.bind("healthzBindAddress", 10256, "0.0.0.0:10256"),
        metrics_bind: top.bind("metricsBindAddress", 10249, "127.0.0.1:10249"),
        bind_hard_fail: top.boolean("bindAddressHardFail").unwrap_or(false),
        detector,
        node_ports,
        masquerade_all: rules.masquerade_all.unwrap_or(false),
        masquerade_bit: rules.masquerade_bit.unwrap_or(14),
        sync_period: rules.sync_period.filter(|period| !period.is_zero()).unwrap_or(Duration::from_secs(30)),
        // kube-proxy waits a second by default, since a sync of its costs so much; ours costs what changed.
        min_sync_period: rules.min_sync_period.unwrap_or(Duration::ZERO),
        feature_gates: top.gates(),
        oom_score_adj: top.integer("oomScoreAdj", -1000..=1000).map(|n| n as i32),
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

/// One object of the file: fields are taken out of it, and what is left at the end is unknown.
struct Section<'a, 'e> {
    path: String,
    fields: BTreeMap<&'a str, &'a Value>,
    errors: &'e mut Vec<String>,
}

impl<'a, 'e> Section<'a, 'e> {
    fn new(path: &str, value: &'a Value, errors: &'e mut Vec<String>) -> Option<Self> {
        let fields = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            Value::Null => BTreeMap::new(),
            _ => {
                errors.push(format!("{}: must be an object", if path.is_empty() { "the file" } else { path }));
                return None;
            }
        };
        Some(Self { path: path.to_owned(), fields, errors })
    }

    fn wrong(&mut self, field: &str, why: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.errors.push(format!("{}{dot}{field}: {why}", self.path));
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

    /// `ADDRESS:PORT`, or an address alone; empty: nowhere, absent: `default`.
    fn bind(&mut self, field: &str, port: u16, default: &str) -> Option<SocketAddr> {
        let text = self.string(field).unwrap_or_else(|| default.to_owned());
        if text.is_empty() {
            return None;
        }
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
        if let Some(mut section) = Section::new(&path, value, self.errors) {
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
