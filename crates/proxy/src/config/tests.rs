use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: Expect) {
    let said = match Config::parse(text) {
        Ok(c) => format!(
            "{:?} node {:?} from {:?} ports {:?} mark {}{} sync {:?}/{:?} health {:?}",
            c.mode,
            c.node_name,
            c.detector,
            c.node_ports,
            c.masquerade_bit,
            if c.masquerade_all { " all" } else { "" },
            c.sync_period,
            c.min_sync_period,
            c.healthz_bind
        ),
        Err(errors) => errors.to_string(),
    };
    expected.assert_eq(&said);
}

#[test]
fn an_empty_file_is_auto_with_node_ports_on_every_address() {
    check(
        "kind: KubeProxyConfiguration",
        expect![
            "Auto node None from None ports NodePortAddresses { all: true, primary: false, localhost: false, cidrs: [] } mark 14 sync 30s/0ns health Some(0.0.0.0:10256)"
        ],
    );
}

#[test]
fn nftables_by_name_has_the_defaults_of_kube_proxys_nftables_mode() {
    check(
        "{mode: nftables, hostnameOverride: Node-1, clusterCIDR: '10.0.0.0/8,fd00:10::/64', nftables: {masqueradeAll: true, masqueradeBit: 3, minSyncPeriod: 1ms}}",
        expect![[
            r#"Nftables node Some("node-1") from ClusterCidr([10.0.0.0/8, fd00:10::/64]) ports NodePortAddresses { all: false, primary: true, localhost: false, cidrs: [] } mark 3 all sync 30s/1ms health Some(0.0.0.0:10256)"#
        ]],
    );
}

#[test]
fn auto_takes_what_was_written_for_iptables() {
    check(
        "{iptables: {masqueradeAll: true, syncPeriod: 1m30s}, healthzBindAddress: '0.0.0.0:0'}",
        expect![
            "Auto node None from None ports NodePortAddresses { all: true, primary: false, localhost: false, cidrs: [] } mark 14 all sync 90s/0ns health None"
        ],
    );
}

/// `NAME.yaml` is a file and `NAME.json` what kube-proxy 1.37 shows of it at `/configz`.
fn check_shown(file: &str, kube_proxys: &str, min_sync_period: &str) {
    let config = Config::parse(file).expect("valid");
    let mut expected: serde_json::Value = serde_json::from_str(kube_proxys).expect("JSON");
    expected["kubeproxy.config.k8s.io"]["nftables"]["minSyncPeriod"] = min_sync_period.into();
    let shown: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
    assert_eq!(format!("{shown:#}"), format!("{expected:#}"));
}

#[test]
fn the_page_shows_every_field_as_kube_proxy_does() {
    check_shown(include_str!("tests/everything.yaml"), include_str!("tests/everything.json"), "10ms");
    // By default a change waits for nothing here.
    check_shown(include_str!("tests/kubeadm.yaml"), include_str!("tests/kubeadm.json"), "0s");
}

#[test]
fn status_pages_are_where_kube_proxy_has_them() {
    for (text, healthz, metrics) in [
        ("{}", Some("0.0.0.0:10256"), Some("127.0.0.1:10249")),
        // kubeadm's file says nothing by saying this.
        ("{healthzBindAddress: '', metricsBindAddress: ''}", Some("0.0.0.0:10256"), Some("127.0.0.1:10249")),
        ("{bindAddress: '::'}", Some("[::]:10256"), Some("[::1]:10249")),
        ("{healthzBindAddress: 10.0.0.1, metricsBindAddress: '0.0.0.0:0'}", Some("10.0.0.1:10256"), None),
    ] {
        let config = Config::parse(text).expect("valid");
        let at = [config.healthz_bind, config.metrics_bind].map(|at| at.map(|at| at.to_string()));
        assert_eq!(at.each_ref().map(Option::as_deref), [healthz, metrics], "{text}");
    }
}

#[test]
fn node_port_keywords_mix_with_ranges() {
    check(
        "{mode: nftables, nodePortAddresses: [primary, localhost, 192.168.0.7/24]}",
        expect![
            "Nftables node None from None ports NodePortAddresses { all: false, primary: true, localhost: true, cidrs: [192.168.0.0/24] } mark 14 sync 30s/0ns health Some(0.0.0.0:10256)"
        ],
    );
}

