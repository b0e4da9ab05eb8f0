//! Deletion: at once, later, or when somebody says so.

use super::*;

#[tokio::test]
async fn a_finalizer_keeps_an_object_until_it_is_taken_away() {
    let server = Server::start("finalizers").await;
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    server
        .check(&[
            (&format!("POST {MAPS}"), object, 201, ""),
            (&format!("DELETE {MAPS}/a"), Value::Null, 200, "deletionTimestamp"),
            (
                &format!("PATCH {MAPS}/a"),
                json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}),
                422,
                "no new finalizers can be added",
            ),
            (&format!("PATCH {MAPS}/a"), json!({"metadata": {"finalizers": null}}), 200, ""),
            (&format!("GET {MAPS}/a"), Value::Null, 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn what_becomes_of_owned_objects_is_left_to_the_collector_by_finalizers() {
    let server = Server::start("propagation").await;
    for name in ["a", "b", "c"] {
        server.ask(&format!("POST {MAPS}"), named(name)).await;
    }
    server
        .check(&[
            (&format!("DELETE {MAPS}/a"), json!({"propagationPolicy": "Foreground"}), 200, r#""finalizers":["foregroundDeletion"]"#),
            (&format!("DELETE {MAPS}/b"), json!({"propagationPolicy": "Orphan"}), 200, r#""finalizers":["orphan"]"#),
            (&format!("DELETE {MAPS}/a"), json!({"propagationPolicy": "Background"}), 200, "Success"),
            (&format!("DELETE {MAPS}/c"), json!({"propagationPolicy": "Odd"}), 422, "Unsupported value"),
            (&format!("DELETE {MAPS}/c"), json!({"preconditions": {"uid": "other"}}), 409, "does not match the UID in record"),
            (&format!("DELETE {MAPS}?labelSelector=a=b"), Value::Null, 200, r#""items":[]"#),
            (&format!("DELETE {MAPS}?fieldSelector=metadata.name=c"), Value::Null, 200, r#""name":"c""#),
            (&format!("GET {MAPS}/c"), Value::Null, 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn a_pod_that_runs_has_time_to_end_and_one_that_does_not_goes_at_once() {
    let server = Server::start("pods").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server
        .check(&[
            (&format!("POST {pods}"), pod("a"), 201, r#""phase":"Pending""#),
            (&format!("DELETE {pods}/a"), Value::Null, 200, r#""name":"a""#),
            (&format!("GET {pods}/a"), Value::Null, 404, ""),
            (&format!("POST {pods}"), pod("b"), 201, ""),
            (
                &format!("POST {pods}/b/binding"),
                json!({"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n"}}),
                201,
                "Success",
            ),
            (
                &format!("POST {pods}/b/binding"),
                json!({"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "m"}}),
                409,
                "already assigned",
            ),
            (&format!("DELETE {pods}/b"), Value::Null, 200, r#""deletionGracePeriodSeconds":30"#),
            (&format!("DELETE {pods}/b"), json!({"gracePeriodSeconds": 60}), 200, r#""deletionGracePeriodSeconds":30"#),
            (&format!("DELETE {pods}/b"), json!({"gracePeriodSeconds": 5}), 200, r#""deletionGracePeriodSeconds":5"#),
            (&format!("DELETE {pods}/b"), json!({"gracePeriodSeconds": 0}), 200, ""),
            (&format!("GET {pods}/b"), Value::Null, 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn a_pod_needs_its_account_and_carries_its_token() {
    let server = Server::start("accounts").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut stranger = pod.clone();
    stranger["spec"]["serviceAccountName"] = "nobody".into();
    server
        .check(&[
            (&format!("POST {pods}"), stranger, 403, r#"serviceaccount \"nobody\" not found"#),
            (&format!("POST {pods}"), pod, 201, r#""mountPath":"/var/run/secrets/kubernetes.io/serviceaccount""#),
            (&format!("GET {pods}/a/log"), Value::Null, 200, ""),
            (&format!("GET {pods}/a/log?container=x"), Value::Null, 400, "container x is not valid for pod a"),
        ])
        .await;
    let token = server.ask("POST /api/v1/namespaces/default/serviceaccounts/default/token", json!({"spec": {}})).await.1;
    let user = server.api.user_of_token(token["status"].text("token")).expect("our own token");
    assert_eq!(user.name, "system:serviceaccount:default:default");
    server.ask("DELETE /api/v1/namespaces/default/serviceaccounts/default", Value::Null).await;
    assert!(server.api.user_of_token(token["status"].text("token")).is_none(), "it ends with its account");
}
