//! Which fields the objects of a kind can be selected by: what a query may name is what the index keeps.
//!
//! Source: the field label conversions of pkg/apis/core/v1/conversion.go and pkg/apis/events/v1; the `ToSelectableFields` of each registry.

use serde_json::Value;

use super::Index;
use crate::schema::Gvk;
use crate::validate::names;
use crate::value::Get;

/// The fields of one kind.
#[derive(Debug)]
pub(crate) struct Selectable {
    fields: &'static [&'static str],
    /// Whether Kubernetes converts the kind's field names, and so has other words for one that it does not know.
    converted: bool,
}

const PLAIN: &[&str] = &["metadata.name", "metadata.namespace"];

/// Both kinds of Event have the names of the core one.
const EVENT: Selectable = converted(&[
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
]);

/// By group and kind; all others have name and namespace alone.
const SELECTABLE: &[(&str, &str, Selectable)] = &[
    ("", "Event", EVENT),
    ("events.k8s.io", "Event", EVENT),
    ("", "Namespace", converted(&["metadata.name", "status.phase"])),
    ("", "Node", converted(&["metadata.name", "spec.unschedulable"])),
    (
        "",
        "Pod",
        converted(&[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs", // a list, whose text nobody has: accepted, but no Pod is found by it
            "status.nominatedNodeName",
        ]),
    ),
    ("", "Secret", converted(&["metadata.name", "metadata.namespace", "type"])),
    ("", "Service", converted(&["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"])),
    ("apps", "ReplicaSet", Selectable { fields: &["metadata.name", "metadata.namespace", "status.replicas"], converted: false }),
];

const fn converted(fields: &'static [&'static str]) -> Selectable {
    Selectable { fields, converted: true }
}

// === impl Selectable ===

impl Selectable {
    pub(crate) fn of(gvk: &Gvk) -> &'static Selectable {
        static NAMED: Selectable = Selectable { fields: PLAIN, converted: false };
        SELECTABLE.iter().find(|(group, kind, _)| *group == gvk.group && *kind == gvk.kind).map_or(&NAMED, |(_, _, selectable)| selectable)
    }

    /// The part of a stored object that selectors read: its labels, its name and namespace, and these fields.
    pub(crate) fn index(&self, object: &Value) -> Index {
        let meta = object.at("metadata");
        let labels: Vec<(String, &str)> = meta.pairs("labels").map(|(key, value)| (Index::label_path(key), value)).collect();
        let fields = self.fields.iter().filter(|field| !PLAIN.contains(field));
        let fields: Vec<(&str, String)> = fields.filter_map(|field| Some((*field, text_at(object, field)?))).collect();
        let own = [("metadata.name", meta.text("name")), ("metadata.namespace", meta.text("namespace"))];
        let labels = labels.iter().map(|(path, value)| (path.as_str(), *value));
        Index::new(own.into_iter().chain(labels).chain(fields.iter().map(|(field, value)| (*field, value.as_str()))))
    }

    /// The field that a query means, by its present name.
    ///
    /// # Errors
    /// The API server's text.
    pub(super) fn known<'a>(&self, field: &'a str) -> Result<&'a str, String> {
        match field {
            "spec.host" if self.fields.contains(&"spec.nodeName") => Ok("spec.nodeName"),
            field if self.fields.contains(&field) => Ok(field),
            field if self.converted => Err(format!("field label not supported: {field}")),
            field => {
                let field = names::quote(field);
                Err(format!("{field} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""))
            }
        }
    }
}

/// A scalar field as selectors compare it.
fn text_at(object: &Value, field: &str) -> Option<String> {
    match field {
        // The component of an Event, wherever its writer put it.
        "source" => scalar(object, "source.component").filter(|text| !text.is_empty()).or_else(|| scalar(object, "reportingComponent")),
        field => scalar(object, field),
    }
}

fn scalar(object: &Value, path: &str) -> Option<String> {
    match path.split('.').try_fold(object, |value, field| value.get(field))? {
        Value::String(text) => Some(text.clone()),
        scalar @ (Value::Number(_) | Value::Bool(_)) => Some(scalar.to_string()),
        _ => None,
    }
}
