//! Events, of the core group and of events.k8s.io: one kind under two sets of field names.

use serde_json::Value;

use super::{Now, or};
use crate::value::Get;

pub(super) fn core_event(object: &Value, now: Now) -> Vec<Value> {
    let names = ["involvedObject", "source", "message", "firstTimestamp", "lastTimestamp", "count", "reportingComponent"];
    cells(object, now, names)
}

pub(super) fn event(object: &Value, now: Now) -> Vec<Value> {
    let names = [
        "regarding",
        "deprecatedSource",
        "note",
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
        "reportingController",
    ];
    cells(object, now, names)
}

fn cells(object: &Value, now: Now, names: [&str; 7]) -> Vec<Value> {
    let [subject, source, message, first, last, count, controller] = names;
    let first = if object.has(first) { object.at(first) } else { object.at("eventTime") };
    let last = if object.has(last) { object.at(last) } else { first };
    let series = object.at("series");
    let (last, count) = match series {
        Value::Null => (last, object.int(count).max(1)),
        series => (series.at("lastObservedTime"), series.int("count")),
    };
    let subject = object.at(subject);
    let kind = subject.text("kind").to_lowercase();
    let target = if subject.text("name").is_empty() { kind } else { format!("{kind}/{}", subject.text("name")) };
    let component = or(object.at(source).text("component"), object.text(controller));
    let host = or(object.at(source).text("host"), object.text("reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        now.since(last).into(),
        object.text("type").into(),
        object.text("reason").into(),
        target.into(),
        subject.text("fieldPath").into(),
        source.into(),
        object.text(message).trim().into(),
        now.since(first).into(),
        count.into(),
        super::name(object),
    ]
}
