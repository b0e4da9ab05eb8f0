//! Node.

use serde_json::Value;

use super::{Now, name, or};
use crate::value::Get;

pub(super) fn node(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let ready = status.items("conditions").iter().rfind(|condition| condition.text("type") == "Ready");
    let ready = ready.map_or("Unknown", |condition| if condition.text("status") == "True" { "Ready" } else { "NotReady" });
    let state = if spec.flag("unschedulable") { format!("{ready},SchedulingDisabled") } else { ready.to_owned() };
    let role = |(key, value)| match str::strip_prefix(key, "node-role.kubernetes.io/") {
        Some(role) => Some(role),
        None => Some(value).filter(|_| key == "kubernetes.io/role"),
    };
    let roles = object.at("metadata").pairs("labels").filter_map(role).filter(|role| !role.is_empty());
    let roles: Vec<&str> = roles.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let address = |ty: &str| {
        let found = status.items("addresses").iter().find(|address| address.text("type") == ty);
        Value::from(found.map_or("<none>", |address| address.text("address")))
    };
    let info = status.at("nodeInfo");
    let known = |field: &str| or(info.text(field), "<unknown>");
    let architecture = Some(info.text("architecture")).filter(|name| !name.is_empty()).map(|name| format!(" ({name})"));
    vec![
        name(object),
        state.into(),
        or(&roles.join(","), "<none>").into(),
        now.age(object),
        info.text("kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        known("osImage").into(),
        format!("{}{}", known("kernelVersion"), architecture.unwrap_or_default()).into(),
        known("containerRuntimeVersion").into(),
    ]
}
