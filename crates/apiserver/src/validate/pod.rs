//! Pod, and the pod template that others hold. Source: pkg/apis/core/validation/validation.go.
//!
//! What a pod's fields mean to a kubelet that this project does not have (Windows, resource claims, resizing, the volumes of storage
//! vendors) is not checked.

mod container;
mod volume;

use std::collections::HashSet;

use serde_json::Value;

use super::{Path, Report, meta, names};
use crate::value::Get;

/// What holds the spec: some rules are for Pods alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Pod,
    Template,
}

pub(super) fn pod(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    self::spec(report, spec, &path, Holder::Pod);
    if spec.text("serviceAccountName").is_empty() {
        for (index, volume) in spec.items("volumes").iter().enumerate() {
            let place = path.child("volumes").index(index).child("projected").child("sources");
            for (index, _) in
                volume.at("projected").items("sources").iter().enumerate().filter(|(_, source)| source.has("serviceAccountToken"))
            {
                let place = place.index(index).child("serviceAccountToken");
                report.forbidden(&place, "must not be specified when serviceAccountName is not set");
            }
        }
    }
    report.not_negative(&path.child("terminationGracePeriodSeconds"), spec.int("terminationGracePeriodSeconds"));
    for list in ["containers", "initContainers"] {
        for (index, container) in spec.items(list).iter().enumerate() {
            let image = container.text("image");
            if image.trim() != image {
                report.invalid(&path.child(list).index(index).child("image"), image, "must not have leading or trailing whitespace");
            }
        }
    }
    match old {
        Some(old) => changes(report, spec, old.at("spec"), &path),
        None => {
            if !spec.items("ephemeralContainers").is_empty() {
                report.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
            }
            if !spec.text("nodeName").is_empty() && !spec.items("schedulingGates").is_empty() {
                report.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
            }
        }
    }
}

