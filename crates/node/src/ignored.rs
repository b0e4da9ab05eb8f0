//! What a Pod asks for and does not get here: told by an Event, never left out in silence.
//!
//! Owns the list of the fields of a Pod's spec that this node heeds. Whatever else a spec holds is told, so a field that Kubernetes gets next
//! year is told as well.

use serde_json::Value;

/// Paths below `spec`; one covers all that is below it. `[]` stands for the items of a list, and init containers are containers.
const HEEDED: &[&str] = &[
    "activeDeadlineSeconds",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostNetwork",
    "hostname",
    "nodeName",
    "nodeSelector",
    "readinessGates",
    "restartPolicy",
    "schedulerName",
    "schedulingGates",
    "securityContext.runAsGroup",
    "securityContext.runAsNonRoot",
    "securityContext.runAsUser",
    "serviceAccountName",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes[].configMap",
    "volumes[].downwardAPI.defaultMode",
    "volumes[].downwardAPI.items[].fieldRef",
    "volumes[].downwardAPI.items[].path",
    "volumes[].emptyDir.medium",
    "volumes[].hostPath.path",
    "volumes[].name",
    "volumes[].projected.defaultMode",
    "volumes[].projected.sources[].configMap",
    "volumes[].projected.sources[].downwardAPI.items[].fieldRef",
    "volumes[].projected.sources[].downwardAPI.items[].path",
    "volumes[].projected.sources[].secret",
    "volumes[].projected.sources[].serviceAccountToken",
    "volumes[].secret",
    "containers[].args",
    "containers[].command",
    "containers[].env[].name",
    "containers[].env[].value",
    "containers[].env[].valueFrom.configMapKeyRef",
    "containers[].env[].valueFrom.fieldRef",
    "containers[].env[].valueFrom.secretKeyRef",
    "containers[].envFrom",
    "containers[].image",
    "containers[].lifecycle.postStart.exec",
    "containers[].lifecycle.postStart.httpGet",
    "containers[].lifecycle.postStart.sleep",
    "containers[].lifecycle.preStop.exec",
    "containers[].lifecycle.preStop.httpGet",
    "containers[].lifecycle.preStop.sleep",
    "containers[].name",
    "containers[].ports[].containerPort",
    "containers[].ports[].name",
    "containers[].ports[].protocol",
    "containers[].restartPolicy",
    "containers[].securityContext.runAsGroup",
    "containers[].securityContext.runAsNonRoot",
    "containers[].securityContext.runAsUser",
    "containers[].volumeMounts[].mountPath",
    "containers[].volumeMounts[].name",
    "containers[].volumeMounts[].readOnly",
    "containers[].volumeMounts[].subPath",
    "containers[].workingDir",
];

/// The same of each of a container's three probes.
const HEEDED_OF_PROBES: &[&str] = &[
    "exec",
    "failureThreshold",
    "httpGet",
    "initialDelaySeconds",
    "periodSeconds",
    "successThreshold",
    "tcpSocket.host",
    "tcpSocket.port",
    "timeoutSeconds",
];

/// Fields that ask for nothing where there is one node, no image is pulled, and no Pod gives way to another.
const IMMATERIAL: &[&str] = &[
    "containers[].imagePullPolicy",
    "imagePullSecrets",
    "os",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    // The old name of serviceAccountName, which the API fills in.
    "serviceAccount",
    // Requests are told to a scheduler; what limits is `limits`.
    "containers[].resources.requests",
];

/// What the API fills in, and so nobody asked for.
const DEFAULTS: &[(&str, &str)] =
    &[("containers[].terminationMessagePath", "/dev/termination-log"), ("containers[].terminationMessagePolicy", "File")];

/// Fields whose `false` asks for something.
const MEANT_IF_FALSE: &[&str] = &["hostUsers", "containers[].securityContext.allowPrivilegeEscalation"];

/// The fields of a Pod's spec that nobody heeds, as people write them: `spec.containers[web].resources.limits`.
pub fn fields(spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in spec.as_object().into_iter().flatten() {
        let rule = if name == "initContainers" { "containers" } else { name };
        walk(value, rule.to_string(), format!("spec.{name}"), &mut found);
    }
    found
}

