//! Service. Source: pkg/apis/core/validation/validation.go; pkg/api/service/warnings.go.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Path, Report, meta, names};
use crate::value::Get;

pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn service(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if let Some(old) = old.map(|old| old.at("spec")) {
        cluster_ip_changes(report, spec, old);
        family_changes(report, spec, old);
        if is_balanced(old) && is_balanced(spec) && old.at("loadBalancerClass") != spec.at("loadBalancerClass") {
            report.invalid(&path.child("loadBalancerClass"), spec.at("loadBalancerClass").clone(), "may not change once set");
        }
        let port = "healthCheckNodePort";
        if needs_health_check(old) && needs_health_check(spec) && old.int(port) != spec.int(port) {
            report.forbidden(&path.child(port), "field is immutable");
        }
    }
    let ty = spec.text("type");
    let ports = spec.items("ports");
    if ports.is_empty() && !is_headless(spec) && ty != "ExternalName" {
        report.required(&path.child("ports"), "");
    }
    match ty {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            report.invalid(&path.child("clusterIPs").index(0), "None", &format!("may not be set to 'None' for {ty} services"));
        }
        "ExternalName" => external_name(report, spec, &path),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        self::port(report, port, ports.len() > 1, &mut seen, &path.child("ports").index(index));
    }
    meta::labels(report, spec, "selector", &path.child("selector"));
    affinity(report, spec, &path);
    cluster_ips(report, spec, old.map(|old| old.at("spec")), &path);
    let known: HashSet<&str> = old.map(|old| old.at("spec").texts("externalIPs")).unwrap_or_default().into_iter().collect();
    for (index, ip) in spec.texts("externalIPs").into_iter().enumerate() {
        let place = path.child("externalIPs").index(index);
        let faults = if known.contains(&ip) { Vec::new() } else { names::legacy_ip(ip) };
        let faults = if faults.is_empty() { names::special_ip(ip) } else { faults };
        report.faults(&place, ip, faults);
    }
    report.one_of(&path.child("type"), ty, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    port_numbers(report, ports, ty, &path.child("ports"));
    source_ranges(report, new, old, &path);
    let allocates = spec.at("allocateLoadBalancerNodePorts");
    if !allocates.is_null() && ty != "LoadBalancer" {
        report.forbidden(&path.child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'");
    }
    if let Some(class) = spec.at("loadBalancerClass").as_str() {
        let place = path.child("loadBalancerClass");
        if is_balanced(spec) {
            report.faults(&place, class, names::label_key(class));
        } else {
            report.forbidden(&place, "may only be used when `type` is 'LoadBalancer'");
        }
    }
    policies(report, spec, &path);
}

fn is_headless(spec: &Value) -> bool {
    spec.texts("clusterIPs") == ["None"]
}

fn is_balanced(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer"
}

fn is_external(spec: &Value) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.items("externalIPs").is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    is_balanced(spec) && spec.text("externalTrafficPolicy") == "Local"
}

fn external_name(report: &mut Report, spec: &Value, path: &Path) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if spec.has(field) {
            report.forbidden(&path.child(field), "may not be set for ExternalName services");
        }
    }
    let name = spec.text("externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => report.required(&path.child("externalName"), ""),
        name => report.faults(&path.child("externalName"), name, names::dns_subdomain(name)),
    }
}

fn port(report: &mut Report, port: &Value, needs_name: bool, seen: &mut HashSet<String>, path: &Path) {
    match port.text("name") {
        "" if needs_name => report.required(&path.child("name"), ""),
        "" => {}
        name => {
            report.faults(&path.child("name"), name, names::dns_label(name));
            if !seen.insert(name.to_owned()) {
                report.duplicate(&path.child("name"), name);
            }
        }
    }
    report.faults(&path.child("port"), port.int("port"), names::port_number(port.int("port")));
    report.one_of(&path.child("protocol"), port.text("protocol"), &PROTOCOLS);
    number_or_name(report, port.at("targetPort"), &path.child("targetPort"));
    if let Some(name) = port.at("appProtocol").as_str() {
        report.faults(&path.child("appProtocol"), name, names::label_key(name));
    }
}

