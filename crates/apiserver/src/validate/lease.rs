//! Lease. Source: pkg/apis/coordination/validation/validation.go.

use serde_json::Value;

use super::{Path, Report};
use crate::value::Get;

pub(super) fn lease(report: &mut Report, new: &Value, _old: Option<&Value>) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if let Some(duration) = spec.at("leaseDurationSeconds").as_i64()
        && duration <= 0
    {
        report.invalid(&path.child("leaseDurationSeconds"), duration, "must be greater than 0");
    }
    report.not_negative(&path.child("leaseTransitions"), spec.int("leaseTransitions"));
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        report.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}
