//! The containers of a pod: names, images, ports, environment, mounts, resources, probes.

use std::collections::HashSet;

use serde_json::Value;

use crate::defaults::quantity;
use crate::validate::service::{PROTOCOLS, number_or_name};
use crate::validate::{Path, Report, names};
use crate::value::Get;

pub(super) fn containers(report: &mut Report, spec: &Value, volumes: &HashSet<&str>, path: &Path) {
    let regular = spec.items("containers");
    let grace = spec.int("terminationGracePeriodSeconds");
    let mut names = HashSet::new();
    let place = path.child("containers");
    if regular.is_empty() {
        report.required(&place, "");
    }
    for (index, container) in regular.iter().enumerate() {
        let place = place.index(index);
        common(report, container, volumes, &place);
        if !names.insert(container.text("name")) {
            report.duplicate(&place.child("name"), container.text("name"));
        }
        hooks_and_probes(report, container, grace, &place);
    }
    host_ports(report, regular, &place);
    let place = path.child("initContainers");
    for (index, container) in spec.items("initContainers").iter().enumerate() {
        let (item, policy) = (place.index(index), container.text("restartPolicy"));
        common(report, container, volumes, &item);
        if !policy.is_empty() && policy != "Always" {
            report.not_supported(&item.child("restartPolicy"), policy, &["Always"]);
        }
        if !names.insert(container.text("name")) {
            report.duplicate(&item.child("name"), container.text("name"));
        }
        host_ports(report, std::slice::from_ref(container), &place);
        if policy == "Always" {
            hooks_and_probes(report, container, grace, &item);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                report.forbidden(&item.child(field), "may not be set for init containers without restartPolicy=Always");
            }
        }
    }
}

