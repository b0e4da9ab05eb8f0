//! Node.

use model::facts::Node;

use super::Fields;

const ZONE: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler is about to remove the node (KEP-3836).
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

pub(super) fn lower(node: &api::Node, fields: &mut Fields<'_>) -> Node {
    let of_type = |wanted: &'static str| {
        let addresses = node.status.addresses.iter().enumerate();
        addresses.filter(move |(_, address)| &*address.address_type == wanted)
    };
    let mut read = |wanted| {
        let found = of_type(wanted);
        found.filter_map(|(index, it)| fields.address(&it.address, || format!("status.addresses[{index}].address"))).collect()
    };
    let (internal_ips, external_ips) = (read("InternalIP"), read("ExternalIP"));
    let pod_cidrs = if node.spec.pod_cidrs.is_empty() && !node.spec.pod_cidr.is_empty() {
        fields.net(&node.spec.pod_cidr, || "spec.podCIDR".to_string()).into_iter().collect()
    } else {
        fields.nets(node.spec.pod_cidrs.iter().map(|cidr| &**cidr), "spec.podCIDRs")
    };
    Node {
        internal_ips,
        external_ips,
        pod_cidrs,
        zone: fields.some_text(node.metadata.labels.0.get(ZONE).map(|zone| &**zone)),
        leaving: node.metadata.deletion_timestamp.is_some() || node.spec.taints.iter().any(|taint| &*taint.key == LEAVING),
    }
}