/// A port by its number or its name.
pub(super) fn number_or_name(report: &mut Report, port: &Value, path: &Path) {
    match port {
        Value::String(name) => report.faults(path, name.as_str(), names::port_name(name)),
        port => {
            let number = port.as_i64().unwrap_or_default();
            report.faults(path, number, names::port_number(number));
        }
    }
}

fn affinity(report: &mut Report, spec: &Value, path: &Path) {
    report.one_of(&path.child("sessionAffinity"), spec.text("sessionAffinity"), &["ClientIP", "None"]);
    let (config, path) = (spec.at("sessionAffinityConfig"), path.child("sessionAffinityConfig"));
    match spec.text("sessionAffinity") {
        "ClientIP" => match config.at("clientIP").at("timeoutSeconds").as_i64() {
            Some(1..=86_400) => {}
            Some(timeout) => {
                let place = path.child("clientIP").child("timeoutSeconds");
                report.invalid(&place, timeout, "must be greater than 0 and less than 86400");
            }
            None => report.required(&path, "when session affinity type is ClientIP"),
        },
        "None" if !config.is_null() => report.forbidden(&path, "must not be set when session affinity is None"),
        _ => {}
    }
}

pub(super) fn cluster_ips(report: &mut Report, spec: &Value, old: Option<&Value>, path: &Path) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let (ips, families) = (spec.texts("clusterIPs"), spec.texts("ipFamilies"));
    let (place, all) = (path.child("clusterIPs"), || spec.at("clusterIPs").clone());
    match (spec.text("clusterIP"), ips.first()) {
        ("", Some(_)) => report.invalid(&place, all(), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => report.required(&place, ""),
        (ip, Some(first)) if ip != *first => report.invalid(&place, all(), "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (index, family) in families.iter().enumerate() {
        let place = path.child("ipFamilies").index(index);
        if !matches!(*family, "IPv4" | "IPv6") {
            report.not_supported(&place, *family, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family) {
            report.duplicate(&place, *family);
        }
    }
    if let Some(policy) = spec.at("ipFamilyPolicy").as_str() {
        let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !supported.contains(&policy) {
            report.not_supported(&path.child("ipFamilyPolicy"), policy, &supported);
        }
    }
    let known: HashSet<&str> = old.map(|old| old.texts("clusterIPs")).unwrap_or_default().into_iter().collect();
    let mut sound = true;
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if ips.len() > 1 {
                sound = false;
                report.invalid(&place, all(), "'None' must be the first and only value");
            }
            continue;
        }
        let faults = if known.contains(ip) { Vec::new() } else { names::legacy_ip(ip) };
        sound &= faults.is_empty();
        report.faults(&place.index(index), *ip, faults);
    }
    if ips.len() > 2 {
        report.invalid(&place, all(), "may only hold up to 2 values");
    }
    if !sound {
        return;
    }
    if ips.len() > 1 && !(ips.iter().any(|ip| names::is_ipv6(ip)) && ips.iter().any(|ip| names::is_ipv4(ip))) {
        report.invalid(&place, all(), "may specify no more than one IP for each IP family");
    }
    if !is_headless(spec) {
        for (index, (ip, family)) in ips.iter().zip(&families).enumerate() {
            if matches!(*family, "IPv4" | "IPv6") && (*family == "IPv6") != names::is_ipv6(ip) {
                let text = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
                report.invalid(&place.index(index), *ip, &text);
            }
        }
    }
}

fn cluster_ip_changes(report: &mut Report, new: &Value, old: &Value) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(new) || external(old) || is_headless(new) && is_headless(old) {
        return;
    }
    let place = Path::new("spec.clusterIPs");
    let (before, after) = (old.texts("clusterIPs"), new.texts("clusterIPs"));
    let all = || new.at("clusterIPs").clone();
    if before.len() == after.len() {
        for (index, _) in before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after) {
            report.invalid(&place.index(index), all(), "may not change once set");
        }
        return;
    }
    if !before.is_empty() && after.is_empty() {
        report.invalid(&place.index(0), all(), "primary clusterIP can not be unset");
    }
    if let (Some(before), Some(after)) = (before.first(), after.first())
        && before != after
    {
        report.invalid(&place.index(0), all(), "may not change once set");
    }
    if before.len() > after.len() && after.len() == 1 {
        released(report, new, "clusterIP");
    }
}

