//! Tables: what `kubectl get` prints, one row per object, in the cells of Kubernetes' own printers.
//!
//! Columns come from the schema's data; a kind's cells from one function, found through [`ROWS`]; a kind without one shows its name and age.
//! Wide cells are always filled: the client picks. Must not know how objects were found.
//!
//! Source: pkg/printers/internalversion/printers.go; apimachinery's pkg/util/duration.

mod apps;
mod core;
mod event;
mod network;
mod node;
mod pod;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::schema::Schema;
use crate::value::Get;

/// What of the object each row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

/// The cells of one object, in the order of its collection's columns.
type Row = fn(&Value, Now) -> Vec<Value>;

const ROWS: &[(&str, Row)] = &[
    ("api/v1/configmaps", core::config_map),
    ("api/v1/endpoints", network::endpoints),
    ("api/v1/events", event::core_event),
    ("api/v1/namespaces", core::namespace),
    ("api/v1/nodes", node::node),
    ("api/v1/persistentvolumeclaims", core::claim),
    ("api/v1/pods", pod::pod),
    ("api/v1/secrets", core::secret),
    ("api/v1/services", network::service),
    ("apis/apps/v1/deployments", apps::deployment),
    ("apis/apps/v1/replicasets", apps::replica_set),
    ("apis/autoscaling/v1/scales", apps::scale),
    ("apis/coordination.k8s.io/v1/leases", core::lease),
    ("apis/discovery.k8s.io/v1/endpointslices", network::endpoint_slice),
    ("apis/events.k8s.io/v1/events", event::event),
    ("apis/networking.k8s.io/v1/ingressclasses", network::ingress_class),
    ("apis/networking.k8s.io/v1/ingresses", network::ingress),
    ("apis/networking.k8s.io/v1/ipaddresses", network::ip_address),
    ("apis/networking.k8s.io/v1/servicecidrs", network::service_cidr),
];

/// Renders objects of one collection (`api/v1/services`; `apis/autoscaling/v1/scales` for the scale subresource) as a `meta.k8s.io/v1` Table.
///
/// The Table's own metadata stays empty: resourceVersion and continue are the caller's. `now` is seconds since 1970, for ages.
pub fn render<'a>(schema: &Schema, collection: &str, objects: impl IntoIterator<Item = &'a Value>, include: Include, now: i64) -> Value {
    let mut table = head(schema, collection);
    table["rows"] = objects.into_iter().map(|object| row(collection, object, include, now)).collect();
    table
}

/// A Table without rows.
pub fn head(schema: &Schema, collection: &str) -> Value {
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns(schema, collection)})
}

/// The row of one object.
pub fn row(collection: &str, object: &Value, include: Include, now: i64) -> Value {
    let now = Now(now);
    let cells = match ROWS.iter().find(|(name, _)| *name == collection) {
        Some((_, row)) => row(object, now),
        None => vec![name(object), now.age(object)],
    };
    let carried = match include {
        Include::None => Value::Null,
        Include::Metadata => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.at("metadata")})
        }
        Include::Object => object.clone(),
    };
    match finished(collection, object) {
        Some(conditions) => json!({"cells": cells, "conditions": conditions, "object": carried}),
        None => json!({"cells": cells, "object": carried}),
    }
}

fn columns(schema: &Schema, collection: &str) -> Vec<Value> {
    let column = |name: &str, format: &str| json!({"name": name, "type": "string", "format": format, "priority": 0});
    let mut columns = match (schema.columns(collection).and_then(Value::as_array), collection) {
        (Some(columns), _) => columns.clone(),
        (None, "apis/autoscaling/v1/scales") => {
            vec![column("Name", "name"), column("Desired", ""), column("Available", ""), column("Age", "")]
        }
        (None, _) => vec![column("Name", "name"), column("Age", "")],
    };
    for column in columns.iter_mut().filter_map(Value::as_object_mut) {
        column.entry("description").or_insert("".into());
    }
    columns
}

/// A Pod that has run its course is marked, so that a client may hide it.
fn finished(collection: &str, object: &Value) -> Option<Value> {
    let phase = object.at("status").text("phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    (collection == "api/v1/pods").then(|| json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

/// The time of the answer.
#[derive(Debug, Clone, Copy)]
struct Now(i64);

impl Now {
    /// The object's age, from its creation.
    fn age(self, object: &Value) -> Value {
        self.since(object.at("metadata").at("creationTimestamp")).into()
    }

    fn since(self, time: &Value) -> String {
        match time.as_str().and_then(api::Time::parse) {
            Some(time) => human(self.0.saturating_sub(time.seconds)),
            None => "<unknown>".to_owned(),
        }
    }
}

/// A duration with two or three significant figures.
fn human(seconds: i64) -> String {
    let two = |large: i64, unit: &str, small: i64, part: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{part}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2_920 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

// What the kinds share.

fn name(object: &Value) -> Value {
    object.at("metadata").text("name").into()
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The first three, and how many more.
fn first_three(all: &[String]) -> String {
    let shown = all[..all.len().min(3)].join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}

/// `a=b,c=d`, or `<none>`.
fn labels(object: &Value, field: &str) -> String {
    let pairs: Vec<String> = object.pairs(field).map(|(key, value)| format!("{key}={value}")).collect();
    or(&pairs.join(","), "<none>").to_owned()
}

/// The addresses of a load balancer's status, sorted, each once.
fn load_balancer(object: &Value) -> String {
    let ingress = object.at("status").at("loadBalancer").items("ingress").iter();
    let addresses = ingress.map(|ingress| or(ingress.text("ip"), ingress.text("hostname"))).filter(|address| !address.is_empty());
    addresses.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}
