//! Service, Endpoints, EndpointSlice. Source: pkg/apis/core/v1/defaults.go, pkg/apis/discovery/v1/defaults.go.

use serde_json::{Value, json};

use super::{Object, each, inner, inner_or_new, set_default, text};

/// The default time for which a client sticks to its endpoint: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn service(object: &mut Object) {
    if let Some(spec) = inner_or_new(object, "spec") {
        service_spec(spec);
    }
    let is_load_balancer = inner(object, "spec").is_some_and(|spec| text(spec, "type") == "LoadBalancer");
    let status = inner(object, "status").and_then(|status| inner(status, "loadBalancer"));
    if let (true, Some(status)) = (is_load_balancer, status) {
        for ingress in each(status, "ingress") {
            if !text(ingress, "ip").is_empty() {
                set_default(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn service_spec(spec: &mut Object) {
    set_default(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = spec.get("sessionAffinityConfig").and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
            if timeout.is_none_or(Value::is_null) {
                spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
            }
        }
        _ => {}
    }
    set_default(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        set_default(port, "protocol", "TCP");
        if port.get("targetPort").is_none_or(|target| target.is_null() || target == "" || target == 0) {
            let number = port.get("port").cloned().unwrap_or(0.into());
            port.insert("targetPort".to_owned(), number);
        }
    }
    let ty = text(spec, "type").to_owned();
    let has_external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    let from_outside = matches!(&*ty, "NodePort" | "LoadBalancer") || ty == "ClusterIP" && has_external_ips;
    if from_outside {
        set_default(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*ty, "ClusterIP" | "NodePort" | "LoadBalancer") && spec.get("internalTrafficPolicy").is_none_or(Value::is_null) {
        spec.insert("internalTrafficPolicy".to_owned(), "Cluster".into());
    }
    if ty == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

pub(super) fn endpoints(object: &mut Object) {
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            set_default(port, "protocol", "TCP");
        }
    }
}

/// The topology of the API's beta is no longer taken.
pub(super) fn slice_endpoint(endpoint: &mut Object) {
    endpoint.remove("deprecatedTopology");
}

pub(super) fn endpoint_port(port: &mut Object) {
    for (name, value) in [("name", ""), ("protocol", "TCP")] {
        if port.get(name).is_none_or(Value::is_null) {
            port.insert(name.to_owned(), value.into());
        }
    }
}
