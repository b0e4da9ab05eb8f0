use expect_test::{Expect, expect};

use super::*;

fn check(steps: &[&str], expect: Expect) {
    let model = after(model(), steps);
    expect.assert_eq(&testing::show_names(&model.views().names));
}

#[test]
fn every_kind_of_service_has_a_name() {
    check(
        &["namespace default; pod web-0 10.0.1.2;
           svc web 10.96.0.10 fd00::10 http:80 lb=1.2.3.4 lbname=lb.example eip=192.0.2.1; ep 10.0.1.2:8080 pod=web-0;
           svc db headless sql:5432; slice db-1 sql:5432; ep 10.0.1.3 host=db-0 pod=db-0; ep 10.0.1.4 host=db-1 pod=db-1;
           svc out external=example.com; svc other 10.96.0.11:80 proxy=other; svc lone headless"],
        expect![[r#"
            default/db Headless sql:5432/tcp
              10.0.1.3 host=db-0 pod=db-0 sql:5432/tcp
              10.0.1.4 host=db-1 pod=db-1 sql:5432/tcp
            default/lone Headless
            default/other ClusterIp([10.96.0.11]) :80/tcp
            default/out ExternalName("example.com")
            default/web ClusterIp([10.96.0.10, fd00::10]) eip=192.0.2.1 Ip(1.2.3.4) Hostname("lb.example") http:80/tcp
              10.0.1.2 pod=web-0 :8080/tcp
            namespace default
            pod default/web-0 [10.0.1.2]
        "#]],
    );
}

#[test]
fn only_ready_endpoints_have_names_terminating_ones_never() {
    check(
        &["svc db headless :80; ep 10.0.1.4:80; ep 10.0.1.3:80 terminating; ep 10.0.1.2:80 unready; ep 10.0.1.1:80 unready tolerated"],
        expect![[r#"
            default/db Headless :80/tcp
              10.0.1.1 :80/tcp
              10.0.1.4 :80/tcp
        "#]],
    );
}

#[test]
fn endpoints_of_all_slices_stand_in_one_list_each_with_its_ports() {
    check(
        &["svc db headless sql:5432; slice b sql:5433; ep 10.0.1.2; slice a sql:5432; ep 10.0.1.3; ep 10.0.1.2; slice c sql:5432; ep 10.0.1.3;
           slice d v6 sql:5432; ep fd00:1::2; ep 10.0.1.9"],
        expect![[r#"
            default/db Headless sql:5432/tcp
              10.0.1.2 sql:5432/tcp
              10.0.1.2 sql:5433/tcp
              10.0.1.3 sql:5432/tcp
              10.0.1.3 sql:5432/tcp
              fd00:1::2 sql:5432/tcp
        "#]],
    );
}

#[test]
fn an_existing_service_without_endpoints_is_told_from_an_unknown_one() {
    check(
        &["svc db headless :80; ep 10.0.1.2:80", "remove slice db-IPv4-80"],
        expect![[r#"
        default/db Headless :80/tcp
    "#]],
    );
    check(&["svc db headless :80; ep 10.0.1.2:80", "remove svc db"], expect![""]);
}

#[test]
fn imported_slices_belong_to_their_import_and_not_to_the_service_of_that_name() {
    check(
        &["import web 10.0.0.1 http:80;
           slice mc http:80 label:multicluster.kubernetes.io/service-name=web label:multicluster.kubernetes.io/source-cluster=east; ep 172.0.0.1 host=e",
          "svc web 10.96.0.10:80; slice own :80; ep 10.0.1.2"],
        expect![[r#"
            default/web ClusterIp([10.96.0.10]) :80/tcp
              10.0.1.2 :80/tcp
            import default/web [10.0.0.1]
              172.0.0.1 host=e cluster=east http:80/tcp
        "#]],
    );
}

#[test]
fn an_imported_slice_with_both_labels_belongs_to_both() {
    check(
        &["import web 10.0.0.1 http:80; svc derived 10.96.0.10 http:80;
           slice mc http:80 of=derived label:multicluster.kubernetes.io/service-name=web label:kubernetes.io/service-name=derived; ep 172.0.0.1"],
        expect![[r#"
            default/derived ClusterIp([10.96.0.10]) http:80/tcp
              172.0.0.1 http:80/tcp
            import default/web [10.0.0.1]
              172.0.0.1 http:80/tcp
        "#]],
    );
}
