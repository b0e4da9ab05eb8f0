use expect_test::{Expect, expect};

use super::*;
use crate::testing;

/// What node `a` does for every port of every Service in `text`, under each policy.
fn check(text: &str, expect: Expect) {
    let mut model = testing::model();
    model.update(testing::changes(text));
    let facts = model.facts();
    let zone = facts.nodes.get("a").and_then(|node| node.zone.clone());
    let place = Place { node: "a", zone: zone.as_deref(), ..Place::default() };
    let mut lines = Vec::new();
    for (name, service) in &facts.services {
        for (port, family) in service.ports.iter().flat_map(|port| Family::BOTH.map(|family| (port, family))) {
            if !service.cluster_ips.iter().any(|ip| Family::of(*ip) == family) {
                continue;
            }
            let candidates = candidates(facts.slices_of(name), family, &port.name, port.protocol, place);
            let [cluster, local] = [TrafficPolicy::Cluster, TrafficPolicy::Local].map(|policy| verdict(&candidates, policy, place));
            let [cluster, local] = [cluster, local].map(|verdict| testing::show_verdict(&verdict));
            let label = format!("{}:{}{}", port.name, port.port, port.protocol.lower());
            lines.push(format!("{label} cluster {cluster} local {local} serving {:?}\n", serving(&candidates)));
        }
    }
    lines.sort();
    expect.assert_eq(&lines.concat());
}

macro_rules! choices {
    ($($name:ident: $text:expr, $expect:expr;)*) => {
        $(#[test]
        fn $name() {
            check($text, $expect);
        })*
    };
}

