//! What the parts of a name stand for, and who asks: for `metadata`. Source: CoreDNS's `kubernetes/metadata.go` and `parse.go`.

use super::{Kubernetes, Pods, Zone};
use crate::server::chain::Request;

/// The parts of a name below a zone; empty what it does not have.
#[derive(Default)]
struct Parts {
    port: String,
    protocol: String,
    endpoint: String,
    zone: String,
    service: String,
    namespace: String,
    kind: String,
}

impl Kubernetes {
    /// The value of `kubernetes/LABEL`, if it has one.
    pub(crate) fn metadata(&self, label: &str, request: &Request) -> Option<String> {
        if let Some(of_client) = label.strip_prefix("client-") {
            return self.of_client(of_client, request);
        }
        let name = &request.question.name;
        let zone = self.zones.zones.iter().filter(|zone| name.is_under(&zone.name)).max_by_key(|zone| zone.n_labels)?;
        let Some(parts) = self.parts(zone, request) else {
            return (label == "parse-error").then(|| "invalid query name".to_owned());
        };
        Some(match label {
            "port-name" => parts.port,
            "protocol" => parts.protocol,
            "endpoint" => parts.endpoint,
            "service" => parts.service,
            "namespace" => parts.namespace,
            "kind" => parts.kind,
            "zone" if self.zones.options.zonal => parts.zone,
            _ => return None,
        })
    }

    fn of_client(&self, label: &str, request: &Request) -> Option<String> {
        if self.zones.options.pods != Pods::Verified {
            return None;
        }
        let snapshot = self.current.load();
        let (name, pod) = snapshot.client(request.client.ip().to_canonical())?;
        match label {
            "namespace" => Some(name.namespace.to_string()),
            "pod-name" => Some(name.name.to_string()),
            label => pod.labels.get(label.strip_prefix("label/")?).map(ToString::to_string),
        }
    }

    /// `None` where the name is of none of the forms that there are.
    fn parts(&self, zone: &Zone, request: &Request) -> Option<Parts> {
        let folded = request.question.name.folded();
        let labels: Vec<String> =
            crate::name::labels(folded.split(&zone.name)?).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let plain = |label: &String| label.strip_prefix('_').unwrap_or(label).to_owned();
        let mut parts = Parts::default();
        let (kind, rest) = match labels.split_last() {
            None => return Some(parts),
            Some((kind, [])) if ["svc", "pod"].contains(&kind.as_str()) => return Some(parts),
            Some((kind, rest)) if ["svc", "pod"].contains(&kind.as_str()) => (kind, rest),
            Some(_) => return None,
        };
        parts.kind.clone_from(kind);
        let Some((namespace, rest)) = rest.split_last() else { return Some(parts) };
        parts.namespace.clone_from(namespace);
        let Some((service, rest)) = rest.split_last() else { return Some(parts) };
        parts.service.clone_from(service);
        match rest {
            [] => {}
            [endpoint] => parts.endpoint.clone_from(endpoint),
            [port, protocol] => (parts.port, parts.protocol) = (plain(port), plain(protocol)),
            [zone @ .., choice, anchor]
                if self.zones.options.zonal && kind == "svc" && anchor == "_zone" && ["pin", "prefer"].contains(&choice.as_str()) =>
            {
                parts.zone = zone.join(".");
            }
            _ => return None,
        }
        Some(parts)
    }
}
