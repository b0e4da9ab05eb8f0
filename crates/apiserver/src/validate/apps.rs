//! Deployment, ReplicaSet and their scale. Source: pkg/apis/apps/validation/validation.go.

use serde_json::Value;

use super::{Path, Report, names, pod, selector};
use crate::value::Get;

pub(super) fn deployment(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    report.not_negative(&path.child("replicas"), spec.int("replicas"));
    selector_and_template(report, spec, &path);
    strategy(report, spec.at("strategy"), &path.child("strategy"));
    report.not_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    report.not_negative(&path.child("revisionHistoryLimit"), spec.int("revisionHistoryLimit"));
    if let Some(deadline) = spec.at("progressDeadlineSeconds").as_i64() {
        let place = path.child("progressDeadlineSeconds");
        report.not_negative(&place, deadline);
        if deadline <= spec.int("minReadySeconds") {
            report.invalid(&place, deadline, "must be greater than minReadySeconds");
        }
    }
    selector_change(report, spec, old, &path);
}

pub(super) fn replica_set(report: &mut Report, new: &Value, old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    report.not_negative(&path.child("replicas"), spec.int("replicas"));
    report.not_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    selector_and_template(report, spec, &path);
    selector_change(report, spec, old, &path);
}

fn selector_change(report: &mut Report, spec: &Value, old: Option<&Value>, path: &Path) {
    if old.is_some_and(|old| old.at("spec").at("selector") != spec.at("selector")) {
        selector::invalid(report, &path.child("selector"), spec.at("selector"), "field is immutable");
    }
}

fn selector_and_template(report: &mut Report, spec: &Value, path: &Path) {
    let (selects, place) = (spec.at("selector"), path.child("selector"));
    if selects.is_null() {
        report.required(&place, "");
    } else {
        selector::selector(report, selects, &place);
        if selector::is_empty(selects) {
            selector::invalid(report, &place, selects, "empty selector is invalid for deployment");
        }
    }
    let (template, path) = (spec.at("template"), path.child("template"));
    let labels = template.at("metadata").at("labels");
    match selector::matches(selects, labels) {
        None => {
            selector::invalid(report, &place, selects, "invalid label selector");
            return;
        }
        Some(false) if selects.is_null() || !selector::is_empty(selects) => {
            let place = path.child("metadata").child("labels");
            report.invalid(&place, labels.clone(), "`selector` does not match template `labels`");
        }
        Some(_) => {}
    }
    pod::template(report, template, &path);
    let (spec, path) = (template.at("spec"), path.child("spec"));
    if spec.text("restartPolicy") != "Always" {
        report.not_supported(&path.child("restartPolicy"), spec.text("restartPolicy"), &["Always"]);
    }
    if spec.has("activeDeadlineSeconds") {
        report.forbidden(&path.child("activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

fn strategy(report: &mut Report, strategy: &Value, path: &Path) {
    let (rolling, place) = (strategy.at("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.is_null() {
                report.forbidden(&place, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            number_or_percent(report, unavailable, &place.child("maxUnavailable"));
            number_or_percent(report, surge, &place.child("maxSurge"));
            let place = place.child("maxUnavailable");
            if amount(unavailable) == 0 && amount(surge) == 0 {
                report.invalid(&place, unavailable.clone(), "may not be 0 when `maxSurge` is 0");
            }
            if percent(unavailable).is_some_and(|percent| percent > 100) {
                report.invalid(&place, unavailable.clone(), "must not be greater than 100%");
            }
        }
        // The server shows its own type, with the names it has inside.
        ty => {
            let rolling = if rolling.is_null() { "null".to_owned() } else { go_rolling(rolling) };
            let value = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", names::quote(ty));
            report.not_supported_text(path, &value, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn go_rolling(rolling: &Value) -> String {
    let value = |field: &str| if rolling.has(field) { rolling.at(field).clone() } else { 0.into() };
    format!("{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}", value("maxUnavailable"), value("maxSurge"))
}

fn number_or_percent(report: &mut Report, value: &Value, path: &Path) {
    match value {
        Value::String(text) => report.faults(path, text.as_str(), names::percent(text)),
        value => report.not_negative(path, value.as_i64().unwrap_or_default()),
    }
}

fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str().filter(|text| names::percent(text).is_empty())?;
    Some(text.trim_end_matches('%').parse().unwrap_or(i64::MAX))
}

fn amount(value: &Value) -> i64 {
    // Text that is no percentage counts as its number, as Go's Atoi has it.
    percent(value).or_else(|| value.as_i64()).or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

pub(super) fn deployment_status(report: &mut Report, new: &Value, old: &Value) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
    ];
    for field in fields.into_iter().chain(["collisionCount"]) {
        report.not_negative(&path.child(field), status.int(field));
    }
    counts(report, status, &["updatedReplicas", "readyReplicas", "availableReplicas"], &path);
    if status.int("collisionCount") < old.at("status").int("collisionCount") {
        report.invalid(&path.child("collisionCount"), status.int("collisionCount"), "cannot be decremented");
    }
}

pub(super) fn replica_set_status(report: &mut Report, new: &Value, _old: &Value) {
    let (status, path) = (new.at("status"), Path::new("status"));
    for field in ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration", "terminatingReplicas"] {
        report.not_negative(&path.child(field), status.int(field));
    }
    counts(report, status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], &path);
}

fn counts(report: &mut Report, status: &Value, parts: &[&str], path: &Path) {
    for part in parts {
        if status.int(part) > status.int("replicas") {
            report.invalid(&path.child(part), status.int(part), "cannot be greater than status.replicas");
        }
    }
    if status.int("availableReplicas") > status.int("readyReplicas") {
        report.invalid(&path.child("availableReplicas"), status.int("availableReplicas"), "cannot be greater than readyReplicas");
    }
}

pub(super) fn scale(report: &mut Report, new: &Value, _old: Option<&Value>) {
    report.not_negative(&Path::new("spec.replicas"), new.at("spec").int("replicas"));
}
