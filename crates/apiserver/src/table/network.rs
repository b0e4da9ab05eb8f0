//! Service, its endpoints, Ingress, and what they need.

use serde_json::Value;

use super::{Now, first_three, labels, load_balancer, name, or};
use crate::value::Get;

pub(super) fn service(object: &Value, now: Now) -> Vec<Value> {
    let spec = object.at("spec");
    let ports = spec.items("ports").iter().map(|port| {
        let node_port = Some(port.int("nodePort")).filter(|port| *port > 0).map(|port| format!(":{port}"));
        format!("{}{}/{}", port.int("port"), node_port.unwrap_or_default(), port.text("protocol"))
    });
    let ports = ports.collect::<Vec<_>>().join(",");
    vec![
        name(object),
        spec.text("type").into(),
        spec.texts("clusterIPs").first().copied().unwrap_or("<none>").into(),
        external_ip(object).into(),
        or(&ports, "<none>").into(),
        now.age(object),
        labels(spec, "selector").into(),
    ]
}

fn external_ip(object: &Value) -> String {
    let spec = object.at("spec");
    let ips = spec.texts("externalIPs").join(",");
    match spec.text("type") {
        "ClusterIP" | "NodePort" => or(&ips, "<none>").to_owned(),
        "LoadBalancer" => match (load_balancer(object), ips) {
            (balancer, ips) if !balancer.is_empty() && !ips.is_empty() => format!("{balancer},{ips}"),
            (balancer, ips) => or(&balancer, or(&ips, "<pending>")).to_owned(),
        },
        "ExternalName" => spec.text("externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

pub(super) fn endpoints(object: &Value, now: Now) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in object.items("subsets") {
        let addresses = || subset.items("addresses").iter().map(|address| address.text("ip"));
        let ports = subset.items("ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let join =
                |ip: &str| if ip.contains(':') { format!("[{ip}]:{}", port.int("port")) } else { format!("{ip}:{}", port.int("port")) };
            all.extend(addresses().map(join));
        }
    }
    let shown = if object.items("subsets").is_empty() { "<none>".to_owned() } else { first_three(&all) };
    vec![name(object), shown.into(), now.age(object)]
}

pub(super) fn endpoint_slice(object: &Value, now: Now) -> Vec<Value> {
    let port = |port: &Value| match (port.at("port").as_i64(), port.at("name").as_str()) {
        (Some(number), _) => number.to_string(),
        (None, name) => name.unwrap_or("*").to_owned(),
    };
    let ports: Vec<String> = object.items("ports").iter().map(port).collect();
    let addresses: Vec<String> =
        object.items("endpoints").iter().flat_map(|endpoint| endpoint.texts("addresses")).map(str::to_owned).collect();
    let shown = |all: &[String]| Value::from(or(&first_three(all), "<unset>"));
    vec![name(object), object.text("addressType").into(), shown(&ports), shown(&addresses), now.age(object)]
}

pub(super) fn ingress(object: &Value, now: Now) -> Vec<Value> {
    let spec = object.at("spec");
    let ports = if spec.items("tls").is_empty() { "80" } else { "80, 443" };
    vec![
        name(object),
        spec.at("ingressClassName").as_str().unwrap_or("<none>").into(),
        hosts(spec.items("rules")).into(),
        load_balancer(object).into(),
        ports.into(),
        now.age(object),
    ]
}

/// The first three hosts; once there are three, every further rule counts as more, with a host or without.
fn hosts(rules: &[Value]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == 3;
        if !more && !rule.text("host").is_empty() {
            shown.push(rule.text("host"));
        }
    }
    let shown = shown.join(",");
    if more { format!("{shown} + {} more...", rules.len() - 3) } else { or(&shown, "*").to_owned() }
}

pub(super) fn ingress_class(object: &Value, now: Now) -> Vec<Value> {
    let metadata = object.at("metadata");
    let is_default = metadata.at("annotations").text("ingressclass.kubernetes.io/is-default-class") == "true";
    let name = format!("{}{}", metadata.text("name"), if is_default { " (default)" } else { "" });
    let parameters = match object.at("spec").at("parameters") {
        Value::Null => "<none>".to_owned(),
        parameters => {
            let group = parameters.at("apiGroup").as_str().map(|group| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", parameters.text("kind"), parameters.text("name"))
        }
    };
    vec![name.into(), object.at("spec").text("controller").into(), parameters.into(), now.age(object)]
}

pub(super) fn ip_address(object: &Value, now: Now) -> Vec<Value> {
    let parent = match object.at("spec").at("parentRef") {
        Value::Null => "<none>".to_owned(),
        parent => {
            let group = Some(parent.text("group")).filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
            let namespace =
                Some(parent.text("namespace")).filter(|namespace| !namespace.is_empty()).map(|namespace| format!("/{namespace}"));
            let resource = format!("{}{}", parent.text("resource"), group.unwrap_or_default()).to_lowercase();
            format!("{resource}{}/{}", namespace.unwrap_or_default(), parent.text("name"))
        }
    };
    vec![name(object), parent.into(), now.age(object)]
}

pub(super) fn service_cidr(object: &Value, now: Now) -> Vec<Value> {
    vec![name(object), object.at("spec").texts("cidrs").join(",").into(), now.age(object)]
}
