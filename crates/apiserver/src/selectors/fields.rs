//! `fieldSelector`: `metadata.name=web,status.phase!=Failed`.
//!
//! Source: apimachinery's pkg/fields/selector.go; the field label conversions of pkg/apis/core/v1/conversion.go and pkg/apis/events/v1.

use super::Index;
use crate::validate::names;

/// A parsed `fieldSelector` of one collection. All of its terms must hold.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "metadata.namespace",
    "metadata.name",
];

/// The fields of each collection that has more than name and namespace.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "api/v1/pods",
        &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("api/v1/nodes", &["metadata.name", "spec.unschedulable"]),
    ("api/v1/events", EVENT),
    ("apis/events.k8s.io/v1/events", EVENT),
    ("api/v1/namespaces", &["metadata.name", "status.phase"]),
    ("api/v1/secrets", &["metadata.name", "metadata.namespace", "type"]),
    ("api/v1/services", &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"]),
];

/// `apis/apps/v1/replicasets` is selected by a field that only its storage knows.
const REPLICA_SETS: (&str, &str) = ("apis/apps/v1/replicasets", "status.replicas");

impl Fields {
    /// Parses the string form for one collection (`api/v1/pods`). The empty string selects everything.
    ///
    /// # Errors
    /// The API server's text, for a 400 BadRequest.
    pub fn parse(collection: &str, text: &str) -> Result<Fields, String> {
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let operator = part.char_indices().find_map(|(at, _)| {
                let operator = ["!=", "==", "="].into_iter().find(|operator| part[at..].starts_with(operator));
                operator.map(|operator| (at, operator))
            });
            let Some((at, operator)) = operator else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescape(&part[at + operator.len()..])?;
            if at == 0 && value.is_empty() {
                continue;
            }
            let field = known(collection, &part[..at])?.to_owned();
            terms.push(Term { field, value, equal: operator != "!=" });
        }
        Ok(Fields { terms })
    }

    pub fn matches(&self, object: &Index) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name that every selected object has, if the selector says so: a list needs to look at no other.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == "metadata.name").map(|term| term.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => value.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c))),
            c => value.push(c),
        }
    }
    Ok(value)
}

/// The field by its present name.
fn known<'a>(collection: &str, field: &'a str) -> Result<&'a str, String> {
    let common = ["metadata.name", "metadata.namespace"];
    match FIELDS.iter().find(|(name, _)| *name == collection) {
        Some((name, _)) if *name == "api/v1/pods" && field == "spec.host" => Ok("spec.nodeName"),
        Some((_, fields)) if fields.contains(&field) => Ok(field),
        Some(_) => Err(format!("field label not supported: {field}")),
        None if common.contains(&field) || (collection, field) == REPLICA_SETS => Ok(field),
        None => {
            let field = names::quote(field);
            Err(format!("{field} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""))
        }
    }
}

fn value_of<'a>(object: &'a Index, field: &str) -> &'a str {
    let text = |path: &str| object.get(path).unwrap_or_default();
    match field {
        // The component of a core Event, wherever its writer put it.
        "source" => match text("source.component") {
            "" => text("reportingComponent"),
            component => component,
        },
        "spec.hostNetwork" | "spec.unschedulable" if text(field).is_empty() => "false",
        // Accepted, but no pod has it.
        "status.podIPs" => "",
        _ if field == REPLICA_SETS.1 && text(field).is_empty() => "0",
        _ => text(field),
    }
}
