//! Ingress, IngressClass, IPAddress, ServiceCIDR. Source: pkg/apis/networking/validation/validation.go.

use serde_json::{Value, json};

use super::{Path, Report, meta, names, service};
use crate::value::Get;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const MAX_CONTROLLER: usize = 250;

pub(super) fn ingress(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if spec.items("rules").is_empty() && !spec.has("defaultBackend") {
        report.invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if spec.has("defaultBackend") {
        backend(report, spec.at("defaultBackend"), &path.child("defaultBackend"));
    }
    for (index, rule) in spec.items("rules").iter().enumerate() {
        self::rule(report, rule, &path.child("rules").index(index));
    }
    for (index, tls) in spec.items("tls").iter().enumerate() {
        let place = path.child("tls").index(index);
        for (index, host) in tls.texts("hosts").into_iter().enumerate() {
            report.faults(&place.child("hosts").index(index), host, host_faults(host));
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() {
            report.faults(&place.child("secretName"), secret, names::dns_subdomain(secret));
        }
    }
    let class = spec.at("ingressClassName").as_str();
    if let Some(class) = class {
        report.faults(&path.child("ingressClassName"), class, names::dns_subdomain(class));
    }
    let annotation = new.at("metadata").at("annotations").at(CLASS_ANNOTATION).as_str();
    if let (None, Some(class), Some(annotation)) = (old, class, annotation)
        && class != annotation
    {
        let place = Path::new("annotations").child(CLASS_ANNOTATION);
        report.invalid(&place, annotation, "must match `ingressClassName` when both are specified");
    }
}

fn host_faults(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns_subdomain(host) }
}

fn rule(report: &mut Report, rule: &Value, path: &Path) {
    let host = rule.text("host");
    if !host.is_empty() {
        if names::is_ipv4(host) || names::is_ipv6(host) {
            report.invalid(&path.child("host"), host, "must be a DNS name, not an IP address");
        }
        report.faults(&path.child("host"), host, host_faults(host));
    }
    if rule.has("http") {
        let (paths, place) = (rule.at("http").items("paths"), path.child("http").child("paths"));
        if paths.is_empty() {
            report.required(&place, "");
        }
        for (index, path) in paths.iter().enumerate() {
            self::path(report, path, &place.index(index));
        }
    }
}

fn path(report: &mut Report, value: &Value, path: &Path) {
    let Some(ty) = value.at("pathType").as_str() else {
        report.required(&path.child("pathType"), "pathType must be specified");
        return;
    };
    let (text, place) = (value.text("path"), path.child("path"));
    match ty {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                report.invalid(&place, text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
                report.invalid(&place, text, &format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
                report.invalid(&place, text, &format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                report.invalid(&place, text, "must be an absolute path");
            }
        }
        ty => report.not_supported(&path.child("pathType"), ty, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(report, value.at("backend"), &path.child("backend"));
}

fn backend(report: &mut Report, backend: &Value, path: &Path) {
    match (backend.has("resource"), backend.has("service")) {
        (true, true) => report.invalid(path, "", "cannot set both resource and service backends"),
        (false, false) => report.invalid(path, "", "resource or service backend is required"),
        (true, false) => reference(report, backend.at("resource"), &path.child("resource")),
        (false, true) => {
            let (service, place) = (backend.at("service"), path.child("service"));
            match service.text("name") {
                "" => report.required(&place.child("name"), ""),
                name => report.faults(&place.child("name"), name, names::dns_label(name)),
            }
            let port = service.at("port");
            match (port.text("name"), port.int("number")) {
                ("", 0) => report.required(path, "port name or number is required"),
                ("", number) => report.faults(&place.child("port").child("number"), number, names::port_number(number)),
                (name, 0) => report.faults(&place.child("port").child("name"), name, names::port_name(name)),
                _ => report.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

/// A reference by group, kind and name.
fn reference(report: &mut Report, reference: &Value, path: &Path) {
    if let Some(group) = reference.at("apiGroup").as_str() {
        report.faults(&path.child("apiGroup"), group, names::dns_subdomain(group));
    }
    segments(report, reference, &["kind", "name"], path);
}

fn segments(report: &mut Report, reference: &Value, fields: &[&str], path: &Path) {
    for field in fields {
        match reference.text(field) {
            "" => report.required(&path.child(field), ""),
            text => report.faults(&path.child(field), text, names::path_segment(text)),
        }
    }
}

pub(super) fn status(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("status.loadBalancer.ingress");
    for (index, ingress) in new.at("status").at("loadBalancer").items("ingress").iter().enumerate() {
        let place = path.index(index);
        service::address(report, ingress, old, &place);
        service::hostname(report, ingress, &place);
    }
}

pub(super) fn warnings(ingress: &Value) -> Vec<String> {
    let annotated = ingress.at("metadata").at("annotations").has(CLASS_ANNOTATION);
    let text = format!("annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead");
    if annotated { vec![text] } else { Vec::new() }
}

pub(super) fn ingress_class(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    let (controller, place) = (spec.text("controller"), path.child("controller"));
    if let Some(old) = old {
        meta::immutable(report, &place, spec.at("controller"), old.at("spec").at("controller"));
    }
    if controller.len() > MAX_CONTROLLER {
        report.too_long(&place, MAX_CONTROLLER);
    }
    prefixed_path(report, controller, &place);
    let (parameters, path) = (spec.at("parameters"), path.child("parameters"));
    if parameters.is_null() {
        return;
    }
    reference(report, parameters, &path);
    let namespace = parameters.at("namespace").as_str();
    match (parameters.at("scope").as_str(), namespace) {
        (None, _) => report.required(&path.child("scope"), ""),
        (Some("Namespace"), None) => report.required(&path.child("namespace"), "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(name)) => report.faults(&path.child("namespace"), name, names::dns_label(name)),
        (Some("Cluster"), Some(_)) => report.forbidden(&path.child("namespace"), "`parameters.scope` is set to 'Cluster'"),
        (Some("Cluster"), None) => {}
        (Some(scope), _) => report.not_supported(&path.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}

/// `example.com/controller`.
fn prefixed_path(report: &mut Report, text: &str, path: &Path) {
    match text.split_once('/') {
        _ if text.is_empty() => report.required(path, ""),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            report.faults(path, host, names::dns_subdomain(host));
            if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
                let regex = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
                report.invalid(path, rest, regex);
            }
        }
        _ => report.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

pub(super) fn ip_address(report: &mut Report, new: &Value, old: Option<&Value>) {
    let path = Path::new("spec.parentRef");
    let parent = new.at("spec").at("parentRef");
    if let Some(old) = old {
        if parent != old.at("spec").at("parentRef") {
            report.invalid(&path, Value::Null, "field is immutable");
        }
        return;
    }
    if parent.is_null() {
        report.required(&path, "");
        return;
    }
    if !parent.text("group").is_empty() {
        report.faults(&path.child("group"), parent.text("group"), names::dns_subdomain(parent.text("group")));
    }
    segments(report, parent, &["resource", "name"], &path);
    if !parent.text("namespace").is_empty() {
        report.faults(&path.child("namespace"), parent.text("namespace"), names::path_segment(parent.text("namespace")));
    }
}

pub(super) fn service_cidr(report: &mut Report, new: &Value, old: Option<&Value>) {
    let path = Path::new("spec.cidrs");
    let cidrs = new.at("spec").texts("cidrs");
    let Some(old) = old.map(|old| old.at("spec").texts("cidrs")) else {
        service_cidrs(report, new, &path);
        return;
    };
    // One family may become two, nothing else may change.
    if old.len() == cidrs.len() || old.len() == 1 && cidrs.len() == 2 {
        for (index, (_, new)) in old.iter().zip(&cidrs).enumerate().filter(|(_, (old, new))| old != new) {
            report.invalid(&path.index(index), *new, "field is immutable");
        }
        if old.len() != cidrs.len() {
            service_cidrs(report, new, &path);
        }
    } else {
        report.invalid(&path, new.at("spec").at("cidrs").clone(), "field is immutable");
    }
}

fn service_cidrs(report: &mut Report, object: &Value, path: &Path) {
    let cidrs = object.at("spec").texts("cidrs");
    match cidrs.len() {
        0 => return report.required(path, "at least one CIDR required"),
        1 | 2 => {}
        // The server shows its own type, with the names it has inside.
        _ => return report.invalid(path, json!({"CIDRs": cidrs}), "may only hold up to 2 values"),
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        report.faults(&path.index(index), *cidr, names::cidr(cidr));
    }
    let of = |family: fn(&str) -> bool| cidrs.iter().filter(|cidr| cidr.split('/').next().is_some_and(family)).count();
    if of(names::is_ipv4) == 2 || of(names::is_ipv6) == 2 {
        let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        report.invalid(path, object.at("spec").at("cidrs").clone(), text);
    }
}
