//! Addresses and ports of Services.

use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

#[tokio::test]
async fn an_address_is_given_with_the_write_and_comes_back_with_the_deletion() {
    let server = Server::start("addresses").await;
    let (_, made) = server.ask(&format!("POST {SERVICES}"), service("a", json!({}))).await;
    let ip = made["spec"].text("clusterIP").to_owned();
    assert!(ip.starts_with("10.96.0."), "{made}");
    server
        .check(&[
            (&format!("GET {ADDRESSES}/{ip}"), Value::Null, 200, r#""parentRef":{"name":"a","namespace":"default","resource":"services"}"#),
            (&format!("POST {SERVICES}"), service("b", json!({"clusterIP": ip})), 422, "provided IP is already allocated"),
            (&format!("POST {SERVICES}"), service("b", json!({"clusterIP": "10.1.1.1"})), 422, "is not in the valid range"),
            (&format!("PATCH {SERVICES}/a"), json!({"spec": {"type": "ExternalName", "externalName": "x.example"}}), 200, ""),
            (&format!("GET {ADDRESSES}/{ip}"), Value::Null, 404, ""),
            (&format!("POST {SERVICES}"), service("b", json!({"clusterIP": ip})), 201, ""),
            (&format!("DELETE {SERVICES}/b"), Value::Null, 200, ""),
            (&format!("GET {ADDRESSES}/{ip}"), Value::Null, 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn a_full_range_is_told_and_every_address_was_given_once() {
    let server = Server::start("full").await;
    let mut given = std::collections::BTreeSet::new();
    // 254 addresses of a /24, one of them the API server's.
    for n in 0..253 {
        let (status, made) = server.ask(&format!("POST {SERVICES}"), service(&format!("s{n}"), json!({}))).await;
        assert_eq!(status, 201, "{made}");
        assert!(given.insert(made["spec"].text("clusterIP").to_owned()), "given twice: {made}");
    }
    server.check(&[(&format!("POST {SERVICES}"), service("more", json!({})), 500, "failed to allocate a serviceIP: range is full")]).await;
}

#[tokio::test]
async fn a_node_port_is_one_services_alone() {
    let server = Server::start("ports").await;
    let ports = |ports: Value| json!({"type": "NodePort", "ports": ports});
    let dns = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]);
    let (_, made) = server.ask(&format!("POST {SERVICES}"), service("dns", ports(dns))).await;
    assert_eq!(made["spec"]["ports"][0]["nodePort"], made["spec"]["ports"][1]["nodePort"], "one number for both protocols");
    server
        .check(&[
            (&format!("POST {SERVICES}"), service("a", ports(json!([{"port": 80, "nodePort": 30001}]))), 201, ""),
            (
                &format!("POST {SERVICES}"),
                service("b", ports(json!([{"port": 80, "nodePort": 30001}]))),
                422,
                "provided port is already allocated",
            ),
            (&format!("PATCH {SERVICES}/a"), json!({"spec": {"ports": [{"port": 81, "nodePort": 30001}]}}), 200, r#""nodePort":30001"#),
            (&format!("PATCH {SERVICES}/a"), json!({"spec": {"ports": [{"port": 81}]}}), 200, r#""nodePort":30001"#),
            (&format!("PATCH {SERVICES}/a"), json!({"spec": {"type": "ClusterIP"}}), 200, ""),
            (&format!("POST {SERVICES}"), service("b", ports(json!([{"port": 80, "nodePort": 30001}]))), 201, ""),
        ])
        .await;
}

#[tokio::test]
async fn a_refused_or_dry_write_gives_nothing_away() {
    let server = Server::start("refused").await;
    let wants =
        |name: &str| service(name, json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30009}]}));
    let mut bad = wants("bad");
    bad["spec"]["sessionAffinity"] = "Odd".into();
    server
        .check(&[
            (&format!("POST {SERVICES}"), bad, 422, "sessionAffinity"),
            (&format!("POST {SERVICES}?dryRun=All"), wants("dry"), 201, ""),
            (&format!("POST {SERVICES}"), wants("good"), 201, r#""nodePort":30009"#),
        ])
        .await;
}

#[tokio::test]
async fn addresses_come_from_every_range_that_serves() {
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let server = Server::start("ranges").await;
    let range = |name: &str, cidr: &str| json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
    let (post, ranges) = (format!("POST {SERVICES}"), format!("POST {RANGES}"));
    let in_more = service("a", json!({"clusterIP": "10.97.0.9"}));
    server
        .check(&[
            (&post, in_more.clone(), 422, "is not in the valid range"),
            (&ranges, range("more", "10.97.0.0/28"), 201, r#""finalizers":["networking.k8s.io/service-cidr-finalizer"]"#),
            (&post, in_more, 201, ""),
            (&format!("GET {ADDRESSES}/10.97.0.9"), Value::Null, 200, ""),
            // An address holds it, and no other range has that address.
            (&format!("DELETE {RANGES}/more"), Value::Null, 200, ""),
            (&format!("GET {RANGES}/more"), Value::Null, 200, "There are still IPAddresses referencing the ServiceCIDR"),
            (&post, service("b", json!({"clusterIP": "10.97.0.10"})), 422, "is not in the valid range"),
            (&format!("DELETE {SERVICES}/a"), Value::Null, 200, ""),
            (&format!("GET {RANGES}/more"), Value::Null, 404, ""),
            // One that lies within another is free to go.
            (&ranges, range("more", "10.97.0.0/28"), 201, ""),
            (&post, service("c", json!({"clusterIP": "10.97.0.9"})), 201, ""),
            (&ranges, range("wide", "10.97.0.0/16"), 201, ""),
            (&format!("DELETE {RANGES}/more"), Value::Null, 200, ""),
            (&format!("GET {RANGES}/more"), Value::Null, 404, ""),
            // A new range frees one that waits.
            (&format!("DELETE {RANGES}/wide"), Value::Null, 200, ""),
            (&format!("GET {RANGES}/wide"), Value::Null, 200, r#""reason":"Terminating","status":"False""#),
            (&ranges, range("small", "10.97.0.0/24"), 201, ""),
            (&format!("GET {RANGES}/wide"), Value::Null, 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn a_second_range_is_used_when_the_first_is_full() {
    let server = Server::start("second-range").await;
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}});
    assert_eq!(server.ask("POST /apis/networking.k8s.io/v1/servicecidrs", range).await.0, 201);
    let mut outside = 0;
    // 253 addresses are left in the first range, 14 in the second.
    for n in 0..267 {
        let (status, made) = server.ask(&format!("POST {SERVICES}"), service(&format!("s{n}"), json!({}))).await;
        assert_eq!(status, 201, "{n}: {made}");
        outside += usize::from(made["spec"].text("clusterIP").starts_with("10.97.0."));
    }
    assert_eq!(outside, 14);
    server.check(&[(&format!("POST {SERVICES}"), service("last", json!({})), 500, "range is full")]).await;
}