choices! {
    every_ready_endpoint_is_chosen_and_local_ones_by_policy_local:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=a; ep 10.0.2.2:8080 on=b",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.2.2:8080] local [10.0.1.2:8080] serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    no_endpoint_at_all_is_refused:
        "svc web 10.96.0.10:80",
        expect![[r#"
            :80tcp cluster reject local reject serving []
        "#]];
    endpoints_that_neither_are_ready_nor_drain_are_as_none:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=a unready; ep 10.0.2.2:8080 on=a gone",
        expect![[r#"
            :80tcp cluster reject local reject serving []
        "#]];
    local_policy_drops_while_there_are_endpoints_elsewhere:
        "svc web 10.96.0.10:80; ep 10.0.2.2:8080 on=b",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080] local drop serving [10.0.2.2:8080]
        "#]];
    local_policy_drops_also_when_the_ones_elsewhere_only_drain:
        "svc web 10.96.0.10:80; ep 10.0.2.2:8080 on=b terminating",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080] local drop serving [10.0.2.2:8080]
        "#]];
    local_policy_keeps_serving_while_terminating:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=a terminating; ep 10.0.2.2:8080 on=b",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080] local [10.0.1.2:8080] serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    ready_local_ones_keep_the_terminating_out:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=a terminating; ep 10.0.1.3:8080 on=a",
        expect![[r#"
            :80tcp cluster [10.0.1.3:8080] local [10.0.1.3:8080] serving [10.0.1.2:8080, 10.0.1.3:8080]
        "#]];
    when_all_terminate_those_still_serving_are_used:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=b terminating; ep 10.0.1.3:8080 on=b gone; ep 10.0.1.4:8080 on=b unready",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080]
        "#]];
    an_endpoint_without_a_node_is_local_nowhere:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080]
        "#]];
    zone_hints_narrow_policy_cluster_alone:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 on=a zones=z2; ep 10.0.2.2:8080 on=b zones=z1,z2",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080] local [10.0.1.2:8080] serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    one_missing_zone_hint_switches_zones_off:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1; ep 10.0.2.2:8080",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.2.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    hints_of_endpoints_that_are_not_ready_do_not_count:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1; ep 10.0.2.2:8080 zones=z2; ep 10.0.3.2:8080 unready",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    a_zone_with_no_ready_endpoint_uses_all:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1 unready; ep 10.0.2.2:8080 zones=z2; ep 10.0.3.2:8080 zones=z3",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080, 10.0.3.2:8080] local drop serving [10.0.2.2:8080, 10.0.3.2:8080]
        "#]];
    a_node_without_a_zone_uses_all:
        "node a; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1; ep 10.0.2.2:8080 zones=z2",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.2.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    an_empty_list_of_hints_is_no_hint:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1; ep 10.0.2.2:8080 zones=",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.2.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    terminating_endpoints_are_used_whatever_their_zone:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 zones=z1 terminating; ep 10.0.2.2:8080 zones=z2 terminating",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.2.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    node_hints_come_before_zone_hints:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 nodes=a zones=z1; ep 10.0.2.2:8080 nodes=b zones=z1",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    without_a_node_hint_for_us_the_zone_decides:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 nodes=b zones=z1; ep 10.0.2.2:8080 nodes=c zones=z2",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    a_missing_node_hint_leaves_the_zone_to_decide:
        "node a zone=z1; svc web 10.96.0.10:80; ep 10.0.1.2:8080 nodes=a zones=z2; ep 10.0.2.2:8080 zones=z1",
        expect![[r#"
            :80tcp cluster [10.0.2.2:8080] local drop serving [10.0.1.2:8080, 10.0.2.2:8080]
        "#]];
    slices_are_merged_and_each_endpoint_is_there_once:
        "svc web 10.96.0.10:80; slice s1 :8080; ep 10.0.1.2; ep 10.0.2.2; slice s2 :8080; ep 10.0.2.2; ep 10.0.3.2; slice s3 :9090; ep 10.0.1.2",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080, 10.0.1.2:9090, 10.0.2.2:8080, 10.0.3.2:8080] local drop serving [10.0.1.2:8080, 10.0.1.2:9090, 10.0.2.2:8080, 10.0.3.2:8080]
        "#]];
    of_two_tellings_the_local_and_then_the_ready_one_counts:
        "svc web 10.96.0.10:80; slice s1 :80; ep 10.0.1.2 on=b; ep 10.0.2.2 on=b unready; slice s2 :80; ep 10.0.1.2 on=a terminating; ep 10.0.2.2 on=b",
        expect![[r#"
            :80tcp cluster [10.0.2.2:80] local [10.0.1.2:80] serving [10.0.1.2:80, 10.0.2.2:80]
        "#]];
    ports_are_linked_by_name_and_protocol_not_by_number:
        "svc dns 10.96.0.10 dns:53/udp>9053 dns-tcp:53>9053 http:80; slice s1 dns:5300/udp dns-tcp:5301/tcp :80; ep 10.0.1.2",
        expect![[r#"
            dns-tcp:53tcp cluster [10.0.1.2:5301] local drop serving [10.0.1.2:5301]
            dns:53udp cluster [10.0.1.2:5300] local drop serving [10.0.1.2:5300]
            http:80tcp cluster reject local reject serving []
        "#]];
    a_slice_port_without_a_number_is_passed_over:
        "svc web 10.96.0.10 http:80; slice s1 http:0; ep 10.0.1.2; slice s2 http:8080; ep 10.0.2.2",
        expect![[r#"
            http:80tcp cluster [10.0.2.2:8080] local drop serving [10.0.2.2:8080]
        "#]];
    each_family_has_its_own_endpoints:
        "svc web 10.96.0.10:80 fd00::10; ep 10.0.1.2:8080; ep [fd00:1::2]:8080; ep [fd00:1::3]:8080",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080]
            :80tcp cluster [[fd00:1::2]:8080, [fd00:1::3]:8080] local drop serving [[fd00:1::2]:8080, [fd00:1::3]:8080]
        "#]];
    an_address_of_the_wrong_family_is_left_out:
        "svc web 10.96.0.10:80 fd00::10; slice s1 v4 :8080; ep 10.0.1.2; ep fd00:1::2",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080]
            :80tcp cluster reject local reject serving []
        "#]];
    a_ready_endpoint_that_does_not_serve_is_no_stale_one:
        "svc web 10.96.0.10:80; ep 10.0.1.2:8080 unready tolerated; ep 10.0.1.3:8080 unready",
        expect![[r#"
            :80tcp cluster [10.0.1.2:8080] local drop serving [10.0.1.2:8080]
        "#]];
}
