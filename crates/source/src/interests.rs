//! Interests: which kinds a command reads, and how much of them. The RBAC rules in `deploy/` are made from this table.

use api::Object as _;
use model::resolve::Want;

/// One kind that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    pub group: &'static str,
    pub plural: &'static str,
    /// Nothing is published before a required kind was listed; an optional one may be missing or forbidden.
    pub required: bool,
    /// A label selector, so that what is not wanted is never sent.
    pub labels: &'static str,
    /// Only objects that others refer to are read, each by its name.
    pub by_name: bool,
}

/// Slices and Services that no service proxy takes.
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";

/// What has to be read so that the views of `want` can be resolved.
pub fn interests(want: Want) -> Vec<Interest> {
    let packets_alone = want.packets && !want.names && !want.routes;
    let labels = if packets_alone { NOT_HEADLESS } else { "" };
    let all =
        |kind: api::Kind, required: bool, labels| Interest { group: kind.group, plural: kind.plural, required, labels, by_name: false };
    let mut interests = vec![all(api::Service::KIND, true, labels), all(api::EndpointSlice::KIND, true, labels)];
    if want.packets {
        interests.push(all(api::Node::KIND, true, ""));
        interests.push(all(api::ServiceCidr::KIND, false, ""));
    }
    if want.names {
        interests.push(all(api::Namespace::KIND, true, ""));
        interests.push(all(api::ServiceImport::KIND, false, ""));
    }
    if want.routes {
        interests.push(all(api::Ingress::KIND, true, ""));
        interests.push(all(api::IngressClass::KIND, true, ""));
        interests.push(Interest { by_name: true, ..all(api::Secret::KIND, false, "") });
    }
    interests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_reads_no_pods_and_no_secrets_and_an_ingress_only_secrets_that_are_named() {
        let plurals = |want: Want| interests(want).iter().map(|it| it.plural).collect::<Vec<_>>();
        let proxy = Want { packets: true, ..Want::default() };
        assert_eq!(plurals(proxy), ["services", "endpointslices", "nodes", "servicecidrs"]);
        let ingress = interests(Want { routes: true, ..Want::default() });
        assert!(ingress.iter().any(|it| it.plural == "secrets" && it.by_name));
    }
}
