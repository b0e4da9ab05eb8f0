//! Dealing endpoints out to slices with as few writes as possible.
//!
//! Endpoints stay where they are; gone ones are taken out, changed ones replaced in place, new ones fill the fullest slices that have
//! room, and only what is left makes new slices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{HEADLESS, MANAGED_BY, SERVICE_NAME};
use crate::cache::Cache;
use crate::plan::{Plan, Propagation, Write};
use crate::{json, kinds};

/// When the cause of the newest change happened, for the programming-latency SLI.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Labels of a Service that its slices do not take over: they say what the slice itself is.
const OWN_LABELS: &[&str] = &[SERVICE_NAME, MANAGED_BY, HEADLESS];

/// Annotations of Endpoints that their mirrored slices do not take over.
const OWN_ANNOTATIONS: &[&str] = &[TRIGGER, "kubectl.kubernetes.io/last-applied-configuration"];

/// Who writes these slices.
pub(crate) struct Owner {
    pub(crate) managed_by: &'static str,
    /// Whether one empty slice says that there is nothing.
    pub(crate) keeps_placeholder: bool,
    /// Whether slices take over the annotations of what they describe, instead of saying when its endpoints changed.
    pub(crate) copies_annotations: bool,
}

/// Endpoints that have their ports in common.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) ports: Vec<Value>,
    pub(crate) endpoints: Vec<Value>,
}

/// The slices of `service` and `family` that `managed_by` writes.
pub(crate) fn existing(cache: &Cache, service: &Value, managed_by: &str, family: &str) -> Vec<Arc<Value>> {
    cache
        .in_namespace(&kinds::ENDPOINT_SLICE, json::namespace(service))
        .filter(|slice| json::label(slice, SERVICE_NAME) == Some(json::name(service)) && json::label(slice, MANAGED_BY) == Some(managed_by))
        .filter(|slice| slice["addressType"] == family && !json::is_deleting(slice))
        .cloned()
        .collect()
}

/// Plans what makes `existing` hold `groups` and nothing else. `described` gives labels, `controller` owns the slices.
#[allow(clippy::too_many_arguments)] // A plan in one go; a struct would only rename the list.
pub(crate) fn write(
    owner: &Owner,
    described: &Value,
    controller: &Value,
    family: &str,
    mut groups: Vec<Group>,
    existing: &[Arc<Value>],
    max_endpoints: usize,
    now: SystemTime,
    plan: &mut Plan,
) {
    if groups.is_empty() && owner.keeps_placeholder {
        groups.push(Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    let labels = labels(owner, described);
    let annotations = owner.copies_annotations.then(|| annotations(described));
    let mut spare: Vec<&Arc<Value>> = existing.iter().collect();
    for group in groups {
        let is_placeholder = group.endpoints.is_empty() && group.ports.is_empty();
        // A placeholder may be what became of any slice; otherwise a slice keeps its ports for life.
        let (own, others): (Vec<_>, Vec<_>) = spare.into_iter().partition(|slice| ports_of(slice) == group.ports || is_empty(slice));
        spare = others;
        let own = if is_placeholder && own.is_empty() { spare.pop().into_iter().collect() } else { own };
        let mut contents = deal(&own, group.endpoints, max_endpoints);
        if is_placeholder && contents.iter().all(|slice| slice.endpoints.is_empty()) {
            contents.truncate(1);
            spare.extend(own.iter().skip(1));
            if contents.is_empty() {
                contents.push(Content { of: None, endpoints: Vec::new() });
            }
        }
        for content in contents {
            let Content { of, endpoints } = content;
            match of {
                Some(slice) if endpoints.is_empty() && !is_placeholder => {
                    plan.write(Write::delete(&kinds::ENDPOINT_SLICE, slice, Propagation::Background))
                }
                Some(slice) => update(slice, &group.ports, endpoints, &labels, annotations.as_ref(), now, plan),
                None => {
                    let annotations = annotations.clone().unwrap_or_else(|| stamp(now));
                    plan.write(create(controller, described, family, &group.ports, endpoints, &labels, annotations))
                }
            }
        }
    }
    for slice in spare {
        plan.write(Write::delete(&kinds::ENDPOINT_SLICE, slice, Propagation::Background));
    }
}

/// One slice as it is to be; `of` is what it is now, `None` a new one.
struct Content<'a> {
    of: Option<&'a Arc<Value>>,
    endpoints: Vec<Value>,
}

fn deal<'a>(own: &[&'a Arc<Value>], endpoints: Vec<Value>, max_endpoints: usize) -> Vec<Content<'a>> {
    let mut wanted: BTreeMap<String, Value> = endpoints.into_iter().map(|endpoint| (place(&endpoint), endpoint)).collect();
    let mut contents: Vec<Content<'a>> = own
        .iter()
        .map(|slice| {
            let kept = slice["endpoints"].as_array().into_iter().flatten();
            Content { of: Some(*slice), endpoints: kept.filter_map(|endpoint| wanted.remove(&place(endpoint))).collect() }
        })
        .collect();
    let mut new = wanted.into_values();
    // The fullest first: fewer slices in the end.
    contents.sort_by_key(|content| std::cmp::Reverse(content.endpoints.len()));
    for content in &mut contents {
        let room = max_endpoints.saturating_sub(content.endpoints.len());
        content.endpoints.extend(new.by_ref().take(room));
    }
    loop {
        let endpoints: Vec<_> = new.by_ref().take(max_endpoints).collect();
        if endpoints.is_empty() {
            return contents;
        }
        contents.push(Content { of: None, endpoints });
    }
}