fn family_changes(report: &mut Report, new: &Value, old: &Value) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(new) || external(old) || is_headless(new) || is_headless(old) {
        return;
    }
    let place = Path::new("spec.ipFamilies").index(0);
    let (before, after) = (old.texts("ipFamilies"), new.texts("ipFamilies"));
    if before.len() == after.len() {
        // Defaults and addresses say first that a family does not fit; the list itself is told once for each difference.
        for _ in before.iter().zip(&after).filter(|(before, after)| before != after) {
            report.invalid(&place, new.at("ipFamilies").clone(), "may not change once set");
        }
        return;
    }
    if before.len() > after.len() && new.items("clusterIPs").is_empty() {
        report.invalid(&place, new.at("ipFamilies").clone(), "primary ipFamily can not be unset");
    }
    if let (Some(before), Some(after)) = (before.first(), after.first())
        && before != after
    {
        report.invalid(&place, new.at("clusterIPs").clone(), "may not change once set");
    }
    if before.len() > after.len() && after.len() == 1 {
        released(report, new, "ipFamily");
    }
}

fn released(report: &mut Report, new: &Value, what: &str) {
    let policy = new.at("ipFamilyPolicy");
    if policy != "SingleStack" {
        let text = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        report.invalid(&Path::new("spec.ipFamilyPolicy"), policy.clone(), &text);
    }
}

fn port_numbers(report: &mut Report, ports: &[Value], ty: &str, path: &Path) {
    let key = |port: &Value, field: &str| (port.text("protocol").to_owned(), port.int(field));
    if ty == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| port.int("nodePort") != 0) {
            report.forbidden(&path.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| port.int("nodePort") != 0) {
        if !seen.insert(key(port, "nodePort")) {
            report.duplicate(&path.index(index).child("nodePort"), port.int("nodePort"));
        }
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !seen.insert(key(port, "port")) {
            // The server shows its own type, with the names it has inside.
            let (protocol, number) = (names::quote(port.text("protocol")), port.int("port"));
            let value =
                format!("{{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}");
            report.duplicate_text(&path.index(index), &value);
        }
    }
}

fn source_ranges(report: &mut Report, new: &Value, old: Option<&Value>, path: &Path) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let only_balanced = "may only be used when `type` is 'LoadBalancer'";
    let spec = new.at("spec");
    let annotation = |object: &Value| object.at("metadata").at("annotations").at(ANNOTATION).as_str().map(str::to_owned);
    let ranges = spec.texts("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let place = path.child("LoadBalancerSourceRanges");
        if !is_balanced(spec) {
            report.forbidden(&place, only_balanced);
        }
        let known = old.map(|old| old.at("spec").texts("loadBalancerSourceRanges")).unwrap_or_default();
        let known: HashSet<&str> = known.into_iter().map(str::trim).collect();
        for (index, range) in ranges.iter().enumerate() {
            let range = range.trim();
            if !known.contains(range) {
                report.faults(&place.index(index), range, names::legacy_cidr(range));
            }
        }
    } else if let Some(value) = annotation(new) {
        let place = Path::new("metadata.annotations").key(ANNOTATION);
        if !is_balanced(spec) {
            report.forbidden(&place, only_balanced);
        }
        if old.and_then(annotation).as_ref() != Some(&value) && !value.trim().is_empty() {
            for range in value.trim().split(',').map(str::trim) {
                report.faults(&place, range, names::legacy_cidr(range));
            }
        }
    }
}

