//! Namespace and Node. Source: pkg/apis/core/validation/validation.go.

use serde_json::Value;

use super::{Path, Report, meta, names};
use crate::value::Get;

pub(super) fn namespace(report: &mut Report, new: &Value, old: Option<&Value>) {
    if old.is_none() {
        for finalizer in new.at("spec").texts("finalizers") {
            let place = Path::new("spec.finalizers");
            report.faults(&place, finalizer, names::label_key(finalizer));
            meta::qualified(report, finalizer, &place);
        }
    }
}

pub(super) fn namespace_status(report: &mut Report, new: &Value, _old: &Value) {
    let phase = new.at("status").text("phase");
    let (wanted, when) = if new.at("metadata").has("deletionTimestamp") { ("Terminating", "is not empty") } else { ("Active", "is empty") };
    if phase != wanted {
        report.invalid(&Path::new("status.Phase"), phase, &format!("may only be '{wanted}' if `deletionTimestamp` {when}"));
    }
}

pub(super) fn node(report: &mut Report, new: &Value, old: Option<&Value>) {
    let spec = new.at("spec");
    let mut seen = std::collections::HashSet::new();
    for (index, taint) in spec.items("taints").iter().enumerate() {
        let place = Path::new("metadata.taints").index(index);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        report.faults(&place.child("key"), key, names::label_key(key));
        let faults = names::label_value(value);
        if !faults.is_empty() {
            report.invalid(&place.child("value"), value, &faults.join(";"));
        }
        report.one_of(&place.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            // The server shows its own type, with the names it has inside.
            let [key, value, effect] = [key, value, effect].map(names::quote);
            let value = format!("{{\"Key\":{key},\"Value\":{value},\"Effect\":{effect},\"TimeAdded\":null}}");
            report.duplicate_text(&place, &format!("{value}: taints must be unique by key and effect pair"));
            continue;
        }
    }
    let path = Path::new("spec.podCIDRs");
    let cidrs = spec.texts("podCIDRs");
    match old.map(|old| old.at("spec")) {
        None => {
            for (index, cidr) in cidrs.iter().enumerate() {
                report.faults(&path.index(index), *cidr, names::legacy_cidr(cidr));
            }
            let families = cidrs.iter().filter(|cidr| cidr.split('/').next().is_some_and(names::is_ipv6)).count();
            if cidrs.len() > 2 || cidrs.len() == 2 && families != 1 {
                report.invalid(&path, spec.at("podCIDRs").clone(), "may specify no more than one CIDR for each IP family");
            }
        }
        Some(old) => {
            if !old.items("podCIDRs").is_empty() && old.at("podCIDRs") != spec.at("podCIDRs") {
                report.forbidden(&path, "node updates may not change podCIDR except from \"\" to valid");
            }
            let (before, after) = (old.text("providerID"), spec.text("providerID"));
            if !before.is_empty() && before != after {
                let text = if after.is_empty() { "field cannot be cleared once set" } else { "field cannot be modified once set" };
                report.invalid(&Path::new("spec.providerID"), Value::Null, text);
            }
        }
    }
}
