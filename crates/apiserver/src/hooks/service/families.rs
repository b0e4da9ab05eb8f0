//! Address families of a Service, from what the client said and what the cluster has (`initIPFamilyFields`).
//!
//! Source: KEP-563; pkg/registry/core/service/storage/alloc.go.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::spec::{Spec, needs_cluster_ip, same};
use crate::hooks::world::Cluster;
use crate::refusal::Refusal;
use crate::schema::Gvk;
use crate::validate::Cause;
use crate::value::Get;

fn family_of(net: &IpNet) -> &'static str {
    if matches!(net, IpNet::V4(_)) { "IPv4" } else { "IPv6" }
}

fn other(family: &str) -> &'static str {
    if family == "IPv4" { "IPv6" } else { "IPv4" }
}

pub(super) fn fill(cluster: &Cluster, name: &str, spec: &mut Spec, before: Option<&Spec>) -> Result<(), Refusal> {
    if !needs_cluster_ip(spec) {
        return Ok(());
    }
    // Nothing about families was touched: a cluster that has changed meanwhile is no reason to refuse.
    let untouched =
        |before: &Spec| ["type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].iter().all(|field| same(spec, before, field));
    if before.is_some_and(|before| untouched(before) && before.has("ipFamilies")) {
        return Ok(());
    }
    let default = cluster.service_cidrs.first().map_or("IPv4", family_of);
    let served: Vec<&str> = cluster.service_cidrs.iter().map(family_of).collect();
    let ips: Vec<String> = spec.texts("clusterIPs").into_iter().map(str::to_owned).collect();
    let is_headless = ips.first().is_some_and(|ip| ip == "None");
    let has_selector = spec.at("selector").as_object().is_some_and(|selector| !selector.is_empty());
    let mut families: Vec<String> = spec.texts("ipFamilies").into_iter().map(str::to_owned).collect();
    let mut causes = Vec::new();
    shrink_on_downgrade(spec, before, &mut families);
    let ips = if spec.items("clusterIPs").len() < ips.len() { &ips[..1] } else { &ips[..] };
    // Families follow addresses that were asked for.
    for (at, ip) in ips.iter().enumerate() {
        if let (Ok(ip), true) = (ip.parse::<IpAddr>(), families.len() <= at) {
            families.push(if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned());
        }
    }
    let policy = match spec.text("ipFamilyPolicy") {
        "" if is_headless && !has_selector && families.is_empty() => {
            // Nobody can tell which addresses it will get: all of them may be right.
            families = vec![default.to_owned(), other(default).to_owned()];
            "RequireDualStack"
        }
        "" if families.len() > 1 => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    };
    let policy = policy.to_owned();
    if families.is_empty() {
        families.push(default.to_owned());
    }
    let free = is_headless && !has_selector;
    match policy.as_str() {
        "SingleStack" if ips.len() > 1 || families.len() > 1 => {
            let text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple ";
            let what = if ips.len() > 1 { "cluster IPs are specified" } else { "IP families are specified" };
            causes.push(cause("spec.ipFamilyPolicy", &json!(policy), &format!("{text}{what}")));
        }
        "RequireDualStack" if served.len() < 2 && !free => {
            causes.push(cause("spec.ipFamilyPolicy", &json!(policy), "this cluster is not configured for dual-stack services"));
        }
        "PreferDualStack" | "RequireDualStack" if families.len() == 1 && (served.len() > 1 || free) => {
            let second = other(&families[0]).to_owned();
            families.push(second);
        }
        _ => {}
    }
    let was: Vec<&str> = before.map(|before| before.texts("ipFamilies")).unwrap_or_default();
    if !free && was != families {
        for (at, family) in families.iter().enumerate() {
            // What is no family at all, and an immutable first one, is validation's to tell.
            let known = matches!(family.as_str(), "IPv4" | "IPv6");
            if known && !served.contains(&family.as_str()) && before.is_none() {
                causes.push(cause(&format!("spec.ipFamilies[{at}]"), &json!(family), "not configured on this cluster"));
            }
        }
    }
    if !causes.is_empty() {
        return Err(Refusal::invalid(&Gvk::new("", "v1", "Service"), name, &causes));
    }
    spec.insert("ipFamilyPolicy".to_owned(), policy.into());
    spec.insert("ipFamilies".to_owned(), json!(families));
    Ok(())
}

/// From two families to one: the second address and family go, if the client left them as they were.
fn shrink_on_downgrade(spec: &mut Spec, before: Option<&Spec>, families: &mut Vec<String>) {
    let Some(before) = before else { return };
    if before.text("ipFamilyPolicy") == "SingleStack" || spec.text("ipFamilyPolicy") != "SingleStack" {
        return;
    }
    if same(spec, before, "clusterIPs")
        && let Some(ips) = spec.get_mut("clusterIPs").and_then(Value::as_array_mut)
    {
        ips.truncate(1);
    }
    if same(spec, before, "ipFamilies") {
        families.truncate(1);
    }
}

fn cause(field: &str, value: &Value, detail: &str) -> Cause {
    Cause { reason: "FieldValueInvalid", field: field.to_owned(), message: format!("Invalid value: {value}: {detail}") }
}