pub(super) fn template(report: &mut Report, template: &Value, path: &Path) {
    let meta = template.at("metadata");
    meta::labels(report, meta, "labels", &path.child("labels"));
    meta::annotations(report, meta, &path.child("annotations"));
    spec(report, template.at("spec"), &path.child("spec"), Holder::Template);
    if !template.at("spec").items("ephemeralContainers").is_empty() {
        report.forbidden(&path.child("spec").child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

fn spec(report: &mut Report, spec: &Value, path: &Path, holder: Holder) {
    if !spec.has("terminationGracePeriodSeconds") {
        report.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::volumes(report, spec.items("volumes"), &path.child("volumes"));
    container::containers(report, spec, &volumes, path);
    if spec.flag("hostNetwork") {
        for (index, container) in spec.items("containers").iter().enumerate() {
            let place = path.child("containers").index(index).child("ports");
            for (index, port) in container.items("ports").iter().enumerate() {
                let host = port.int("hostPort");
                if (holder == Holder::Pod || host != 0) && host != port.int("containerPort") {
                    let text = "must match `containerPort` when `hostNetwork` is true";
                    report.invalid(&place.index(index).child("hostPort"), host, text);
                }
            }
        }
    }
    report.one_of(&path.child("restartPolicy"), spec.text("restartPolicy"), &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    report.one_of(&path.child("dnsPolicy"), spec.text("dnsPolicy"), &policies);
    meta::labels(report, spec, "nodeSelector", &path.child("nodeSelector"));
    let (context, place) = (spec.at("securityContext"), path.child("securityContext"));
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        let id = context.at(field).as_i64();
        report.faults(&place.child(field), id, id.map(names::user_id).unwrap_or_default());
    }
    for (index, group) in context.items("supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or_default();
        report.faults(&place.child("supplementalGroups").index(index), id, names::user_id(id));
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        report.invalid(&path.child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    dns(report, spec, &path.child("dnsConfig"));
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        let text = spec.text(field);
        if !text.is_empty() {
            report.faults(&path.child(field), text, rule(text));
        }
        if let ("nodeName", Some(deadline)) = (field, spec.at("activeDeadlineSeconds").as_i64())
            && !(1..=i64::from(i32::MAX)).contains(&deadline)
        {
            report.invalid(&path.child("activeDeadlineSeconds"), deadline, &names::range(1, i32::MAX.into()));
        }
        if field == "subdomain" {
            tolerations(report, spec.items("tolerations"), &path.child("tolerations"));
            host_aliases(report, spec.items("hostAliases"), &path.child("hostAliases"));
        }
    }
    if let Some(policy) = spec.at("preemptionPolicy").as_str() {
        report.one_of(&path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
}

fn dns(report: &mut Report, spec: &Value, path: &Path) {
    let config = spec.at("dnsConfig");
    let (servers, searches) = (config.texts("nameservers"), config.texts("searches"));
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            return report.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return report.required(&path.child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > 3 {
        report.invalid(&path.child("nameservers"), config.at("nameservers").clone(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.into_iter().enumerate() {
        report.faults(&path.child("nameservers").index(index), server, names::legacy_ip(server));
    }
    if searches.len() > 32 {
        report.invalid(&path.child("searches"), config.at("searches").clone(), "must not have more than 32 search paths");
    }
    for (index, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        report.faults(&path.child("searches").index(index), search, names::search_domain(name));
    }
    for (index, option) in config.items("options").iter().enumerate() {
        if option.text("name").is_empty() {
            report.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

fn tolerations(report: &mut Report, tolerations: &[Value], path: &Path) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let place = path.index(index);
        let (key, value, effect) = (toleration.text("key"), toleration.text("value"), toleration.text("effect"));
        let operator = toleration.text("operator");
        if !key.is_empty() {
            report.faults(&place.child("key"), key, names::label_key(key));
        } else if operator != "Exists" {
            let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            report.invalid(&place.child("operator"), operator, text);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            report.invalid(&place.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "" | "Equal" => {
                let faults = names::label_value(value);
                if !faults.is_empty() {
                    report.invalid(&place.child("operator"), value, &faults.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    report.invalid(&place.child("operator"), value, "value must be empty when `operator` is 'Exists'");
                }
            }
            other => report.not_supported(&place.child("operator"), other, &["Equal", "Exists"]),
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() && !effects.contains(&effect) {
            report.not_supported(&place.child("effect"), effect, &effects);
        }
    }
}

fn host_aliases(report: &mut Report, aliases: &[Value], path: &Path) {
    for (index, alias) in aliases.iter().enumerate() {
        let place = path.index(index);
        report.faults(&place.child("ip"), alias.text("ip"), names::legacy_ip(alias.text("ip")));
        for (index, name) in alias.texts("hostnames").into_iter().enumerate() {
            report.faults(&place.child("hostnames").index(index), name, names::dns_subdomain(name));
        }
    }
}

pub(super) fn warnings(pod: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let faults = names::dns_label(pod.at("metadata").text("name"));
    if !faults.is_empty() {
        let text = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
        warnings.push(format!("metadata.name: {text}: [{}]", faults.join(" ")));
    }
    for (index, secret) in pod.at("spec").items("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            warnings.push(format!("spec.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    for (index, constraint) in pod.at("spec").items("topologySpreadConstraints").iter().enumerate() {
        if !constraint.has("labelSelector") {
            let text = "a null labelSelector results in matching no pod";
            warnings.push(format!("spec.topologySpreadConstraints[{index}].labelSelector: {text}"));
        }
    }
    warnings
}

/// What an update of a Pod may not change: nearly everything.
fn changes(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
        `spec.tolerations` (only additions to existing tolerations),\
        `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    for list in ["containers", "initContainers"] {
        if new.items(list).len() != old.items(list).len() {
            report.forbidden(&path.child(list), "pod updates may not add or remove containers");
            return;
        }
    }
    let place = path.child("activeDeadlineSeconds");
    match (new.at("activeDeadlineSeconds").as_i64(), old.at("activeDeadlineSeconds").as_i64()) {
        (Some(new), Some(old)) if new > old => {
            return report.invalid(&place, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => report.invalid(&place, Value::Null, "must not update from a positive integer to nil value"),
        _ => {}
    }
    let texts = |spec: &Value, list: &str| spec.items(list).iter().map(Value::to_string).collect::<HashSet<_>>();
    if !texts(old, "tolerations").is_subset(&texts(new, "tolerations")) {
        let text = "existing toleration can not be modified except its tolerationSeconds";
        report.forbidden(&path.child("tolerations"), text);
    }
    let gates = texts(old, "schedulingGates");
    for (index, gate) in new.items("schedulingGates").iter().enumerate().filter(|(_, gate)| !gates.contains(&gate.to_string())) {
        let text = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.text("name"));
        report.forbidden(&path.child("schedulingGates").index(index).child("name"), &text);
    }
    let (was_gated, mut munged) = (!old.items("schedulingGates").is_empty(), new.clone());
    for list in ["containers", "initContainers"] {
        let pairs = munged.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().zip(old.items(list));
        for (new, old) in pairs.filter(|(new, _)| new.is_object()) {
            new["image"] = old.at("image").clone();
        }
    }
    let mut free = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    if old.int("terminationGracePeriodSeconds") < 0 && new.int("terminationGracePeriodSeconds") == 1 {
        free.push("terminationGracePeriodSeconds");
    }
    if was_gated && old.pairs("nodeSelector").all(|(key, value)| new.at("nodeSelector").at(key) == value) {
        free.push("nodeSelector");
    }
    if let Some(munged) = munged.as_object_mut() {
        for field in free {
            match old.at(field) {
                Value::Null => munged.remove(field),
                value => munged.insert(field.to_owned(), value.clone()),
            };
        }
    }
    if munged != *old {
        report.forbidden(path, &format!("pod updates may not change fields other than {UPDATABLE}\n{}", difference(old, &munged)));
    }
}

/// The fields that differ, one line each.
fn difference(old: &Value, new: &Value) -> String {
    let fields = |value: &Value| {
        value.as_object().map(|object| object.keys().cloned().collect::<std::collections::BTreeSet<_>>()).unwrap_or_default()
    };
    let changed = fields(old).union(&fields(new)).filter(|field| old.at(field) != new.at(field)).cloned().collect::<Vec<_>>();
    let lines = changed.iter().map(|field| format!("- {field}: {}\n+ {field}: {}\n", old.at(field), new.at(field)));
    lines.collect()
}
