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