/// `rule` is the field's path in the lists above, `shown` what people are told.
fn walk(value: &Value, rule: String, shown: String, found: &mut Vec<String>) {
    if asks_for_nothing(value, &rule) || is_covered(&rule) {
        return;
    }
    if !leads_to_heeded(&rule) {
        return found.push(shown);
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, format!("{rule}.{name}"), format!("{shown}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                let name = item["name"].as_str().map_or_else(|| n.to_string(), str::to_string);
                walk(item, format!("{rule}[]"), format!("{shown}[{name}]"), found);
            }
        }
        _ => found.push(shown),
    }
}

fn asks_for_nothing(value: &Value, rule: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is && !MEANT_IF_FALSE.contains(&rule),
        Value::String(text) => text.is_empty() || DEFAULTS.contains(&(rule, text)),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) | Value::Number(_) => false,
    }
}

/// The path of a field inside a probe.
fn in_probe(rule: &str) -> Option<&str> {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    probes.iter().find_map(|probe| rule.strip_prefix("containers[].")?.strip_prefix(probe))
}

fn is_covered(rule: &str) -> bool {
    let covers = |path: &&str, rule: &str| rule.strip_prefix(*path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    match in_probe(rule) {
        Some(rest) => HEEDED_OF_PROBES.iter().any(|path| covers(path, rest.trim_start_matches('.'))),
        None => HEEDED.iter().chain(IMMATERIAL).any(|path| covers(path, rule)),
    }
}

/// Whether something below the path is covered.
fn leads_to_heeded(rule: &str) -> bool {
    let leads = |path: &&str, rule: &str| path.strip_prefix(rule).is_some_and(|rest| rest.starts_with(['.', '[']));
    match in_probe(rule) {
        Some("") => true,
        Some(rest) => HEEDED_OF_PROBES.iter().any(|path| leads(path, rest.trim_start_matches('.'))),
        None => HEEDED.iter().chain(IMMATERIAL).any(|path| leads(path, rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expected: &[&str]) {
        let spec = serde_json::from_str(spec).unwrap_or_else(|error| panic!("{error}: {spec}"));
        assert_eq!(fields(&spec), expected, "{spec}");
    }

    #[test]
    fn what_is_not_heeded_is_told_by_the_names_that_people_gave() {
        check(
            r#"{"affinity": {"nodeAffinity": {}}, "shareProcessNamespace": true,
                "containers": [{"name": "web", "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}],
                                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, "tty": true,
                                "livenessProbe": {"grpc": {"port": 5}, "periodSeconds": 3},
                                "env": [{"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}],
                "initContainers": [{"name": "first", "image": "i", "somethingNew": 1}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]}"#,
            &[
                "spec.affinity",
                "spec.containers[web].env[CPU].valueFrom.resourceFieldRef",
                "spec.containers[web].livenessProbe.grpc",
                "spec.containers[web].ports[0].hostPort",
                "spec.containers[web].resources.limits",
                "spec.containers[web].tty",
                "spec.initContainers[first].somethingNew",
                "spec.shareProcessNamespace",
                "spec.volumes[data].persistentVolumeClaim",
            ],
        );
    }

    #[test]
    fn defaults_and_what_asks_for_nothing_are_not_told() {
        check(
            r#"{"dnsPolicy": "ClusterFirst", "securityContext": {}, "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
                "serviceAccount": "default", "hostPID": false, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "tolerationSeconds": 300}],
                "containers": [{"name": "a", "image": "i", "imagePullPolicy": "Always", "resources": {}, "securityContext": {"privileged": false},
                                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                                "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1}}],
                "volumes": [{"name": "t", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token"}}]}},
                            {"name": "e", "emptyDir": {}}]}"#,
            &[],
        );
    }

    #[test]
    fn a_restriction_that_cannot_be_kept_is_told() {
        check(
            r#"{"containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}"#,
            &["spec.containers[a].securityContext.allowPrivilegeEscalation", "spec.containers[a].securityContext.capabilities"],
        );
    }
}
