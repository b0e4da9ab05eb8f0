//! The configuration in force in the file's own words, every field of them: what `/configz` shows.
//!
//! Fields that mean nothing to this proxy are shown as they were given, else with kube-proxy's default.
//!
//! Source: k8s.io/kube-proxy/config/v1alpha1, `SetDefaults_KubeProxyConfiguration`, and the page of kube-proxy 1.37.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{API_VERSION, Config, KIND, LocalDetector, duration};

/// Where nothing, unlike everywhere else, is another word than 0 or false.
const NOTHING_IS_NULL: [&str; 2] = ["masqueradeBit", "localhostNodePorts"];

pub(super) fn shown(config: &Config) -> Value {
    let mut all = defaults();
    lay("", &config.given, &mut all);
    let (text, address) = (duration::text, |address: Option<SocketAddr>| address.map_or_else(String::new, |address| address.to_string()));
    all["kind"] = KIND.into();
    all["apiVersion"] = API_VERSION.into();
    all["mode"] = config.mode.as_str().into();
    all["hostnameOverride"] = config.node_name.as_deref().unwrap_or_default().into();
    all["clientConnection"]["kubeconfig"] = config.kubeconfig.as_deref().unwrap_or_default().into();
    all["healthzBindAddress"] = address(config.healthz_bind).into();
    all["metricsBindAddress"] = address(config.metrics_bind).into();
    all["bindAddressHardFail"] = config.bind_hard_fail.into();
    all["detectLocalMode"] = match config.detector {
        LocalDetector::None | LocalDetector::ClusterCidr(_) => "ClusterCIDR",
        LocalDetector::NodeCidr => "NodeCIDR",
        LocalDetector::Bridge(_) => "BridgeInterface",
        LocalDetector::InterfacePrefix(_) => "InterfaceNamePrefix",
    }
    .into();
    if all["nodePortAddresses"].is_null() && config.node_ports.primary {
        all["nodePortAddresses"] = json!(["primary"]);
    }
    all["oomScoreAdj"] = config.oom_score_adj.into();
    all["conntrack"] = json!({
        "maxPerCore": config.conntrack.max_per_core,
        "min": config.conntrack.min,
        "tcpEstablishedTimeout": text(config.conntrack.tcp_established),
        "tcpCloseWaitTimeout": text(config.conntrack.tcp_close_wait),
        "tcpBeLiberal": config.conntrack.tcp_be_liberal,
        "udpTimeout": text(config.conntrack.udp),
        "udpStreamTimeout": text(config.conntrack.udp_stream),
    });
    // What all modes have stands with the one that runs, and with no other.
    for (mode, runs) in [("iptables", false), ("ipvs", false), ("nftables", true)] {
        let of_mode = |period: Duration| text(if runs { period } else { Duration::ZERO });
        all[mode]["syncPeriod"] = of_mode(config.sync_period).into();
        all[mode]["minSyncPeriod"] = of_mode(config.min_sync_period).into();
        if mode != "ipvs" {
            all[mode]["masqueradeAll"] = (runs && config.masquerade_all).into();
        }
    }
    all["nftables"]["masqueradeBit"] = config.masquerade_bit.into();
    all["portRange"] = "".into(); // kube-proxy itself has forgotten it by then
    all
}

fn defaults() -> Value {
    json!({
        "clientConnection": {
            "kubeconfig": "", "acceptContentTypes": "", "contentType": "application/vnd.kubernetes.protobuf", "qps": 5, "burst": 10,
        },
        "logging": {
            "format": "text", "flushFrequency": "5s", "verbosity": 0,
            "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
        },
        "bindAddress": "0.0.0.0",
        "enableProfiling": false,
        "showHiddenMetricsForVersion": "",
        "iptables": {"masqueradeBit": 14, "localhostNodePorts": true},
        "ipvs": {
            "scheduler": "", "excludeCIDRs": null, "strictARP": false, "tcpTimeout": "0s", "tcpFinTimeout": "0s", "udpTimeout": "0s",
        },
        "nftables": {},
        "winkernel": {
            "networkName": "", "sourceVip": "", "enableDSR": false, "rootHnsEndpointName": "", "forwardHealthCheckVip": false,
        },
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
        "clusterCIDR": "",
        "nodePortAddresses": null,
        "configSyncPeriod": "15m0s",
    })
}

/// Writes what was given over the defaults, field by field. What Go cannot tell from a field that is not there is none.
fn lay(name: &str, given: &Value, all: &mut Value) {
    match (given, all) {
        (Value::Object(given), all) => {
            for (name, value) in given {
                let known = all.get(name).is_some();
                if known || !is_nothing(name, value) {
                    lay(name, value, &mut all[name]);
                }
            }
        }
        (given, _) if is_nothing(name, given) => {}
        (given, all) => *all = as_go_writes(given),
    }
}

fn is_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        _ if NOTHING_IS_NULL.contains(&name) => false,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || duration::parse(text) == Some(Duration::ZERO),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.iter().all(|(name, value)| is_nothing(name, value)),
    }
}

/// Durations in Go's form; a text that reads as one is one, wherever it may stand.
fn as_go_writes(value: &Value) -> Value {
    match value.as_str().and_then(duration::parse) {
        Some(duration) => duration::text(duration).into(),
        None => value.clone(),
    }
}