fn common(report: &mut Report, container: &Value, volumes: &HashSet<&str>, path: &Path) {
    match container.text("name") {
        "" => report.required(&path.child("name"), ""),
        name => report.faults(&path.child("name"), name, names::dns_label(name)),
    }
    if container.text("image").is_empty() {
        report.required(&path.child("image"), "");
    }
    let place = path.child("terminationMessagePolicy");
    report.one_of(&place, container.text("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(report, container.items("ports"), &path.child("ports"));
    env(report, container, path);
    mounts(report, container, volumes, &path.child("volumeMounts"));
    report.one_of(&path.child("imagePullPolicy"), container.text("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources(report, container.at("resources"), &path.child("resources"));
    huge_pages(report, container.at("resources"), &path.child("resources"));
    security(report, container.at("securityContext"), &path.child("securityContext"));
}

fn ports(report: &mut Report, ports: &[Value], path: &Path) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (place, name) = (path.index(index), port.text("name"));
        if !name.is_empty() {
            let faults = names::port_name(name);
            if faults.is_empty() && !seen.insert(name) {
                report.duplicate(&place.child("name"), name);
            }
            report.faults(&place.child("name"), name, faults);
        }
        match port.int("containerPort") {
            0 => report.required(&place.child("containerPort"), ""),
            number => report.faults(&place.child("containerPort"), number, names::port_number(number)),
        }
        if port.int("hostPort") != 0 {
            report.faults(&place.child("hostPort"), port.int("hostPort"), names::port_number(port.int("hostPort")));
        }
        report.one_of(&place.child("protocol"), port.text("protocol"), &PROTOCOLS);
    }
}

fn host_ports(report: &mut Report, containers: &[Value], path: &Path) {
    let mut seen = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in container.items("ports").iter().enumerate().filter(|(_, port)| port.int("hostPort") != 0) {
            let key = format!("{}/{}/{}", port.text("protocol"), port.text("hostIP"), port.int("hostPort"));
            if !seen.insert(key.clone()) {
                report.duplicate(&path.index(index).child("ports").index(number).child("hostPort"), key);
            }
        }
    }
}

fn env(report: &mut Report, container: &Value, path: &Path) {
    for (index, variable) in container.items("env").iter().enumerate() {
        let (place, name) = (path.child("env").index(index), variable.text("name"));
        match name {
            "" => report.required(&place.child("name"), ""),
            name => report.faults(&place.child("name"), name, names::env_name(name)),
        }
        let (from, place) = (variable.at("valueFrom"), place.child("valueFrom"));
        if from.is_null() {
            continue;
        }
        let mut sources = 0;
        for source in
            ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"].into_iter().filter(|source| from.has(source))
        {
            sources += 1;
            let (reference, place) = (from.at(source), place.child(source));
            match source {
                "fieldRef" => field_reference(report, reference, &place),
                "resourceFieldRef" if reference.text("resource").is_empty() => report.required(&place.child("resource"), ""),
                "configMapKeyRef" | "secretKeyRef" => {
                    report.faults(&place.child("name"), reference.text("name"), names::dns_subdomain(reference.text("name")));
                    match reference.text("key") {
                        "" => report.required(&place.child("key"), ""),
                        key => report.faults(&place.child("key"), key, names::config_key(key)),
                    }
                }
                _ => {}
            }
        }
        if sources == 0 {
            let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            report.invalid(&place, "", text);
        } else if !variable.text("value").is_empty() {
            report.invalid(&place, "", "may not be specified when `value` is not empty");
        } else if sources > 1 {
            report.invalid(&place, "", "may not have more than one field specified at a time");
        }
    }
    let place = path.child("envFrom");
    for (index, source) in container.items("envFrom").iter().enumerate() {
        let item = place.index(index);
        if !source.text("prefix").is_empty() {
            report.faults(&item.child("prefix"), source.text("prefix"), names::env_name(source.text("prefix")));
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|field| source.has(field)).collect();
        for field in &given {
            match source.at(field).text("name") {
                "" => report.required(&item.child(field).child("name"), ""),
                name => report.faults(&item.child(field).child("name"), name, names::dns_subdomain(name)),
            }
        }
        match given.len() {
            0 => report.invalid(&place, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => report.invalid(&place, "", "may not have more than one field specified at a time"),
        }
    }
}

/// A field of the pod as a variable's value.
fn field_reference(report: &mut Report, reference: &Value, path: &Path) {
    const FIELDS: [&str; 9] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let field = reference.text("fieldPath");
    if reference.text("apiVersion").is_empty() {
        report.required(&path.child("apiVersion"), "");
    } else if field.is_empty() {
        report.required(&path.child("fieldPath"), "");
    } else if !FIELDS.contains(&field) && !field.starts_with("metadata.annotations['") && !field.starts_with("metadata.labels['") {
        let text = format!("error converting fieldPath: field label not supported: {field}");
        report.invalid(&path.child("fieldPath"), field, &text);
    }
}

fn mounts(report: &mut Report, container: &Value, volumes: &HashSet<&str>, path: &Path) {
    let mut seen = HashSet::new();
    for (index, mount) in container.items("volumeMounts").iter().enumerate() {
        let (place, name, target) = (path.index(index), mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            report.required(&place.child("name"), "");
        }
        if !volumes.contains(name) {
            report.not_found(&place.child("name"), name);
        }
        if target.is_empty() {
            report.required(&place.child("mountPath"), "");
        }
        if !seen.insert(target) {
            report.invalid(&place.child("mountPath"), target, "must be unique");
        }
        for field in ["subPath", "subPathExpr"] {
            super::volume::relative_path(report, mount.text(field), &path.child(field));
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let text = "subPathExpr and subPath are mutually exclusive";
            report.invalid(&place.child("subPathExpr"), mount.text("subPathExpr"), text);
        }
        if let Some(mode) = mount.at("mountPropagation").as_str() {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            let place = path.child("mountPropagation");
            if !supported.contains(&mode) {
                report.not_supported(&place, mode, &supported);
            }
            if mode == "Bidirectional" && !container.at("securityContext").flag("privileged") {
                report.forbidden(&place, "Bidirectional mount propagation is available only to privileged containers");
            }
        }
    }
}

fn resources(report: &mut Report, resources: &Value, path: &Path) {
    let limits = resources.at("limits");
    for list in ["limits", "requests"] {
        for (name, text) in resources.pairs(list) {
            let place = path.child(list).key(name);
            let huge = name.starts_with("hugepages-");
            report.faults(&place, name, names::label_key(name));
            if !name.contains('/') && !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !huge {
                report.invalid(&place, name, "must be a standard resource type or fully qualified");
                report.invalid(&place, name, "must be a standard resource for containers");
            }
            let Some(amount) = quantity(resources.at(list).at(name)) else { continue };
            if amount.is_negative() {
                report.invalid(&place, text, "must be greater than or equal to 0");
            }
            let whole = name.contains('/') && !name.split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io"));
            if whole && !amount.is_whole() {
                report.invalid(&place, text, "must be an integer");
            }
            if list != "requests" {
                continue;
            }
            let place = path.child("requests");
            match quantity(limits.at(name)) {
                Some(limit) if (huge || whole) && amount != limit => {
                    report.invalid(&place, text, &format!("must be equal to {name} limit of {limit}"));
                }
                Some(limit) if amount > limit => {
                    report.invalid(&place, text, &format!("must be less than or equal to {name} limit of {limit}"));
                }
                None if huge || whole => report.required(&path.child("limits"), "Limit must be set for non overcommitable resources"),
                _ => {}
            }
        }
    }
}

/// Pages alone are nothing to run on.
fn huge_pages(report: &mut Report, resources: &Value, path: &Path) {
    let mut names = ["limits", "requests"].into_iter().flat_map(|list| resources.pairs(list)).map(|(name, _)| name);
    let has_compute = names.clone().any(|name| matches!(name, "cpu" | "memory"));
    if !has_compute && names.any(|name| name.starts_with("hugepages-")) {
        report.forbidden(path, "HugePages require cpu or memory");
    }
}

fn security(report: &mut Report, context: &Value, path: &Path) {
    for field in ["runAsUser", "runAsGroup"] {
        let id = context.at(field).as_i64();
        report.faults(&path.child(field), id, id.map(names::user_id).unwrap_or_default());
    }
    if context.at("allowPrivilegeEscalation") == &Value::Bool(false) && context.flag("privileged") {
        let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        report.invalid(path, context.clone(), text);
    }
}

fn hooks_and_probes(report: &mut Report, container: &Value, grace: i64, path: &Path) {
    for hook in ["postStart", "preStop"] {
        let (action, place) = (container.at("lifecycle").at(hook), path.child("lifecycle").child(hook));
        if !action.is_null() {
            handler(report, action, grace, &place);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, place) = (container.at(field), path.child(field));
        if probe.is_null() {
            continue;
        }
        handler(report, probe, grace, &place);
        for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            report.not_negative(&place.child(number), probe.int(number));
        }
        let seconds = probe.at("terminationGracePeriodSeconds").as_i64();
        if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
            report.invalid(&place.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
        }
        match (field, seconds) {
            ("readinessProbe", Some(seconds)) => {
                report.invalid(&place.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
            }
            ("livenessProbe" | "startupProbe", _) if probe.int("successThreshold") != 1 => {
                report.invalid(&place.child("successThreshold"), probe.int("successThreshold"), "must be 1");
            }
            _ => {}
        }
    }
}

/// Exactly one way to ask.
fn handler(report: &mut Report, handler: &Value, grace: i64, path: &Path) {
    let mut given = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"].into_iter().filter(|kind| handler.has(kind)) {
        let (action, place) = (handler.at(kind), path.child(kind));
        given += 1;
        if given > 1 {
            report.forbidden(&place, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if action.items("command").is_empty() => report.required(&place.child("command"), ""),
            "httpGet" => {
                if action.text("path").is_empty() {
                    report.required(&place.child("path"), "");
                }
                number_or_name(report, action.at("port"), &place.child("port"));
                if !matches!(action.text("scheme"), "HTTP" | "HTTPS") {
                    report.not_supported(&place.child("scheme"), action.text("scheme"), &["HTTP", "HTTPS"]);
                }
                for header in action.items("httpHeaders") {
                    report.faults(&place.child("httpHeaders"), header.text("name"), names::http_header(header.text("name")));
                }
            }
            "tcpSocket" | "grpc" => number_or_name(report, action.at("port"), &place.child("port")),
            "sleep" if !(0..=grace).contains(&action.int("seconds")) => {
                let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                report.invalid(&place, action.int("seconds"), &text);
            }
            _ => {}
        }
    }
    if given == 0 {
        report.required(path, "must specify a handler type");
    }
}
