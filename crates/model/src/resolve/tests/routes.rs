use expect_test::{Expect, expect};

use super::*;
use crate::testing::upstream_key;

const CLASS: &str = "class nginx k8s.io/ingress-nginx";
const WEB: &str = "svc web 10.96.0.10 http:80>8080; slice s http:8080; ep 10.0.1.2; ep 10.0.1.3 unready";

fn check(steps: &[&str], expect: Expect) {
    check_with(IngressConfig::default(), steps, expect);
}

fn check_with(ingress: IngressConfig, steps: &[&str], expect: Expect) {
    let config = Config { want: Want { routes: true, ..Want::default() }, ingress, ..Config::default() };
    let model = after(Model::new(config), steps);
    expect.assert_eq(&(testing::show_routes(&model.views().routes) + &testing::show_issues(&model.views().issues)));
}

#[test]
fn objects_may_come_in_any_order() {
    let steps = [CLASS, WEB, "ingress i class=nginx tls=cert:foo.com foo.com/=web:80", "secret cert"];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    let expected = expect![[r#"
        host foo.com tls cert=default/cert
          ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
        secret default/cert
        upstream default/web:80 [10.0.1.2:8080]
    "#]];
    for order in orders {
        let model = after(model(), &order.map(|at| steps[at]));
        expected.assert_eq(&testing::show_routes(&model.views().routes));
    }
}

#[test]
fn what_is_gone_leaves_nothing_behind() {
    let all = [CLASS, WEB, "secret cert; ingress i class=nginx tls=cert:foo.com foo.com/=web:80"];
    check(&[all[0], all[1], all[2], "remove ingress i"], expect![""]);
    check(
        &[all[0], all[1], all[2], "remove class nginx"],
        expect![[r#"
            Ingress default/i: spec.ingressClassName: there is no IngressClass "nginx" (NoSuchObject)
        "#]],
    );
    check(
        &[all[0], all[1], all[2], "remove svc web; remove secret cert"],
        expect![[r#"
        host foo.com tls cert=default/cert
          ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
        upstream default/web:80 absent
        Ingress default/i: spec.rules[0].http.paths[0].backend.service.name: there is no Service "web" in namespace "default": 503 (NoSuchObject)
        Ingress default/i: spec.tls[0].secretName: there is no Secret "cert" in namespace "default"; the default certificate serves (NoSuchObject)
    "#]],
    );
}

#[test]
fn the_class_is_chosen_by_field_then_annotation() {
    check(
        &[
            "class nginx k8s.io/ingress-nginx; class mine k8s.io/ingress-nginx; class other example.com/other",
            "ingress field class=mine a/=web:80; ingress both class=other annotation=nginx b/=web:80; ingress old annotation=nginx c/=web:80",
            "ingress foreign annotation=other d/=web:80; ingress none e/=web:80; ingress lost class=lost f/=web:80",
            WEB,
        ],
        expect![[r#"
            host a
              ^ / -> default/web:80 (field spec.rules[0].http.paths[0])
            host c
              ^ / -> default/web:80 (old spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
            Ingress default/lost: spec.ingressClassName: there is no IngressClass "lost" (NoSuchObject)
        "#]],
    );
}

#[test]
fn ingresses_without_class_or_by_class_name_are_ours_if_a_flag_says_so() {
    let ingress = IngressConfig { without_class: true, class_by_name: true, class: "special".into(), ..IngressConfig::default() };
    check_with(
        ingress,
        &[
            WEB,
            "class special example.com/other; ingress named class=special a/=web:80; ingress none b/=web:80; ingress old annotation=nginx c/=web:80",
        ],
        expect![[r#"
            host a
              ^ / -> default/web:80 (named spec.rules[0].http.paths[0])
            host b
              ^ / -> default/web:80 (none spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
        "#]],
    );
}

#[test]
fn only_the_watched_namespace_counts() {
    let ingress = IngressConfig { namespace: Some("x".into()), ..IngressConfig::default() };
    check_with(
        ingress,
        &[CLASS, "ingress x/i class=nginx a/=web:80; ingress y/i class=nginx b/=web:80; ingress z/i class=lost b/=web:80"],
        expect![[r#"
            host a
              ^ / -> x/web:80 (i spec.rules[0].http.paths[0])
            upstream x/web:80 absent
            Ingress x/i: spec.rules[0].http.paths[0].backend.service.name: there is no Service "web" in namespace "x": 503 (NoSuchObject)
        "#]],
    );
}

#[test]
fn of_two_claims_the_older_has_the_path_and_then_the_later_name() {
    check(
        &[
            CLASS,
            WEB,
            "ingress young class=nginx at=20 foo.com/=web:80 foo.com/young=web:80; ingress old class=nginx at=10 foo.com/=web:80",
            "ingress b class=nginx bar.com/x/=web:80; ingress a class=nginx bar.com/x=web:80 bar.com/x!=web:80",
        ],
        expect![[r#"
            host bar.com
              = /x -> default/web:80 (a spec.rules[1].http.paths[0])
              ^ /x/ -> default/web:80 (b spec.rules[0].http.paths[0])
            host foo.com
              ^ /young -> default/web:80 (young spec.rules[1].http.paths[0])
              ^ / -> default/web:80 (old spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
            Ingress default/a: spec.rules[0].http.paths[0]: path "/x" (Prefix) of host "bar.com" belongs to Ingress default/b, which comes first (Conflict)
            Ingress default/young: spec.rules[0].http.paths[0]: path "/" (Prefix) of host "foo.com" belongs to Ingress default/old, which comes first (Conflict)
        "#]],
    );
}

#[test]
fn the_longest_path_is_tried_first_and_exact_before_prefix() {
    check(
        &[
            CLASS,
            WEB,
            "ingress i class=nginx foo.com/=web:80 foo.com/a=web:80 foo.com/a/b/=web:80 foo.com/a/b!=web:80 foo.com/a/bcd=web:80 foo.com/z!=web:80",
        ],
        expect![[r#"
            host foo.com
              ^ /a/bcd -> default/web:80 (i spec.rules[4].http.paths[0])
              = /a/b -> default/web:80 (i spec.rules[3].http.paths[0])
              ^ /a/b/ -> default/web:80 (i spec.rules[2].http.paths[0])
              = /z -> default/web:80 (i spec.rules[5].http.paths[0])
              ^ /a -> default/web:80 (i spec.rules[1].http.paths[0])
              ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
        "#]],
    );
}

#[test]
fn one_rewrite_turns_every_path_of_the_host_into_a_regular_expression() {
    check(
        &[
            CLASS,
            WEB,
            "ingress plain class=nginx foo.com/foo/bar/bar!=web:80 foo.com/foo=web:80; ingress re class=nginx rewrite=/x foo.com/foo/bar/[a-z]{3}=web:80",
            "ingress same class=nginx rewrite=/y bar.com/y=web:80; ingress use class=nginx use-regex baz.com/y=web:80",
        ],
        expect![[r#"
            host bar.com
              ^ /y -> default/web:80 (same spec.rules[0].http.paths[0])
            host baz.com
              ~ /y -> default/web:80 (use spec.rules[0].http.paths[0])
            host foo.com
              ~ /foo/bar/[a-z]{3} -> default/web:80 (re spec.rules[0].http.paths[0])
              ~ /foo/bar/bar -> default/web:80 (plain spec.rules[0].http.paths[0])
              ~ /foo -> default/web:80 (plain spec.rules[1].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
        "#]],
    );
}

#[test]
fn hosts_are_exact_wildcard_or_any() {
    check(
        &[CLASS, WEB, "ingress i class=nginx foo.com/=web:80 *.foo.com/=web:80 /=web:80"],
        expect![[r#"
        host *.foo.com
          ^ / -> default/web:80 (i spec.rules[1].http.paths[0])
        host <any>
          ^ / -> default/web:80 (i spec.rules[2].http.paths[0])
        host foo.com
          ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
        upstream default/web:80 [10.0.1.2:8080]
    "#]],
    );
}

#[test]
fn a_default_backend_beside_rules_serves_only_their_hosts() {
    check(
        &[CLASS, WEB, "ingress i class=nginx default=web:80 foo.com/x=web:80 *.bar.com/=web:80"],
        expect![[r#"
        host *.bar.com
          ^ / -> default/web:80 (i spec.rules[1].http.paths[0])
          else -> default/web:80 (i spec.defaultBackend)
        host foo.com
          ^ /x -> default/web:80 (i spec.rules[0].http.paths[0])
          else -> default/web:80 (i spec.defaultBackend)
        upstream default/web:80 [10.0.1.2:8080]
    "#]],
    );
}

#[test]
fn a_default_backend_without_rules_serves_every_host_and_the_oldest_has_it() {
    check(
        &[
            CLASS,
            WEB,
            "ingress i class=nginx at=2 default=web:80; ingress j class=nginx at=1 default=web:http; ingress k class=nginx foo.com/x=web:80",
        ],
        expect![[r#"
            host <any>
              else -> default/web:http (j spec.defaultBackend)
            host foo.com
              ^ /x -> default/web:80 (k spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:8080]
            upstream default/web:http [10.0.1.2:8080]
            Ingress default/i: spec.defaultBackend: the default backend of host "" (every host) is that of Ingress default/j, which comes first (Conflict)
        "#]],
    );
}

#[test]
fn the_controllers_own_default_backend_stands_below_all() {
    let ingress = IngressConfig { default_backend: Some(upstream_key("kube-system/errors:80")), ..IngressConfig::default() };
    let steps = [CLASS, WEB, "ingress i class=nginx foo.com/x=web:80; ingress j class=nginx default=web:80 bar.com/x=web:80"];
    check_with(
        ingress.clone(),
        &steps,
        expect![[r#"
        host <any>
          else -> kube-system/errors:80 (errors --default-backend-service)
        host bar.com
          ^ /x -> default/web:80 (j spec.rules[0].http.paths[0])
          else -> default/web:80 (j spec.defaultBackend)
        host foo.com
          ^ /x -> default/web:80 (i spec.rules[0].http.paths[0])
          else -> kube-system/errors:80 (errors --default-backend-service)
        upstream default/web:80 [10.0.1.2:8080]
        upstream kube-system/errors:80 absent
    "#]],
    );
    check_with(
        ingress,
        &[steps[0], steps[1], steps[2], "svc kube-system/errors 10.96.0.9:80; ep 10.0.9.9:80", "remove ingress i; remove ingress j"],
        expect![[r#"
            host <any>
              else -> kube-system/errors:80 (errors --default-backend-service)
            upstream kube-system/errors:80 [10.0.9.9:80]
        "#]],
    );
}

#[test]
fn certificates_are_those_of_the_sections_that_name_the_host_then_the_others() {
    check(
        &[
            CLASS,
            WEB,
            "secret one; secret two; secret wild; secret all",
            "ingress i class=nginx at=1 tls=two:bar.com tls=one:foo.com tls=:foo.com foo.com/=web:80 bar.com/=web:80 baz.com/=web:80",
            "ingress w class=nginx at=2 tls=wild:*.baz.com a.baz.com/=web:80 *.baz.com/=web:80 b.a.baz.com/=web:80",
            "ingress n class=nginx at=3 tls=all foo.com/n=web:80 all.com/=web:80 /=web:80",
        ],
        expect![[r#"
            host *.baz.com tls cert=default/wild
              ^ / -> default/web:80 (w spec.rules[1].http.paths[0])
            host <any> cert=default/all
              ^ / -> default/web:80 (n spec.rules[2].http.paths[0])
            host a.baz.com tls cert=default/wild
              ^ / -> default/web:80 (w spec.rules[0].http.paths[0])
            host all.com tls cert=default/all
              ^ / -> default/web:80 (n spec.rules[1].http.paths[0])
            host b.a.baz.com cert=default/wild
              ^ / -> default/web:80 (w spec.rules[2].http.paths[0])
            host bar.com tls cert=default/two cert=default/one
              ^ / -> default/web:80 (i spec.rules[1].http.paths[0])
            host baz.com cert=default/two cert=default/one
              ^ / -> default/web:80 (i spec.rules[2].http.paths[0])
            host foo.com tls cert=default/one cert=default/two cert=default/all
              ^ /n -> default/web:80 (n spec.rules[0].http.paths[0])
              ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
            secret default/all
            secret default/one
            secret default/two
            secret default/wild
            upstream default/web:80 [10.0.1.2:8080]
        "#]],
    );
}

#[test]
fn a_missing_secret_is_told_and_the_host_stays_tls() {
    check(
        &[CLASS, WEB, "ingress i class=nginx tls=lost:foo.com foo.com/=web:80"],
        expect![[r#"
        host foo.com tls cert=default/lost
          ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
        upstream default/web:80 [10.0.1.2:8080]
        Ingress default/i: spec.tls[0].secretName: there is no Secret "lost" in namespace "default"; the default certificate serves (NoSuchObject)
    "#]],
    );
}

#[test]
fn only_secrets_that_are_referred_to_are_wanted() {
    let ingress = IngressConfig { default_certificate: Some(crate::SecretName::new("sys", "default")), ..IngressConfig::default() };
    let config = Config { want: Want { routes: true, ..Want::default() }, ingress, ..Config::default() };
    let mut model = after(Model::new(config), &[CLASS, "secret lone; secret sys/default"]);
    let wanted = |model: &Model| {
        let mut names: Vec<_> = model.wanted_secrets().iter().map(|(name, ())| name.to_string()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(wanted(&model), "sys/default");
    assert_eq!(testing::show_routes(&model.views().routes), "secret sys/default\n");
    model.update(changes("ingress i class=nginx tls=lone:foo.com foo.com/=web:80; ingress j class=nginx tls=lone:foo.com foo.com/=web:80"));
    assert_eq!(wanted(&model), "default/lone sys/default");
    model.update(changes("remove ingress i"));
    assert_eq!(wanted(&model), "default/lone sys/default");
    model.update(changes("remove ingress j"));
    assert_eq!(wanted(&model), "sys/default");
    assert_eq!(testing::show_routes(&model.views().routes), "secret sys/default\n");
}

#[test]
fn a_backends_port_is_the_services_number_or_name_else_its_target_port() {
    check(
        &[
            CLASS,
            "svc web 10.96.0.10 http:80>8080 alt:8080>named dns:53/udp; slice s http:9001 alt:9002 dns:53/udp; ep 10.0.1.2",
            "ingress i class=nginx a/=web:80 a/1=web:http a/2=web:8080 a/3=web:named a/4=web:53 a/5=web:81 a/6=web:nope",
            "svc tgt 10.96.0.11 http:80>8080; slice t http:9003; ep 10.0.1.3; ingress j class=nginx b/=tgt:8080",
        ],
        expect![[r#"
            host a
              ^ /1 -> default/web:http (i spec.rules[1].http.paths[0])
              ^ /2 -> default/web:8080 (i spec.rules[2].http.paths[0])
              ^ /3 -> default/web:named (i spec.rules[3].http.paths[0])
              ^ /4 -> default/web:53 (i spec.rules[4].http.paths[0])
              ^ /5 -> default/web:81 (i spec.rules[5].http.paths[0])
              ^ /6 -> default/web:nope (i spec.rules[6].http.paths[0])
              ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
            host b
              ^ / -> default/tgt:8080 (j spec.rules[0].http.paths[0])
            upstream default/tgt:8080 [10.0.1.3:9003]
            upstream default/web:53 absent
            upstream default/web:80 [10.0.1.2:9001]
            upstream default/web:8080 [10.0.1.2:9002]
            upstream default/web:81 absent
            upstream default/web:http [10.0.1.2:9001]
            upstream default/web:named [10.0.1.2:9002]
            upstream default/web:nope absent
            Ingress default/i: spec.rules[4].http.paths[0].backend.service.port: Service "web" has no TCP port 53: 503 (NoSuchPort)
            Ingress default/i: spec.rules[5].http.paths[0].backend.service.port: Service "web" has no TCP port 81: 503 (NoSuchPort)
            Ingress default/i: spec.rules[6].http.paths[0].backend.service.port: Service "web" has no TCP port "nope": 503 (NoSuchPort)
        "#]],
    );
}

#[test]
fn upstreams_are_ready_endpoints_of_both_families_wherever_they_are() {
    check(
        &[CLASS, "node a zone=z1; svc web 10.96.0.10 fd00::10 http:80 local; slice s4 http:80; ep 10.0.1.2 on=b zones=z2; ep 10.0.1.3 terminating;
                  slice s6 v6 http:80; ep fd00:1::2; svc db headless http:80; slice d http:80; ep 10.0.1.5",
          "ingress i class=nginx a/=web:80 a/db=db:80"],
        expect![[r#"
            host a
              ^ /db -> default/db:80 (i spec.rules[1].http.paths[0])
              ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
            upstream default/db:80 [10.0.1.5:80]
            upstream default/web:80 [10.0.1.2:80, [fd00:1::2]:80]
        "#]],
    );
}

#[test]
fn without_a_ready_endpoint_those_that_end_are_asked() {
    check(
        &[
            CLASS,
            "svc web 10.96.0.10 http:80; slice s http:80; ep 10.0.1.2 terminating; ep 10.0.1.3 unready",
            "ingress i class=nginx a/=web:80",
        ],
        expect![[r#"
            host a
              ^ / -> default/web:80 (i spec.rules[0].http.paths[0])
            upstream default/web:80 [10.0.1.2:80]
        "#]],
    );
}

#[test]
fn external_names_take_the_number_as_it_is_and_need_their_list_for_a_name() {
    check(
        &[
            CLASS,
            "svc bare external=example.com; svc list external=example.org http:80>8080",
            "ingress i class=nginx a/=bare:443 a/1=bare:http a/2=list:http a/3=list:80 a/4=list:81",
        ],
        expect![[r#"
            host a
              ^ /1 -> default/bare:http (i spec.rules[1].http.paths[0])
              ^ /2 -> default/list:http (i spec.rules[2].http.paths[0])
              ^ /3 -> default/list:80 (i spec.rules[3].http.paths[0])
              ^ /4 -> default/list:81 (i spec.rules[4].http.paths[0])
              ^ / -> default/bare:443 (i spec.rules[0].http.paths[0])
            upstream default/bare:443 example.com:443
            upstream default/bare:http absent
            upstream default/list:80 example.org:8080
            upstream default/list:81 example.org:81
            upstream default/list:http example.org:8080
            Ingress default/i: spec.rules[1].http.paths[0].backend.service.port: Service "bare" has no TCP port "http": 503 (NoSuchPort)
        "#]],
    );
}

#[test]
fn external_names_and_catch_alls_can_be_switched_off() {
    let ingress = IngressConfig { disable_external_names: true, disable_catch_all: true, ..IngressConfig::default() };
    check_with(
        ingress,
        &[CLASS, "svc bare external=example.com; ingress i class=nginx a/=bare:443; ingress j class=nginx default=bare:443 b/=bare:443"],
        expect![[r#"
            host a
              ^ / -> default/bare:443 (i spec.rules[0].http.paths[0])
            upstream default/bare:443 []
        "#]],
    );
}

#[test]
fn a_resource_backend_is_answered_404() {
    check(
        &[CLASS, "ingress i class=nginx a/=bucket"],
        expect![[r#"
        host a
          ^ / -> 404
        Ingress default/i: spec.rules[0].http.paths[0].backend.resource: resource backend "bucket" is not served: 404 (Unsupported)
    "#]],
    );
}

#[test]
fn a_changed_endpoint_touches_one_upstream_and_no_host() {
    let mut model = after(model(), &[CLASS, WEB, "ingress i class=nginx foo.com/=web:80 bar.com/=web:http"]);
    let before = model.views().routes.clone();
    let after = model.update(changes("svc web 10.96.0.10 http:80>8080; slice s http:8080; ep 10.0.1.4")).routes;
    assert_eq!(after.hosts.revision(), before.hosts.revision());
    let crate::Changed::Keys(mut keys) = after.upstreams.since(before.revision) else { panic!("history lost") };
    keys.sort_by_key(|key| format!("{key:?}"));
    assert_eq!(keys, [upstream_key("web:http"), upstream_key("web:80")]);
}

#[test]
fn a_canary_shares_the_routes_of_another_ingress_and_has_none_of_its_own() {
    check(
        &[
            CLASS,
            WEB,
            "ingress c at=1 class=nginx canary=20 tls=cert:foo.com foo.com/a/=new:80 foo.com/b=new:80; ingress i at=2 class=nginx foo.com/a=web:80",
        ],
        expect![[r#"
            host foo.com
              ^ /a -> default/web:80 canary default/new:80 20% (i spec.rules[0].http.paths[0])
            upstream default/new:80 absent
            upstream default/web:80 [10.0.1.2:8080]
            Ingress default/c: spec.rules[0].http.paths[0].backend.service.name: there is no Service "new" in namespace "default": 503 (NoSuchObject)
            Ingress default/c: spec.rules[1].http.paths[0]: no other Ingress has path "/b" (Prefix) of host "foo.com": the canary serves nothing (NoSuchObject)
            Ingress default/c: spec.rules[1].http.paths[0].backend.service.name: there is no Service "new" in namespace "default": 503 (NoSuchObject)
            Ingress default/c: spec.tls[0].secretName: there is no Secret "cert" in namespace "default"; the default certificate serves (NoSuchObject)
        "#]],
    );
    check(
        &[
            CLASS,
            "ingress i class=nginx foo.com/=web:80; ingress c at=1 class=nginx canary=1 foo.com/=one:80; ingress d at=2 class=nginx canary=2 foo.com/=two:80",
        ],
        expect![[r#"
            host foo.com
              ^ / -> default/web:80 canary default/one:80 1% (i spec.rules[0].http.paths[0])
            upstream default/one:80 absent
            upstream default/web:80 absent
            Ingress default/c: spec.rules[0].http.paths[0].backend.service.name: there is no Service "one" in namespace "default": 503 (NoSuchObject)
            Ingress default/d: spec.rules[0].http.paths[0]: path "/" (Prefix) of host "foo.com" has a canary already, which comes first (Conflict)
            Ingress default/d: spec.rules[0].http.paths[0].backend.service.name: there is no Service "two" in namespace "default": 503 (NoSuchObject)
            Ingress default/i: spec.rules[0].http.paths[0].backend.service.name: there is no Service "web" in namespace "default": 503 (NoSuchObject)
        "#]],
    );
}

#[test]
fn aliases_belong_to_the_host_whoever_asks_for_them() {
    check(
        &[CLASS, "ingress i class=nginx foo.com/a=web:80; ingress j at=1 class=nginx alias=bar.com alias=baz.com www foo.com/b=web:80"],
        expect![[r#"
        host foo.com alias=bar.com alias=baz.com www
          ^ /a -> default/web:80 (i spec.rules[0].http.paths[0])
          ^ /b -> default/web:80 (j spec.rules[0].http.paths[0])
        upstream default/web:80 absent
        Ingress default/i: spec.rules[0].http.paths[0].backend.service.name: there is no Service "web" in namespace "default": 503 (NoSuchObject)
        Ingress default/j: spec.rules[0].http.paths[0].backend.service.name: there is no Service "web" in namespace "default": 503 (NoSuchObject)
    "#]],
    );
}

#[test]
fn a_trailing_slash_makes_another_path_where_paths_are_regular_expressions() {
    check(
        &[
            CLASS,
            "svc a 10.96.0.1:80; svc b 10.96.0.2:80; ingress i class=nginx foo.com/bar=a:80 foo.com/bar/=b:80; ingress j class=nginx rewrite=/$1 foo.com/bar/(.+)=a:80",
        ],
        expect![[r#"
            host foo.com
              ~ /bar/(.+) -> default/a:80 (j spec.rules[0].http.paths[0])
              ~ /bar/ -> default/b:80 (i spec.rules[1].http.paths[0])
              ~ /bar -> default/a:80 (i spec.rules[0].http.paths[0])
            upstream default/a:80 []
            upstream default/b:80 []
        "#]],
    );
}
