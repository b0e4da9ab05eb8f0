//! Options of lists, watches and writes.
//!
//! Source: apimachinery's pkg/apis/internalversion/validation (ValidateListOptions), pkg/apis/meta/v1/validation.

use super::Query;
use crate::refusal::Refusal;
use crate::schema::Gvk;
use crate::selectors::{Fields, Labels};

/// What a list or watch asks for.
#[derive(Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
    /// 0: all.
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    /// None: not given. 0: anything will do.
    pub(crate) revision: Option<u64>,
    pub(crate) exact: bool,
    pub(crate) bookmarks: bool,
    /// None: not given, which means yes to a watch from nowhere.
    pub(crate) initial_events: Option<bool>,
    pub(crate) timeout_secs: Option<u64>,
}

/// How a write is to be made.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) validation: FieldValidation,
}

/// What to do about unknown and repeated fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl ListOptions {
    pub(crate) fn parse(kind: &Gvk, query: &Query, watch: bool) -> Result<ListOptions, Refusal> {
        let number = |name: &str| -> Result<Option<u64>, Refusal> {
            match query.text(name) {
                "" => Ok(None),
                text => match text.parse::<i64>() {
                    // Less than nothing is no limit.
                    Ok(number) => Ok(u64::try_from(number).ok()),
                    Err(_) => Err(Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
                },
            }
        };
        let options = ListOptions {
            labels: Labels::parse(query.text("labelSelector")).map_err(Refusal::bad_request)?,
            fields: Fields::parse(kind, query.text("fieldSelector")).map_err(Refusal::bad_request)?,
            limit: number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default(),
            continue_token: query.text("continue").to_owned(),
            revision: match revision(query.text("resourceVersion")) {
                Err(refusal) if !watch => return Err(Refusal::bad_request(format!("invalid resource version: {}", refusal.message))),
                revision => revision?,
            },
            exact: query.text("resourceVersionMatch") == "Exact",
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
            timeout_secs: number("timeoutSeconds")?,
        };
        options.check(query.text("resourceVersionMatch"), watch)?;
        Ok(options)
    }

    fn check(&self, matching: &str, watch: bool) -> Result<(), Refusal> {
        let forbidden =
            |field: &str, detail: &str| Err(invalid("ListOptions", "FieldValueForbidden", field, &format!("Forbidden: {detail}")));
        let (field, initial) = ("resourceVersionMatch", self.initial_events);
        match (matching, watch) {
            (_, false) if initial.is_some() => forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"),
            ("NotOlderThan", true) if initial.is_some() => Ok(()),
            (_, true) if initial.is_some() => forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            ("", _) => Ok(()),
            (_, true) => forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
            _ if self.revision.is_none() => forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
            _ if !self.continue_token.is_empty() => forbidden(field, "resourceVersionMatch is forbidden when continue is provided"),
            ("Exact", _) if self.revision == Some(0) => {
                forbidden(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
            }
            ("Exact" | "NotOlderThan", _) => Ok(()),
            (other, _) => {
                let message = format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\"");
                Err(invalid("ListOptions", "FieldValueNotSupported", field, &message))
            }
        }
    }
}

impl WriteOptions {
    /// `kind` is the kind of options that error texts name, `CreateOptions`.
    pub(crate) fn parse(kind: &str, query: &Query, agent: &str) -> Result<WriteOptions, Refusal> {
        check_dry_run(kind, query.all("dryRun"))?;
        let manager = match query.text("fieldManager") {
            "" => agent,
            manager if manager.len() > 128 => {
                return Err(invalid(kind, "FieldValueTooLong", "fieldManager", "Too long: may not be more than 128 bytes"));
            }
            manager => manager,
        };
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let message = format!("Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
                return Err(invalid(kind, "FieldValueNotSupported", "fieldValidation", &message));
            }
        };
        Ok(WriteOptions { dry_run: query.has("dryRun"), manager: manager.to_owned(), validation })
    }
}

/// `All` is the only thing that can be dry.
pub(crate) fn check_dry_run<'a>(kind: &str, mut values: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    match values.find(|value| *value != "All") {
        Some(value) => {
            let message = format!("Unsupported value: [{value:?}]: supported values: \"All\"");
            Err(invalid(kind, "FieldValueNotSupported", "dryRun", &message))
        }
        None => Ok(()),
    }
}

/// A resourceVersion of ours.
pub(crate) fn revision(text: &str) -> Result<Option<u64>, Refusal> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let message = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
            Refusal::unknown(message)
        }),
    }
}

fn invalid(kind: &str, reason: &'static str, field: &str, message: &str) -> Refusal {
    Refusal::invalid_field(&Gvk::new("meta.k8s.io", "v1", kind), "", reason, field, message)
}