#[test]
fn every_mistake_is_told_with_its_field() {
    check(
        "{kind: Other, mode: fast, nftables: {masqueradeBit: 99, syncPeriod: soon, masqAll: true}, detectLocalMode: BridgeInterface,
          nodePortAddresses: [10.0.0.0/99], healthzBindAddress: here, hostNameOverride: x, conntrack: {max: 1}, ipvs: 3}",
        expect![[r#"
            kind: "Other" is not KubeProxyConfiguration
            mode: "fast" is not one of nftables, iptables, ipvs, userspace
            detectLocal.bridgeInterface: detectLocalMode BridgeInterface needs an interface name of 1 to 15 characters, not ""
            nodePortAddresses: "10.0.0.0/99" is neither a CIDR nor primary, localhost, all
            nftables.masqueradeBit: 99 is not a number from 0 to 31
            nftables.syncPeriod: "soon" is not a duration such as 30s
            nftables.masqAll: unknown field
            conntrack.max: unknown field
            ipvs: must be an object
            healthzBindAddress: "here" is not ADDRESS:PORT
            hostNameOverride: unknown field"#]],
    );
}

#[test]
fn a_family_without_ranges_of_its_own_keeps_all_addresses() {
    let config = Config::parse("{mode: nftables, nodePortAddresses: [192.168.0.0/24]}").expect("valid");
    assert!(!config.node_ports.of_family(Family::V4).all);
    assert!(config.node_ports.of_family(Family::V6).all);
}

#[test]
fn durations_are_gos() {
    for (text, millis) in
        [("0s", Some(0)), ("1h2m3.5s", Some(3_723_500)), ("15ms", Some(15)), ("5", None), ("1x", None), ("", None), ("-1s", None)]
    {
        assert_eq!(duration::parse(text).map(|d| d.as_millis()), millis, "{text}");
    }
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for text in ["0s", "1ns", "1.5µs", "100ms", "1s", "3.5s", "1m0s", "1m30s", "24h0m0s", "1h2m3.000000001s"] {
        assert_eq!(duration::text(duration::parse(text).expect("a duration")), text);
    }
}

#[test]
fn what_is_asked_for_and_not_done_is_told() {
    let text = "{enableProfiling: true, portRange: 1-2, configSyncPeriod: 1m, windowsRunAsService: false, logging: {format: json},
        clientConnection: {qps: 5, burst: 0}, featureGates: {Other: true, PreferSameTrafficDistribution: false}}";
    expect![[r#"
        clientConnection.qps: without effect: lists and watches are few here and are not throttled
        logging.format: the log is text
        configSyncPeriod: watches lose nothing here, so nothing is listed again
        enableProfiling: without effect: there is no /debug/pprof; perf(1) reads this process
        portRange: without effect: dead in kube-proxy since the userspace mode went
        featureGates: Other changes nothing here"#]]
    .assert_eq(&Config::parse(text).expect("valid").warnings.join("\n"));
}

#[test]
fn node_ports_are_on_loopback_under_auto_or_where_it_is_named() {
    for (text, expected) in [
        ("{}", "[V4]"),
        ("{iptables: {localhostNodePorts: false}}", "[]"),
        ("{nodePortAddresses: [10.0.0.0/8]}", "[]"),
        ("{nodePortAddresses: [10.0.0.0/8, 127.0.0.1/32]}", "[V4]"),
        ("{nodePortAddresses: [localhost]}", "[V4, V6]"),
        ("{mode: nftables}", "[]"),
        ("{mode: nftables, nodePortAddresses: [0.0.0.0/0]}", "[]"),
        ("{mode: nftables, nodePortAddresses: [primary, localhost]}", "[V4, V6]"),
        ("{mode: nftables, nodePortAddresses: ['::1/128', 10.0.0.0/8]}", "[V6]"),
    ] {
        let families = Config::parse(text).expect("valid").localhost_node_ports;
        assert_eq!(format!("{families:?}"), expected, "{text}");
    }
}
