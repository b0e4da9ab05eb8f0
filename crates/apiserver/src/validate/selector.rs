//! LabelSelectors within objects. Source: apimachinery's pkg/apis/meta/v1/validation and pkg/labels.

use serde_json::Value;

use super::{Path, Report, meta, names};
use crate::value::Get;

pub(super) fn selector(report: &mut Report, selector: &Value, path: &Path) {
    meta::labels(report, selector, "matchLabels", &path.child("matchLabels"));
    for (index, expression) in selector.items("matchExpressions").iter().enumerate() {
        let place = path.child("matchExpressions").index(index);
        let (key, values) = (expression.text("key"), expression.texts("values"));
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                report.required(&place.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if values.is_empty() => {}
            "Exists" | "DoesNotExist" => {
                report.forbidden(&place.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            other => report.invalid(&place.child("operator"), other, "not a valid selector operator"),
        }
        report.faults(&place.child("key"), key, names::label_key(key));
        for (index, value) in values.into_iter().enumerate() {
            report.faults(&place.child("values").index(index), value, names::label_value(value));
        }
    }
}

/// Whether labels (an object's field `labels`) match; None for a selector that cannot be understood. A missing selector matches nothing.
pub(super) fn matches(selector: &Value, labels: &Value) -> Option<bool> {
    if selector.is_null() {
        return Some(false);
    }
    let mut all = true;
    for (key, value) in selector.pairs("matchLabels") {
        if !names::label_key(key).is_empty() || !names::label_value(value).is_empty() {
            return None;
        }
        all &= labels.at(key) == value;
    }
    for expression in selector.items("matchExpressions") {
        let (key, values) = (expression.text("key"), expression.texts("values"));
        if !names::label_key(key).is_empty() || values.iter().any(|value| !names::label_value(value).is_empty()) {
            return None;
        }
        let found = labels.at(key).as_str();
        all &= match (expression.text("operator"), values.is_empty()) {
            ("In", false) => found.is_some_and(|found| values.contains(&found)),
            ("NotIn", false) => found.is_none_or(|found| !values.contains(&found)),
            ("Exists", true) => found.is_some(),
            ("DoesNotExist", true) => found.is_none(),
            _ => return None,
        };
    }
    Some(all)
}

/// Reports a selector as a whole, its fields in Go's order.
pub(super) fn invalid(report: &mut Report, path: &Path, selector: &Value, detail: &str) {
    report.invalid_in_order(path, selector, &["matchLabels", "matchExpressions"], detail);
}

/// Whether a selector selects everything.
pub(super) fn is_empty(selector: &Value) -> bool {
    selector.pairs("matchLabels").next().is_none() && selector.items("matchExpressions").is_empty()
}
