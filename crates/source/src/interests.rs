//! Interests: which kinds a command reads, and how much of them. The RBAC rules in `deploy/` are made from this table.

use api::{Kind, Object as _};
use client::Scope;
use model::ObjectKind;
use model::resolve::Want;

use crate::Config;
use crate::demand::Asked;

/// One kind that is read.
#[derive(Debug, PartialEq, Eq)]
pub struct Interest {
    pub kind: Kind,
    /// Nothing is published before a required kind was listed; an optional one may be missing or forbidden.
    pub required: bool,
    /// What is not wanted is never sent.
    pub scope: Scope,
    /// Only objects that others refer to are read, each by its name.
    pub by_name: bool,
}

/// One rule of a ClusterRole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub group: &'static str,
    /// A plural, with `/status` where only that is meant.
    pub resource: String,
    pub verbs: &'static [&'static str],
    /// Enough for the names that are referred to (`resourceNames`); without naming them it is for all of the kind.
    pub by_name: bool,
}

/// Services and slices of another service proxy, or of none.
const NOT_OURS: &str = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name";
/// The same for a proxy with a name of its own: which Services it takes is the model's to say.
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";

/// What has to be read so that the views which `config` asks for can be resolved.
pub fn interests(config: &Config) -> Vec<Interest> {
    let Config { model, on_demand } = config;
    let want = model.want;
    let all = |kind: Kind, required: bool| Interest { kind, required, scope: Scope::default(), by_name: false };
    let services = Scope {
        labels: match (want.names || want.routes, &model.proxy_name) {
            (true, _) => api::Selector::default(),
            (false, None) => selector(NOT_OURS),
            (false, Some(_)) => selector(NOT_HEADLESS),
        },
        namespace: services_namespace(config),
        ..Scope::default()
    };
    let mut interests = vec![
        Interest { scope: services.clone(), ..all(api::Service::KIND, true) },
        Interest { scope: services, ..all(api::EndpointSlice::KIND, true) },
    ];
    if want.packets {
        // Its own Node alone: nothing is asked of the others.
        let fields = format!("metadata.name={}", model.node_name);
        interests.push(Interest { scope: Scope { fields, ..Scope::default() }, ..all(api::Node::KIND, true) });
        interests.push(all(api::ServiceCidr::KIND, false));
    }
    if want.names {
        interests.push(all(api::Namespace::KIND, true));
        interests.extend(on_demand.kinds().into_iter().filter_map(|(kind, asked)| {
            let Asked { scope, required } = asked?;
            Some(Interest { scope, ..all(kind, required) })
        }));
    }
    if want.routes {
        let namespace = model.ingress.namespace.as_deref().map(str::to_owned);
        interests.push(Interest { scope: Scope { namespace, ..Scope::default() }, ..all(api::Ingress::KIND, true) });
        interests.push(all(api::IngressClass::KIND, false));
        interests.push(Interest { by_name: true, ..all(api::Secret::KIND, false) });
    }
    interests
}

/// What the API server has to allow for `config`: reading what is of interest, and writing reports of it. `get` is for Events, which
/// are about an object by its uid.
pub fn permissions(config: &Config) -> Vec<Permission> {
    let reads = interests(config).into_iter().map(|Interest { kind, by_name, .. }| Permission {
        group: kind.group,
        resource: kind.plural.to_owned(),
        verbs: &["get", "list", "watch"],
        by_name,
    });
    let events = Permission { group: "", resource: "events".to_owned(), verbs: &["create"], by_name: false };
    let status = || {
        let Kind { group, plural, .. } = api::Ingress::KIND;
        Permission { group, resource: format!("{plural}/status"), verbs: &["patch"], by_name: false }
    };
    reads.chain([events]).chain(config.model.want.routes.then(status)).collect()
}

/// Whether objects of a kind say anything about views of `want`: files may hold more than one command reads.
pub(crate) fn reads(want: Want, kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Service | ObjectKind::EndpointSlice | ObjectKind::Endpoints | ObjectKind::File => true,
        ObjectKind::Node | ObjectKind::ServiceCidr => want.packets,
        ObjectKind::Namespace | ObjectKind::Pod | ObjectKind::ServiceImport => want.names,
        ObjectKind::Ingress | ObjectKind::IngressClass | ObjectKind::Secret | ObjectKind::ConfigMap => want.routes,
    }
}

