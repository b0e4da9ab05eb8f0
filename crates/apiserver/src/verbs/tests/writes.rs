//! create, update, patch and list.

use super::*;

#[tokio::test]
async fn an_object_is_made_read_changed_and_removed() {
    let server = Server::start("writes").await;
    server
        .check(&[
            (&format!("POST {MAPS}"), json!({"metadata": {"name": "a"}, "data": {"k": "1"}}), 201, r#""k":"1""#),
            (&format!("POST {MAPS}"), named("a"), 409, r#"configmaps \"a\" already exists"#),
            (&format!("GET {MAPS}/a"), Value::Null, 200, r#""kind":"ConfigMap""#),
            (&format!("PATCH {MAPS}/a"), json!({"data": {"k": "2"}}), 200, r#""k":"2""#),
            (&format!("PUT {MAPS}/a"), json!({"metadata": {"name": "a"}, "data": {"l": "3"}}), 200, r#""data":{"l":"3"}"#),
            (&format!("PUT {MAPS}/b"), named("b"), 404, "not found"),
            (&format!("DELETE {MAPS}/a"), Value::Null, 200, r#""status":"Success""#),
            (&format!("GET {MAPS}/a"), Value::Null, 404, "not found"),
        ])
        .await;
}

#[tokio::test]
async fn a_stale_version_is_refused_and_a_write_without_change_is_none() {
    let server = Server::start("stale").await;
    let (_, first) = server.ask(&format!("POST {MAPS}"), named("a")).await;
    let mut new = first.clone();
    new["data"] = json!({"k": "1"});
    let (_, second) = server.ask(&format!("PUT {MAPS}/a"), new.clone()).await;
    server.check(&[(&format!("PUT {MAPS}/a"), new, 409, "the object has been modified")]).await;
    let before = server.api.store.revision();
    let (status, same) = server.ask(&format!("PUT {MAPS}/a"), second.clone()).await;
    assert_eq!((status, &same, server.api.store.revision()), (200, &second, before));
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_is_not_there_or_goes_away() {
    let server = Server::start("namespaces").await;
    server
        .check(&[
            ("POST /api/v1/namespaces/x/configmaps", named("a"), 404, r#"namespaces \"x\" not found"#),
            ("POST /api/v1/namespaces", named("x"), 201, r#""phase":"Active""#),
            ("POST /api/v1/namespaces/x/configmaps", named("a"), 201, ""),
            ("DELETE /api/v1/namespaces/x", Value::Null, 200, r#""phase":"Terminating""#),
            ("POST /api/v1/namespaces/x/configmaps", named("b"), 403, "is being terminated"),
            ("PUT /api/v1/namespaces/x/finalize", json!({"metadata": {"name": "x"}, "spec": {"finalizers": []}}), 200, ""),
            ("GET /api/v1/namespaces/x", Value::Null, 404, ""),
            ("DELETE /api/v1/namespaces/default", Value::Null, 403, "may not be deleted"),
        ])
        .await;
}

#[tokio::test]
async fn a_dry_run_answers_and_leaves_nothing() {
    let server = Server::start("dry").await;
    let before = server.api.store.revision();
    server
        .check(&[
            (&format!("POST {MAPS}?dryRun=All"), named("a"), 201, r#""name":"a""#),
            (&format!("GET {MAPS}/a"), Value::Null, 404, ""),
            (&format!("POST {MAPS}?dryRun=Some"), named("a"), 422, r#"dryRun: Unsupported value: [\"Some\"]"#),
        ])
        .await;
    assert_eq!(server.api.store.revision(), before);
}

#[tokio::test]
async fn a_name_is_made_from_its_start_and_owners_of_fields_are_recorded() {
    let server = Server::start("generated").await;
    let (status, made) = server.ask(&format!("POST {MAPS}"), json!({"metadata": {"generateName": "a-"}, "data": {"k": "v"}})).await;
    let name = made["metadata"].text("name");
    assert!(status == 201 && name.len() == 7 && name.starts_with("a-"), "{made}");
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "test");
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:k"], json!({}));
}

#[tokio::test]
async fn status_is_written_apart_and_scale_is_a_view_of_replicas() {
    let server = Server::start("scale").await;
    let base = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "d"}, "status": {"replicas": 9}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    server
        .check(&[
            (&format!("POST {base}"), deployment, 201, r#""generation":1"#),
            (&format!("GET {base}/d/scale"), Value::Null, 200, r#""status":{"replicas":0,"selector":"a=b"}"#),
            (&format!("PATCH {base}/d/scale"), json!({"spec": {"replicas": 3}}), 200, r#""spec":{"replicas":3}"#),
            (&format!("GET {base}/d"), Value::Null, 200, r#""generation":2"#),
            (&format!("PATCH {base}/d/status"), json!({"status": {"replicas": 2}, "spec": {"replicas": 7}}), 200, r#""replicas":3"#),
            (&format!("GET {base}/d/scale"), Value::Null, 200, r#""status":{"replicas":2"#),
            (&format!("PATCH {base}/d/scale"), json!({"spec": {"replicas": -1}}), 422, "must be greater than or equal to 0"),
            (&format!("PATCH {base}/d"), json!({"status": {"replicas": 5}}), 200, r#""generation":2"#),
            (&format!("GET {base}/d/scale"), Value::Null, 200, r#""status":{"replicas":2"#),
        ])
        .await;
}

#[tokio::test]
async fn pages_show_one_state_however_much_changes_between_them() {
    let server = Server::start("pages").await;
    for name in ["a", "b", "c", "d"] {
        server.ask(&format!("POST {MAPS}"), named(name)).await;
    }
    let names =
        |list: &Value| list.items("items").iter().map(|item| item["metadata"].text("name").to_owned()).collect::<Vec<_>>().join(" ");
    let (_, first) = server.ask(&format!("GET {MAPS}?limit=2"), Value::Null).await;
    assert_eq!((names(&first).as_str(), first["metadata"].int("remainingItemCount")), ("a b", 2));
    server.ask(&format!("DELETE {MAPS}/c"), Value::Null).await;
    server.ask(&format!("POST {MAPS}"), named("e")).await;
    let token = first["metadata"].text("continue");
    let (_, second) = server.ask(&format!("GET {MAPS}?limit=9&continue={token}"), Value::Null).await;
    assert_eq!(names(&second), "c d");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let (_, now) = server.ask(&format!("GET {MAPS}"), Value::Null).await;
    assert_eq!(names(&now), "a b d e");
}

#[tokio::test]
async fn events_are_one_collection_with_two_faces() {
    let server = Server::start("events").await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Service", "name": "a", "namespace": "default"}, "message": "m", "reason": "R"});
    server
        .check(&[
            ("POST /api/v1/namespaces/default/events", event, 201, ""),
            ("GET /apis/events.k8s.io/v1/namespaces/default/events/e", Value::Null, 200, r#""note":"m""#),
            (
                "GET /apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=involvedObject.name=a",
                Value::Null,
                200,
                r#""regarding":{"#,
            ),
            ("PATCH /apis/events.k8s.io/v1/namespaces/default/events/e", json!({"note": "n"}), 200, r#""note":"n""#),
            ("GET /api/v1/namespaces/default/events/e", Value::Null, 200, r#""message":"n""#),
        ])
        .await;
}
