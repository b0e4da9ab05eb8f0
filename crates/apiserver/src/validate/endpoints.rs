//! Endpoints and EndpointSlice. Source: pkg/apis/core/validation/validation.go, pkg/apis/discovery/validation/validation.go.

use serde_json::Value;

use super::service::PROTOCOLS;
use super::{Path, Report, meta, names};
use crate::value::Get;

const MAX_ENDPOINTS: usize = 1_000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY_LABELS: usize = 16;
const MAX_HINTS: usize = 8;

pub(super) fn endpoints(report: &mut Report, new: &Value, old: Option<&Value>) {
    let before = report.count();
    for (index, subset) in new.items("subsets").iter().enumerate() {
        let place = Path::new("subsets").index(index);
        let ports = subset.items("ports");
        if subset.items("addresses").is_empty() && subset.items("notReadyAddresses").is_empty() {
            report.required(&place, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (index, address) in subset.items(list).iter().enumerate() {
                self::address(report, address, &place.child(list).index(index));
            }
        }
        for (index, port) in ports.iter().enumerate() {
            let place = place.child("ports").index(index);
            match port.text("name") {
                "" if ports.len() > 1 => report.required(&place.child("name"), ""),
                "" => {}
                name => report.faults(&place.child("name"), name, names::dns_label(name)),
            }
            report.faults(&place.child("port"), port.int("port"), names::port_number(port.int("port")));
            report.one_of(&place.child("protocol"), port.text("protocol"), &PROTOCOLS);
            app_protocol(report, port, &place);
        }
    }
    // What an older server accepted may stay as it is.
    if old.is_some_and(|old| old.at("subsets") == new.at("subsets")) {
        report.truncate(before);
    }
}

fn address(report: &mut Report, address: &Value, path: &Path) {
    let ip = address.text("ip");
    report.faults(&path.child("ip"), ip, names::legacy_ip(ip));
    if !address.text("hostname").is_empty() {
        report.faults(&path.child("hostname"), address.text("hostname"), names::dns_label(address.text("hostname")));
    }
    if let Some(node) = address.at("nodeName").as_str() {
        report.faults(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    if names::is_ipv4(ip) || names::is_ipv6(ip) {
        report.faults(&path.child("ip"), ip, names::special_ip(ip));
    } else {
        report.invalid(&path.child("ip"), ip, "must be a valid IP address");
    }
}

fn app_protocol(report: &mut Report, port: &Value, path: &Path) {
    if let Some(name) = port.at("appProtocol").as_str() {
        report.faults(&path.child("appProtocol"), name, names::label_key(name));
    }
}

pub(super) fn endpoint_slice(report: &mut Report, new: &Value, old: Option<&Value>) {
    let path = Path::new("");
    let ty = new.text("addressType");
    report.one_of(&path.child("addressType"), ty, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(report, new.items("ports"), &path.child("ports"));
    let before = report.count();
    let (endpoints, place) = (new.items("endpoints"), path.child("endpoints"));
    if endpoints.len() > MAX_ENDPOINTS {
        report.too_many(&place, endpoints.len(), MAX_ENDPOINTS);
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            self::endpoint(report, endpoint, ty, &place.index(index));
        }
    }
    if let Some(old) = old {
        if old.at("endpoints") == new.at("endpoints") {
            report.truncate(before);
        }
        if old.text("addressType") != ty {
            report.invalid(&path.child("addressType"), Value::Null, "field is immutable");
        }
    }
}

pub(super) fn slice_warnings(slice: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if slice.text("addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    warnings
}

fn slice_ports(report: &mut Report, ports: &[Value], path: &Path) {
    if ports.len() > MAX_PORTS {
        report.too_many(path, ports.len(), MAX_PORTS);
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (place, name) = (path.index(index), port.text("name"));
        if !name.is_empty() {
            report.faults(&place.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            report.duplicate(&place.child("name"), name);
        }
        match port.at("protocol").as_str() {
            None => report.required(&place.child("protocol"), ""),
            Some(protocol) if !PROTOCOLS.contains(&protocol) => report.not_supported(&place.child("protocol"), protocol, &PROTOCOLS),
            Some(_) => {}
        }
        app_protocol(report, port, &place);
    }
}

fn endpoint(report: &mut Report, endpoint: &Value, ty: &str, path: &Path) {
    let (addresses, place) = (endpoint.texts("addresses"), path.child("addresses"));
    if addresses.is_empty() {
        report.required(&place, "");
    } else if addresses.len() > MAX_ADDRESSES {
        report.too_many(&place, addresses.len(), MAX_ADDRESSES);
    }
    for (index, address) in addresses.into_iter().enumerate() {
        let item = place.index(index);
        let (faults, fits) = match ty {
            "IPv4" => (names::legacy_ip(address), names::is_ipv4(address)),
            "IPv6" => (names::ip(address), names::is_ipv6(address)),
            "FQDN" => {
                domain_name(report, address, &item);
                continue;
            }
            _ => continue,
        };
        if !faults.is_empty() {
            report.faults(&item, address, faults);
            continue;
        }
        if !fits {
            report.invalid(&place, address, &format!("must be an {ty} address"));
        }
        report.faults(&item, address, names::special_ip(address));
    }
    if let Some(node) = endpoint.at("nodeName").as_str() {
        report.faults(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    let topology = endpoint.at("deprecatedTopology").as_object().map_or(0, |labels| labels.len());
    if topology > MAX_TOPOLOGY_LABELS {
        report.too_many(&path.child("deprecatedTopology"), topology, MAX_TOPOLOGY_LABELS);
    }
    meta::labels(report, endpoint, "deprecatedTopology", &path.child("deprecatedTopology"));
    if let Some(name) = endpoint.at("hostname").as_str() {
        report.faults(&path.child("hostname"), name, names::dns_label(name));
    }
    for (list, rule) in [("forZones", names::label_value as fn(&str) -> Vec<String>), ("forNodes", names::dns_subdomain)] {
        let (hints, place) = (endpoint.at("hints").items(list), path.child("hints").child(list));
        if hints.len() > MAX_HINTS {
            report.too_many(&place, hints.len(), MAX_HINTS);
            return;
        }
        for (index, hint) in hints.iter().enumerate() {
            let (item, name) = (place.index(index).child("name"), hint.text("name"));
            if hints[..index].iter().any(|other| other.text("name") == name) {
                report.duplicate(&item, name);
            }
            report.faults(&item, name, rule(name));
        }
    }
}

/// A domain name with at least two labels; a dot may end it.
fn domain_name(report: &mut Report, name: &str, path: &Path) {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let faults = names::dns_subdomain(bare);
    if name.is_empty() {
        report.required(path, "");
    } else if !faults.is_empty() {
        report.invalid(path, bare, &faults.join(","));
    } else if !bare.contains('.') {
        report.invalid(path, bare, "should be a domain with at least two segments separated by dots");
    } else if let Some(label) = bare.split('.').find(|label| label.len() > 63) {
        report.invalid(path, label, &names::dns_label(label).join(","));
    }
}
