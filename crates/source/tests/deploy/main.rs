//! The roles in `deploy/` are made from what each command says it reads: `UPDATE_EXPECT=1 cargo test -p rutter-source --test deploy`
//! writes them, and a test run finds a role that is wider or narrower than its command.

use std::collections::BTreeMap;

use expect_test::expect_file;
use model::resolve::Want;
use source::{Config, OnDemand, Permission, permissions};

/// One ClusterRole of the permissions that `want` needs, as kubectl takes it.
fn role(name: &str, want: Want) -> String {
    // What a Corefile may come to ask for is allowed from the start.
    let config = Config { model: model::Config { want, ..model::Config::default() }, on_demand: OnDemand::EVERYTHING };
    let mut rules: BTreeMap<(&str, &[&str]), Vec<String>> = BTreeMap::new();
    for Permission { group, resource, verbs, .. } in permissions(&config) {
        rules.entry((group, verbs)).or_default().push(resource);
    }
    let mut text = format!(
        "# Made from the interests of the command; see crates/source/tests/deploy/main.rs.\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n"
    );
    for ((group, verbs), resources) in rules {
        text += &format!("- apiGroups: [{group:?}]\n  resources: [{}]\n  verbs: [{}]\n", resources.join(", "), verbs.join(", "));
    }
    text
}

#[test]
fn roles_are_as_wide_as_what_is_read() {
    let packets = Want { packets: true, ..Want::default() };
    let names = Want { names: true, ..Want::default() };
    let routes = Want { routes: true, ..Want::default() };
    expect_file!["../../../../deploy/role-proxy.yaml"].assert_eq(&role("rutter-proxy", packets));
    expect_file!["../../../../deploy/role-dns.yaml"].assert_eq(&role("rutter-dns", names));
    expect_file!["../../../../deploy/role-ingress.yaml"].assert_eq(&role("rutter-ingress", routes));
}

#[test]
fn a_proxy_reads_no_pods_and_no_secrets() {
    let role = role("rutter-proxy", Want { packets: true, ..Want::default() });
    assert!(!role.contains("pods") && !role.contains("secrets") && !role.contains('*'), "{role}");
}