/// An ingress of one namespace reads the Services of that namespace, unless its default backend is elsewhere.
fn services_namespace(config: &Config) -> Option<String> {
    let model = &config.model;
    let namespace = model.ingress.namespace.as_ref().filter(|_| !model.want.packets && !model.want.names)?;
    let elsewhere = model.ingress.default_backend.as_ref().is_some_and(|backend| backend.service.namespace != *namespace);
    (!elsewhere).then(|| namespace.to_string())
}

fn selector(text: &str) -> api::Selector {
    api::Selector::parse(text).expect("BUG: a selector of the table of interests is not valid")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::OnDemand;

    fn check(model: model::Config, on_demand: OnDemand, expected: Expect) {
        let mut text = String::new();
        for Interest { kind, required, scope, by_name } in interests(&Config { model, on_demand }) {
            text.push_str(kind.plural);
            text.push_str(if required { "" } else { " (optional)" });
            text.push_str(if by_name { " by name" } else { "" });
            if let Some(namespace) = &scope.namespace {
                text.push_str(&format!(" in {namespace}"));
            }
            if !scope.labels.is_everything() {
                text.push_str(&format!(" labels {}", scope.labels));
            }
            if !scope.fields.is_empty() {
                text.push_str(&format!(" fields {}", scope.fields));
            }
            text.push('\n');
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_proxy_reads_its_own_node_and_no_pods_and_no_secrets() {
        let want = Want { packets: true, ..Want::default() };
        check(
            model::Config { node_name: "a".into(), want, ..model::Config::default() },
            OnDemand::NOTHING,
            expect![[r#"
            services labels !service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name
            endpointslices labels !service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name
            nodes fields metadata.name=a
            servicecidrs (optional)
        "#]],
        );
    }

    #[test]
    fn only_an_ingress_writes_more_than_events() {
        let writes = |want: Want| {
            let config = Config { model: model::Config { want, ..model::Config::default() }, on_demand: OnDemand::NOTHING };
            let writes = permissions(&config).into_iter().filter(|permission| !permission.verbs.contains(&"watch"));
            writes.map(|permission| permission.resource).collect::<Vec<_>>()
        };
        assert_eq!(writes(Want { packets: true, names: true, routes: false }), ["events"]);
        assert_eq!(writes(Want { routes: true, ..Want::default() }), ["events", "ingresses/status"]);
    }

    #[test]
    fn dns_reads_pods_and_imports_only_where_a_corefile_asks_for_them() {
        let model = || model::Config { want: Want { names: true, ..Want::default() }, ..model::Config::default() };
        check(
            model(),
            OnDemand::NOTHING,
            expect![[r#"
            services
            endpointslices
            namespaces
        "#]],
        );
        check(
            model(),
            OnDemand::EVERYTHING,
            expect![[r#"
            services
            endpointslices
            namespaces
            serviceimports (optional)
            pods
        "#]],
        );
    }

    #[test]
    fn a_server_of_one_node_may_ask_for_the_pods_of_that_node_alone() {
        let want = Want { names: true, ..Want::default() };
        check(
            model::Config { want, ..model::Config::default() },
            OnDemand { pods: crate::Pods::OfNode("a".into()), ..OnDemand::NOTHING },
            expect![[r#"
            services
            endpointslices
            namespaces
            pods (optional) fields spec.nodeName=a
        "#]],
        );
    }

    #[test]
    fn an_ingress_reads_only_secrets_that_are_named_and_may_stay_in_one_namespace() {
        let want = Want { routes: true, ..Want::default() };
        let ingress = model::resolve::IngressConfig { namespace: Some("shop".into()), ..Default::default() };
        check(
            model::Config { want, ingress, ..model::Config::default() },
            OnDemand::NOTHING,
            expect![[r#"
            services in shop
            endpointslices in shop
            ingresses in shop
            ingressclasses (optional)
            secrets (optional) by name
        "#]],
        );
    }

    #[test]
    fn what_names_or_routes_need_is_not_narrowed_to_what_packets_need() {
        let want = Want { packets: true, names: true, routes: true };
        check(
            model::Config { node_name: "a".into(), want, ..model::Config::default() },
            OnDemand::NOTHING,
            expect![[r#"
            services
            endpointslices
            nodes fields metadata.name=a
            servicecidrs (optional)
            namespaces
            ingresses
            ingressclasses (optional)
            secrets (optional) by name
        "#]],
        );
    }
}
