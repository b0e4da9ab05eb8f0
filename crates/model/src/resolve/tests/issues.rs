use expect_test::{Expect, expect};

use super::*;
use crate::{Issue, Reason, ServiceName};

fn check(steps: &[&str], expect: Expect) {
    let model = after(model(), steps);
    expect.assert_eq(&testing::show_issues(&model.views().issues));
}

#[test]
fn an_address_of_the_wrong_family_is_told_until_it_is_gone() {
    check(
        &["svc web 10.96.0.10:80; slice s v4 :80; ep 10.0.1.2; ep fd00:1::2"],
        expect![[r#"
        EndpointSlice default/s: endpoints[1].addresses[0]: fd00:1::2 is no IPv4 address; the endpoint is left out (WrongFamily)
    "#]],
    );
    check(&["svc web 10.96.0.10:80; slice s v4 :80; ep 10.0.1.2; ep fd00:1::2", "slice s v4 :80 of=web; ep 10.0.1.2"], expect![""]);
    check(&["svc web 10.96.0.10:80; slice s v4 :80; ep 10.0.1.2; ep fd00:1::2", "remove slice s"], expect![""]);
}

#[test]
fn a_port_that_no_slice_has_is_told_once_there_are_endpoints() {
    check(&["svc web 10.96.0.10 http:80"], expect![""]);
    check(
        &["svc web 10.96.0.10 http:80 dns:53/udp; slice s :8080 dns:53; ep 10.0.1.2"],
        expect![[r#"
        Service default/web: spec.ports[0].name: no EndpointSlice of this Service has a TCP port named "http" (NoSuchPort)
        Service default/web: spec.ports[1].name: no EndpointSlice of this Service has a UDP port named "dns" (NoSuchPort)
    "#]],
    );
}

#[test]
fn lowering_and_resolve_do_not_overwrite_each_other() {
    let ports = |port: &str| vec![Issue::new("spec.ports[1].port", Reason::InvalidValue, port)];
    let object = ServiceName::new("default", "web").object();
    let mut model = after(model(), &["svc web 10.96.0.10 http:80; slice s :8080; ep 10.0.1.2"]);
    let before = model.views().revision;
    let views = model.update([Change::Issues(object.clone(), ports("0 is no port"))]);
    assert_eq!(views.revision, Revision(before.0 + 1));
    expect![[r#"
        Service default/web: spec.ports[0].name: no EndpointSlice of this Service has a TCP port named "http" (NoSuchPort)
        Service default/web: spec.ports[1].port: 0 is no port (InvalidValue)
    "#]]
    .assert_eq(&testing::show_issues(&views.issues));
    let views = model.update([Change::Issues(object.clone(), ports("0 is no port"))]);
    assert_eq!(views.revision, Revision(before.0 + 1), "the same issues are no change");
    let views = model.update(changes("remove slice s"));
    expect![[r#"
        Service default/web: spec.ports[1].port: 0 is no port (InvalidValue)
    "#]]
    .assert_eq(&testing::show_issues(&views.issues));
    let views = model.update([Change::Issues(object, Vec::new())]);
    assert!(views.issues.is_empty());
}

#[test]
fn issues_of_one_object_come_from_several_hosts_and_go_one_by_one() {
    let steps = [
        "class nginx k8s.io/ingress-nginx; svc web 10.96.0.10:80",
        "ingress old class=nginx at=1 a/=web:80; ingress older class=nginx at=0 b/=web:80; ingress young class=nginx at=2 a/=web:80 b/=web:80 c/=lost:80",
    ];
    check(
        &steps,
        expect![[r#"
            Ingress default/young: spec.rules[0].http.paths[0]: path "/" (Prefix) of host "a" belongs to Ingress default/old, which comes first (Conflict)
            Ingress default/young: spec.rules[1].http.paths[0]: path "/" (Prefix) of host "b" belongs to Ingress default/older, which comes first (Conflict)
            Ingress default/young: spec.rules[2].http.paths[0].backend.service.name: there is no Service "lost" in namespace "default": 503 (NoSuchObject)
        "#]],
    );
    check(
        &[steps[0], steps[1], "remove ingress old"],
        expect![[r#"
            Ingress default/young: spec.rules[1].http.paths[0]: path "/" (Prefix) of host "b" belongs to Ingress default/older, which comes first (Conflict)
            Ingress default/young: spec.rules[2].http.paths[0].backend.service.name: there is no Service "lost" in namespace "default": 503 (NoSuchObject)
        "#]],
    );
    check(&[steps[0], steps[1], "remove ingress old; remove ingress older", "svc lost 10.96.0.11:80"], expect![""]);
}