/// What makes an endpoint the same one: its address and what stands behind it.
fn place(endpoint: &Value) -> String {
    format!("{} {}", endpoint["addresses"], endpoint["targetRef"]["uid"])
}

fn ports_of(slice: &Value) -> Vec<Value> {
    slice["ports"].as_array().cloned().unwrap_or_default()
}

fn is_empty(slice: &Value) -> bool {
    slice["endpoints"].as_array().is_none_or(Vec::is_empty) && ports_of(slice).is_empty()
}

/// `annotations`: all that the slice is to have; `None`: those that it has, and when it changed.
fn update(
    slice: &Arc<Value>,
    ports: &[Value],
    endpoints: Vec<Value>,
    labels: &Map<String, Value>,
    annotations: Option<&Map<String, Value>>,
    now: SystemTime,
    plan: &mut Plan,
) {
    let own_annotations = slice["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let same = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice) == endpoints
        && ports_of(slice) == ports
        && json::labels(slice) == *labels
        && annotations.is_none_or(|annotations| own_annotations == *annotations);
    if same {
        return;
    }
    let mut object = Value::clone(slice);
    object["endpoints"] = list(endpoints);
    object["ports"] = list(ports.to_vec());
    object["metadata"]["labels"] = labels.clone().into();
    // An empty map is as good as none: the API drops both.
    let annotations = annotations.cloned().unwrap_or_else(|| own_annotations.into_iter().chain(stamp(now)).collect());
    object["metadata"]["annotations"] = annotations.into();
    plan.write(Write::Update { kind: &kinds::ENDPOINT_SLICE, object });
}

fn create(
    controller: &Value,
    described: &Value,
    family: &str,
    ports: &[Value],
    endpoints: Vec<Value>,
    labels: &Map<String, Value>,
    annotations: Map<String, Value>,
) -> Write {
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", json::name(described)),
            "namespace": json::namespace(described),
            "labels": labels,
            "ownerReferences": [json::controller_reference(controller)],
        },
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": list(ports.to_vec()),
    });
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = annotations.into();
    }
    Write::Create { kind: &kinds::ENDPOINT_SLICE, object, event: None }
}

/// The API writes an empty list of a slice as null.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { items.into() }
}

fn stamp(now: SystemTime) -> Map<String, Value> {
    Map::from_iter([(TRIGGER.to_string(), json::timestamp(now))])
}

fn annotations(described: &Value) -> Map<String, Value> {
    let mut annotations = described["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    annotations
}

fn labels(owner: &Owner, described: &Value) -> Map<String, Value> {
    let mut labels = json::labels(described);
    labels.retain(|key, _| !OWN_LABELS.contains(&key.as_str()) && !key.starts_with("endpoints.kubernetes.io/"));
    labels.insert(SERVICE_NAME.to_string(), json::name(described).into());
    labels.insert(MANAGED_BY.to_string(), owner.managed_by.into());
    if described["spec"]["clusterIP"] == "None" {
        labels.insert(HEADLESS.to_string(), "".into());
    }
    labels
}
