//! Pod and what a pod template holds. Source: pkg/apis/core/v1/defaults.go.

use serde_json::Value;

use super::{Object, each, inner, inner_or_new, set_default, text};

/// What a bare Pod gets beyond what its template would.
pub(super) fn pod(object: &mut Object) {
    let Some(spec) = inner_or_new(object, "spec") else { return };
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    set_default(spec, "enableServiceLinks", true);
    let on_host = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
            if on_host {
                for port in each(container, "ports") {
                    if let (None, Some(number)) = (port.get("hostPort").filter(|port| **port != 0), port.get("containerPort").cloned()) {
                        port.insert("hostPort".to_owned(), number);
                    }
                }
            }
        }
    }
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = inner(container, "resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    if let Some(requests) = inner_or_new(resources, "requests") {
        for (resource, amount) in limits {
            requests.entry(resource).or_insert(amount);
        }
    }
}

pub(super) fn pod_spec(spec: &mut Object) {
    // Two names for one thing; the newer wins.
    let account = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    };
    if !account.is_empty() {
        let account = account.to_owned();
        spec.insert("serviceAccount".to_owned(), account.clone().into());
        spec.insert("serviceAccountName".to_owned(), account.into());
    } else {
        spec.remove("serviceAccount");
    }
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "schedulerName", "default-scheduler");
    inner_or_new(spec, "securityContext");
}

/// `podIP` and `podIPs` say the same; the older field wins.
pub(super) fn pod_status(status: &mut Object) {
    let first = status.get("podIPs").and_then(|ips| ips.pointer("/0/ip")).and_then(Value::as_str).unwrap_or_default();
    let single = text(status, "podIP");
    if single.is_empty() && !first.is_empty() {
        status.insert("podIP".to_owned(), first.into());
    } else if !single.is_empty() && single != first {
        status.insert("podIPs".to_owned(), serde_json::json!([{"ip": single}]));
    }
}

pub(super) fn container(container: &mut Object) {
    let policy = if is_latest(text(container, "image")) { "Always" } else { "IfNotPresent" };
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
}

/// Whether an image reference means `:latest`: it says so, or says neither tag nor digest. What is no reference has no tag either.
fn is_latest(image: &str) -> bool {
    let good = !image.is_empty() && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/:._-@".contains(&byte));
    if !good || image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !image.bytes().any(|byte| byte.is_ascii_uppercase()) || image.contains('/'),
    }
}

pub(super) fn probe(probe: &mut Object) {
    for (name, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
        set_default(probe, name, value);
    }
}

pub(super) fn http_get(action: &mut Object) {
    set_default(action, "path", "/");
    set_default(action, "scheme", "HTTP");
}

/// A volume of no kind is an emptyDir.
pub(super) fn volume(volume: &mut Object) {
    if volume.iter().all(|(name, value)| name == "name" || value.is_null()) {
        inner_or_new(volume, "emptyDir");
    }
    if let Some(image) = inner(volume, "image") {
        let policy = if is_latest(text(image, "reference")) { "Always" } else { "IfNotPresent" };
        set_default(image, "pullPolicy", policy);
    }
}

pub(super) fn volume_mode(source: &mut Object) {
    set_default(source, "defaultMode", 0o644);
}

pub(super) fn token_projection(projection: &mut Object) {
    set_default(projection, "expirationSeconds", 3_600);
}

pub(super) fn field_selector(selector: &mut Object) {
    set_default(selector, "apiVersion", "v1");
}

pub(super) fn host_path(source: &mut Object) {
    if source.get("type").is_none_or(Value::is_null) {
        source.insert("type".to_owned(), "".into());
    }
}
