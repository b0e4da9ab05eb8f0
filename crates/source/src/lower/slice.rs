//! EndpointSlice.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::discovery;
use model::facts::{Endpoint, Hints, Index, Labels, Slice, SlicePort, Topology};
use model::{Family, ServiceName};

use super::Fields;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MULTICLUSTER: &str = "multicluster.kubernetes.io/";
const IMPORTED: &str = "multicluster.kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A slice that belongs to no Service, or holds host names, is no fact.
pub(super) fn lower(slice: &api::EndpointSlice, fields: &mut Fields<'_>) -> Option<Slice> {
    let labels = &slice.metadata.labels.0;
    let service = labels.get(SERVICE_NAME).filter(|name| !name.is_empty()).or_else(|| labels.get(IMPORTED))?;
    let service = ServiceName { namespace: fields.text(&slice.metadata.namespace), name: fields.text(service) };
    let family = match &*slice.address_type {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        // Not for service proxies, as the API says; no mistake either.
        "FQDN" => return None,
        other => {
            fields.invalid(|| "addressType".to_string(), format!("`{other}` is none of IPv4, IPv6, FQDN"));
            return None;
        }
    };
    let ports = slice.ports.iter().enumerate().filter_map(|(index, port)| self::port(index, port, fields)).collect();
    let read = |(index, it)| Some((it, endpoint(index, it, fields)?));
    let (written, endpoints): (Vec<&discovery::Endpoint>, Vec<Endpoint>) = slice.endpoints.iter().enumerate().filter_map(read).unzip();
    Some(Slice {
        service,
        family,
        ports,
        endpoints: endpoints.into(),
        names: fields.names(written.iter().map(|it| (it.hostname.as_deref(), pod(it)))),
        labels: self::labels(labels, fields),
        triggered_at_ms: slice.metadata.annotations.0.get(TRIGGER).and_then(|text| api::Time::parse(text)).and_then(|time| {
            let ms = u64::try_from(time.seconds).ok()?.checked_mul(1_000)?;
            Some(ms + u64::from(time.nanos) / 1_000_000)
        }),
    })
}

/// The labels that decide something: all of another cluster's slice, which a Corefile may select by any. The others, which are copied
/// from the Service to each of its slices, would be most of its size; what one label alone says is in [`Slice::service`].
fn labels(labels: &BTreeMap<Box<str>, Box<str>>, fields: &mut Fields<'_>) -> Arc<Labels> {
    let is_imported = labels.contains_key(IMPORTED);
    let decides = |key: &str| is_imported || key.starts_with(MULTICLUSTER) || matches!(key, HEADLESS | PROXY_NAME);
    let kept = labels.iter().filter(|(key, _)| decides(key));
    fields.texts().labels(&api::Map(kept.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

/// A port without a number stands for all ports, which no Service can use: left out.
fn port(index: usize, port: &discovery::EndpointPort, fields: &mut Fields<'_>) -> Option<SlicePort> {
    let path = |field: &'static str| move || format!("ports[{index}].{field}");
    let number = port.port.filter(|number| *number != 0)?;
    Some(SlicePort {
        name: fields.text(port.name.as_deref().unwrap_or("")),
        protocol: fields.protocol(port.protocol.as_deref().unwrap_or(""), path("protocol"))?,
        port: fields.port(number, path("port"))?,
    })
}

fn endpoint(index: usize, endpoint: &discovery::Endpoint, fields: &mut Fields<'_>) -> Option<Endpoint> {
    let Some(first) = endpoint.addresses.first() else {
        fields.invalid(|| format!("endpoints[{index}].addresses"), "has no address");
        return None;
    };
    let conditions = &endpoint.conditions;
    let hints = endpoint.hints.as_ref();
    Some(Endpoint {
        at: index as Index,
        // Of the wrong family, it stays a fact: the model says what that means.
        address: fields.address(first, || format!("endpoints[{index}].addresses[0]"))?,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        topology: {
            let topology = Topology {
                node: fields.some_text(endpoint.node_name.as_deref()),
                zone: fields.some_text(endpoint.zone.as_deref()),
                zone_hints: hints.and_then(|hints| names(&hints.for_zones, fields)),
                node_hints: hints.and_then(|hints| names(&hints.for_nodes, fields)),
            };
            fields.texts().topology(topology)
        },
    })
}

fn pod(endpoint: &discovery::Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref().filter(|target| &*target.kind == "Pod" || target.kind.is_empty());
    target.map(|target| &*target.name)
}

fn names(names: &[discovery::ForName], fields: &mut Fields<'_>) -> Hints {
    if names.is_empty() {
        return None;
    }
    Some(names.iter().map(|name| fields.text(&name.name)).collect())
}
