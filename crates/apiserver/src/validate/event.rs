//! Events of both groups. Source: pkg/apis/core/validation/events.go.

use serde_json::Value;

use super::{Path, Report, names};
use crate::value::Get;

const MAX_NAME: usize = 128;
const MAX_NOTE: usize = 1_024;

pub(super) fn core_event(report: &mut Report, new: &Value, old: Option<&Value>) {
    if old.is_none() {
        any_event(report, new, new.at("involvedObject"), "reportingComponent", new.text("message"));
    }
}

pub(super) fn event(report: &mut Report, new: &Value, old: Option<&Value>) {
    if old.is_some() {
        return;
    }
    any_event(report, new, new.at("regarding"), "reportingController", new.text("note"));
    if !new.has("eventTime") {
        report.required(&Path::new("eventTime"), "");
    }
    if !matches!(new.text("type"), "Normal" | "Warning") {
        report.invalid(&Path::new("type"), "", &format!("has invalid value: {}", new.text("type")));
    }
    for (field, name) in [("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp")] {
        if new.has(field) {
            report.invalid(&Path::new(name), "", "needs to be unset");
        }
    }
    if new.int("deprecatedCount") != 0 {
        report.invalid(&Path::new("count"), "", "needs to be unset");
    }
    let source = new.at("deprecatedSource");
    if !source.text("component").is_empty() || !source.text("host").is_empty() {
        report.invalid(&Path::new("source"), "", "needs to be unset");
    }
}

fn any_event(report: &mut Report, event: &Value, subject: &Value, controller: &str, note: &str) {
    let (namespace, of) = (event.at("metadata").text("namespace"), subject.text("namespace"));
    let is_new = event.has("eventTime");
    let fits = match of {
        "" => matches!(namespace, "" | "default") || is_new && namespace == "kube-system",
        of => is_new || of == namespace,
    };
    if !fits {
        report.invalid(&Path::new("involvedObject.namespace"), of, "does not match event.namespace");
    }
    if !is_new {
        return;
    }
    let name = event.text(controller);
    if name.is_empty() {
        report.required(&Path::new(controller), "");
    }
    report.faults(&Path::new(controller), name, names::label_key(name));
    for (field, text, max, needed) in [
        ("reportingInstance", event.text("reportingInstance"), MAX_NAME, true),
        ("action", event.text("action"), MAX_NAME, true),
        ("reason", event.text("reason"), MAX_NAME, true),
        ("message", note, MAX_NOTE, false),
    ] {
        if needed && text.is_empty() {
            report.required(&Path::new(field), "");
        }
        if text.len() > max {
            report.invalid(&Path::new(field), "", &format!("can have at most {max} characters"));
        }
    }
}
