use expect_test::{Expect, expect};

use super::*;

fn check(steps: &[&str], expect: Expect) {
    let model = after(model(), steps);
    expect.assert_eq(&testing::show_packets(&model.views().node));
}

#[test]
fn a_service_of_two_families_has_an_entry_for_each() {
    check(
        &["svc web 10.96.0.10 fd00::10 http:80@30080 lb=1.2.3.4 lb=2001:db8::1 eip=192.0.2.1 range=10.0.0.0/8 range=2001:db8::/32 affinity=10800;
           slice s4 v4 http:8080; ep 10.0.1.2; slice s6 v6 http:8080; ep fd00:1::2"],
        expect![[r#"
            default/web 10.96.0.10 eip=192.0.2.1 lb=1.2.3.4 range=10.0.0.0/8 affinity=10800
              http:80/tcp@30080 internal [10.0.1.2:8080] external [10.0.1.2:8080]
            default/web fd00::10 lb=2001:db8::1 range=2001:db8::/32 affinity=10800
              http:80/tcp@30080 internal [[fd00:1::2]:8080] external [[fd00:1::2]:8080]
        "#]],
    );
}

#[test]
fn source_ranges_of_the_other_family_alone_close_nothing() {
    check(
        &["svc web 10.96.0.10 http:80 lb=1.2.3.4 range=2001:db8::/32"],
        expect![[r#"
        default/web 10.96.0.10 lb=1.2.3.4
          http:80/tcp internal reject external reject
    "#]],
    );
}

#[test]
fn services_that_no_proxy_takes_are_skipped_wholly() {
    check(
        &["svc a headless :80@30001 eip=192.0.2.1; svc b external=example.com 10.96.0.1 :80@30002; svc c :80@30003;
           svc d 10.96.0.4:80 proxy=other; svc e 10.96.0.5:80 headless-label; svc f 10.96.0.6:80"],
        expect![[r#"
            default/f 10.96.0.6
              :80/tcp internal reject external reject
        "#]],
    );
}

#[test]
fn services_with_our_proxy_name_are_ours_alone() {
    let config = Config { proxy_name: Some("mine".into()), want: Want { packets: true, ..Want::default() }, ..Config::default() };
    let model = after(Model::new(config), &["svc a 10.96.0.1:80; svc b 10.96.0.2:80 proxy=mine; svc c 10.96.0.3:80 proxy=other"]);
    expect![[r#"
        default/b 10.96.0.2
          :80/tcp internal reject external reject
    "#]]
    .assert_eq(&testing::show_packets(&model.views().node));
}

#[test]
fn slices_of_another_proxy_are_passed_over() {
    check(
        &["svc web 10.96.0.10:80; slice s1 :80; ep 10.0.1.2; slice s2 :80 label:service.kubernetes.io/service-proxy-name=other; ep 10.0.1.3;
           slice s3 :80 label:service.kubernetes.io/headless=; ep 10.0.1.4; slice s4 :80 label:app=web; ep 10.0.1.5"],
        expect![[r#"
            default/web 10.96.0.10
              :80/tcp internal [10.0.1.2:80, 10.0.1.5:80] external [10.0.1.2:80, 10.0.1.5:80]
        "#]],
    );
}

#[test]
fn policy_local_binds_what_comes_from_outside_and_not_what_comes_from_inside() {
    check(
        &[
            "svc some 10.96.0.1 :80@30001 etp-local hc=31001; ep 10.0.1.2:80 on=a; ep 10.0.2.2:80 on=b",
            "svc none 10.96.0.2 :80@30002 etp-local hc=31002; ep 10.0.2.3:80 on=b",
        ],
        expect![[r#"
            default/none 10.96.0.2 keeps-source hc=31002:0
              :80/tcp@30002 internal [10.0.2.3:80] external drop inside [10.0.2.3:80]
            default/some 10.96.0.1 keeps-source hc=31001:1
              :80/tcp@30001 internal [10.0.1.2:80, 10.0.2.2:80] external [10.0.1.2:80] inside [10.0.1.2:80, 10.0.2.2:80]
        "#]],
    );
}

#[test]
fn internal_policy_local_leaves_external_addresses_alone() {
    check(
        &["svc web 10.96.0.1 :80@30001 itp-local; ep 10.0.2.2:80 on=b"],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp@30001 internal drop external [10.0.2.2:80]
    "#]],
    );
}

#[test]
fn external_policy_of_a_service_that_nobody_can_reach_from_outside_is_none() {
    check(
        &[
            "svc inner 10.96.0.1 :80 etp-local; ep 10.0.2.2:80 on=b",
            "svc other-family 10.96.0.2 :80 etp-local eip=2001:db8::1; ep 10.0.2.3:80 on=b",
            "svc mixed 10.96.0.3 in:80 out:81@30081 etp-local; slice m in:80 out:81; ep 10.0.2.4 on=b",
        ],
        expect![[r#"
            default/inner 10.96.0.1 keeps-source
              :80/tcp internal [10.0.2.2:80] external [10.0.2.2:80]
            default/mixed 10.96.0.3 keeps-source
              in:80/tcp internal [10.0.2.4:80] external [10.0.2.4:80]
              out:81/tcp@30081 internal [10.0.2.4:81] external drop inside [10.0.2.4:81]
            default/other-family 10.96.0.2 keeps-source
              :80/tcp internal [10.0.2.3:80] external [10.0.2.3:80]
        "#]],
    );
}

#[test]
fn health_check_counts_ready_local_addresses_once() {
    check(
        &["svc web 10.96.0.1 a:80@30001 b:81@30002 etp-local hc=31001; slice s1 a:80 b:81; ep 10.0.1.2 on=a; ep 10.0.1.3 on=a terminating;
           ep 10.0.1.4 on=a unready; ep 10.0.2.2 on=b; slice s2 a:80; ep 10.0.1.2 on=a; ep 10.0.1.5 on=a"],
        expect![[r#"
            default/web 10.96.0.1 keeps-source hc=31001:2
              a:80/tcp@30001 internal [10.0.1.2:80, 10.0.1.5:80, 10.0.2.2:80] external [10.0.1.2:80, 10.0.1.5:80] inside [10.0.1.2:80, 10.0.1.5:80, 10.0.2.2:80] serving [10.0.1.2:80, 10.0.1.3:80, 10.0.1.5:80, 10.0.2.2:80]
              b:81/tcp@30002 internal [10.0.1.2:81, 10.0.2.2:81] external [10.0.1.2:81] inside [10.0.1.2:81, 10.0.2.2:81] serving [10.0.1.2:81, 10.0.1.3:81, 10.0.2.2:81]
        "#]],
    );
}

#[test]
fn a_slice_may_come_before_its_service_move_and_go() {
    let slice = "slice s :80 of=web; ep 10.0.1.2";
    check(&[slice], expect![""]);
    check(
        &[slice, "svc web 10.96.0.1:80; svc api 10.96.0.2:80"],
        expect![[r#"
        default/api 10.96.0.2
          :80/tcp internal reject external reject
        default/web 10.96.0.1
          :80/tcp internal [10.0.1.2:80] external [10.0.1.2:80]
    "#]],
    );
    check(
        &[slice, "svc web 10.96.0.1:80; svc api 10.96.0.2:80", "slice s :80 of=api; ep 10.0.1.2"],
        expect![[r#"
        default/api 10.96.0.2
          :80/tcp internal [10.0.1.2:80] external [10.0.1.2:80]
        default/web 10.96.0.1
          :80/tcp internal reject external reject
    "#]],
    );
    check(
        &[slice, "svc web 10.96.0.1:80", "remove slice s"],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal reject external reject
    "#]],
    );
    check(&[slice, "svc web 10.96.0.1:80", "remove svc web"], expect![""]);
}

#[test]
fn a_node_that_moves_to_another_zone_chooses_anew() {
    let text = "svc web 10.96.0.1:80; ep 10.0.1.2:80 zones=z1; ep 10.0.2.2:80 zones=z2";
    check(
        &[text, "node a zone=z1"],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal [10.0.1.2:80] external [10.0.1.2:80] serving [10.0.1.2:80, 10.0.2.2:80]
    "#]],
    );
    check(
        &[text, "node a zone=z1", "node a zone=z2"],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal [10.0.2.2:80] external [10.0.2.2:80] serving [10.0.1.2:80, 10.0.2.2:80]
    "#]],
    );
    check(
        &[text, "node a zone=z1", "remove node a"],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal [10.0.1.2:80, 10.0.2.2:80] external [10.0.1.2:80, 10.0.2.2:80]
    "#]],
    );
}

#[test]
fn node_hints_do_not_count_where_the_feature_gate_is_off() {
    let text = "node a zone=z1; svc web 10.96.0.1:80; ep 10.0.1.2:80 nodes=a zones=z1; ep 10.0.2.2:80 nodes=b zones=z1; ep 10.0.3.2:80 nodes=c zones=z2";
    check(
        &[text],
        expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal [10.0.1.2:80] external [10.0.1.2:80] serving [10.0.1.2:80, 10.0.2.2:80, 10.0.3.2:80]
    "#]],
    );
    let want = Want { packets: true, ..Want::default() };
    let model = after(Model::new(Config { node_name: "a".into(), ignore_node_hints: true, want, ..Config::default() }), &[text]);
    expect![[r#"
        default/web 10.96.0.1
          :80/tcp internal [10.0.1.2:80, 10.0.2.2:80] external [10.0.1.2:80, 10.0.2.2:80] serving [10.0.1.2:80, 10.0.2.2:80, 10.0.3.2:80]
    "#]]
    .assert_eq(&testing::show_packets(&model.views().node));
}

#[test]
fn what_is_global_to_the_node_makes_every_entry_worth_a_look() {
    let mut model = after(model(), &["node a; svc web 10.96.0.1:80", "svc api 10.96.0.2:80"]);
    assert_eq!(model.views().node.since(Revision(1)), crate::Changed::Keys(vec![key("api")]));
    let views = model.update(changes("cidr 10.96.0.0/12; cidr fd00::/108"));
    assert_eq!(views.node.since(Revision(2)), crate::Changed::All);
    assert_eq!(views.node.service_cidrs.iter().map(|cidr| cidr.to_string()).collect::<Vec<_>>(), ["10.96.0.0/12", "fd00::/108"]);
    let views = model.update(changes("node b zone=z9"));
    assert_eq!(views.node.since(Revision(3)), crate::Changed::Keys(vec![]), "another node is not ours");
    let views = model.update(changes("node a leaving"));
    assert_eq!(views.node.since(Revision(4)), crate::Changed::All);
}

#[test]
fn a_node_passes_through_its_own_load_balancer_if_a_range_covers_it() {
    let text = "svc open 10.96.0.1:80 lb=1.2.3.4; svc near 10.96.0.2:80 lb=1.2.3.5 range=192.168.0.0/24; svc far 10.96.0.3:80 lb=1.2.3.6 range=203.0.113.0/24";
    let views = after(model(), &["node a ip=192.168.0.2 ip=203.0.113.9", text]).views().clone();
    let passes = |name: &str| views.node.reaches_own_load_balancer(views.node.services.get(&key(name)).unwrap());
    assert_eq!((passes("open"), passes("near"), passes("far")), (true, true, false), "the node's first address counts");
}

#[test]
fn equal_lists_share_their_memory() {
    let views = after(model(), &["svc web 10.96.0.1 :80@30001; ep 10.0.1.2:80 on=a"]).views().clone();
    let service = views.node.services.get(&key("web")).unwrap();
    let [internal, external, inside] = [&service.ports[0].internal, &service.ports[0].external, &service.ports[0].external_from_inside]
        .map(|verdict| verdict.endpoints().as_ptr());
    assert!(internal == external && external == inside && inside == service.ports[0].serving.as_ptr());
}