fn policies(report: &mut Report, spec: &Value, path: &Path) {
    let (place, policy) = (path.child("externalTrafficPolicy"), spec.text("externalTrafficPolicy"));
    if is_external(spec) {
        report.one_of(&place, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        report.invalid(&place, policy, "may only be set for externally-accessible services");
    }
    let (place, port) = (path.child("healthCheckNodePort"), spec.int("healthCheckNodePort"));
    if !needs_health_check(spec) {
        if port != 0 {
            report.invalid(&place, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
        }
    } else if port == 0 {
        report.required(&place, "");
    } else {
        report.faults(&place, port, names::port_number(port));
    }
    let place = path.child("internalTrafficPolicy");
    match spec.at("internalTrafficPolicy").as_str() {
        Some(policy) if !matches!(policy, "Cluster" | "Local") => report.not_supported(&place, policy, &["Cluster", "Local"]),
        None if matches!(spec.text("type"), "ClusterIP" | "LoadBalancer" | "NodePort") => report.required(&place, ""),
        _ => {}
    }
    if let Some(distribution) = spec.at("trafficDistribution").as_str() {
        let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !supported.contains(&distribution) {
            report.not_supported(&path.child("trafficDistribution"), distribution, &supported);
        }
    }
}

pub(super) fn status(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("status.loadBalancer.ingress");
    let ingress = new.at("status").at("loadBalancer").items("ingress");
    if !is_balanced(new.at("spec")) && !ingress.is_empty() {
        report.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, ingress) in ingress.iter().enumerate() {
        let place = path.index(index);
        address(report, ingress, old, &place);
        match (ingress.at("ipMode").as_str(), ingress.text("ip")) {
            (None, "") => {}
            (None, _) => report.required(&place.child("ipMode"), "must be specified when `ip` is set"),
            (Some(_), "") => report.forbidden(&place.child("ipMode"), "may not be specified when `ip` is not set"),
            (Some("Proxy" | "VIP"), _) => {}
            (Some(mode), _) => report.not_supported(&place.child("ipMode"), mode, &["Proxy", "VIP"]),
        }
        hostname(report, ingress, &place);
    }
}

/// The address of one entry of a load balancer's status.
pub(super) fn address(report: &mut Report, ingress: &Value, old: &Value, path: &Path) {
    let ip = ingress.text("ip");
    let known = old.at("status").at("loadBalancer").items("ingress").iter().any(|old| old.text("ip") == ip);
    if !ip.is_empty() && !known {
        report.faults(&path.child("ip"), ip, names::legacy_ip(ip));
    }
}

pub(super) fn hostname(report: &mut Report, ingress: &Value, path: &Path) {
    let (name, place) = (ingress.text("hostname"), path.child("hostname"));
    if !name.is_empty() {
        report.faults(&place, name, names::dns_subdomain(name));
        if names::is_ipv4(name) || names::is_ipv6(name) {
            report.invalid(&place, name, "must be a DNS name, not an IP address");
        }
    }
}

fn ip_warnings(spec: &Value, field: &str) -> Vec<String> {
    let ips = spec.texts(field).into_iter().enumerate();
    ips.filter_map(|(index, ip)| names::ip_warning(ip, &format!("spec.{field}[{index}]"))).collect()
}

pub(super) fn warnings(object: &Value) -> Vec<String> {
    let spec = object.at("spec");
    let mut warnings = Vec::new();
    if !is_headless(spec) {
        warnings.extend(ip_warnings(spec, "clusterIPs"));
    }
    if is_headless(spec) {
        for (field, is_set) in [
            ("loadBalancerIP", !spec.text("loadBalancerIP").is_empty()),
            ("externalIPs", !spec.items("externalIPs").is_empty()),
            ("SessionAffinity", spec.text("sessionAffinity") != "None"),
        ] {
            if is_set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    warnings.extend(ip_warnings(spec, "externalIPs"));
    let is_name = spec.text("type") == "ExternalName";
    if !spec.items("externalIPs").is_empty() {
        if is_name {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        } else if !is_headless(spec) {
            warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
        }
    }
    if !is_name && !spec.text("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.at("trafficDistribution") == &json!("PreferClose") {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}
