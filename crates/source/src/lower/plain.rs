//! The kinds that are little more than a map: Namespace, Pod, Secret, ConfigMap, ServiceCIDR.

use std::collections::BTreeMap;

use ipnet::IpNet;
use model::facts::{ConfigMap, Namespace, Pod, Secret};

use super::Fields;

pub(super) fn namespace(namespace: &api::Namespace, fields: &mut Fields<'_>) -> Namespace {
    Namespace { labels: fields.texts().labels(&namespace.metadata.labels) }
}

pub(super) fn pod(pod: &api::Pod, fields: &mut Fields<'_>) -> Pod {
    // One whose node was lost has no address that counts either: CoreDNS's selector.
    let has_ended = matches!(&*pod.status.phase, "Succeeded" | "Failed" | "Unknown");
    let mut ips: Vec<&str> = pod.status.pod_ips.iter().map(|it| &*it.ip).collect();
    if ips.is_empty() && !pod.status.pod_ip.is_empty() {
        ips.push(&pod.status.pod_ip);
    }
    Pod {
        ips: if has_ended { Vec::new() } else { fields.addresses(ips, "status.podIPs") },
        host_network: pod.spec.host_network,
        labels: fields.texts().labels(&pod.metadata.labels),
    }
}

pub(super) fn secret(secret: &api::Secret, fields: &mut Fields<'_>) -> Secret {
    let mut data: BTreeMap<_, std::sync::Arc<[u8]>> = BTreeMap::new();
    for (key, value) in &secret.data.0 {
        data.insert(fields.text(key), value.0.clone().into());
    }
    // As the API would have folded it in: it wins.
    for (key, value) in &secret.string_data.0 {
        data.insert(fields.text(key), value.as_bytes().into());
    }
    Secret { data }
}

pub(super) fn config_map(config_map: &api::ConfigMap, fields: &mut Fields<'_>) -> ConfigMap {
    ConfigMap { data: config_map.data.0.iter().map(|(key, value)| (fields.text(key), (&**value).into())).collect() }
}

pub(super) fn service_cidr(cidr: &api::ServiceCidr, fields: &mut Fields<'_>) -> Vec<IpNet> {
    fields.nets(cidr.spec.cidrs.iter().map(|cidr| &**cidr), "spec.cidrs")
}
