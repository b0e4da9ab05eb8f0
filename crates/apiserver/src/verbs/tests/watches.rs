//! Watches.

use super::*;

#[tokio::test]
async fn a_watch_tells_the_present_and_then_what_happens() {
    let server = Server::start("watch").await;
    server.ask(&format!("POST {MAPS}"), named("a")).await;
    let mut watch = server.watch(&format!("{MAPS}?watch=1")).await;
    watch.expect(&["ADDED a"]).await;
    server.ask(&format!("PATCH {MAPS}/a"), json!({"data": {"k": "1"}})).await;
    server.ask(&format!("POST {MAPS}"), named("b")).await;
    server.ask(&format!("DELETE {MAPS}/a"), Value::Null).await;
    watch.expect(&["MODIFIED a", "ADDED b", "DELETED a"]).await;
}

#[tokio::test]
async fn selectors_make_objects_come_and_go() {
    let server = Server::start("selectors").await;
    let (_, list) = server.ask(&format!("GET {MAPS}"), Value::Null).await;
    let revision = list["metadata"].text("resourceVersion");
    let mut labels = server.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}&labelSelector=l%3D1")).await;
    let mut fields = server.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}&fieldSelector=metadata.name%3Db")).await;
    let mut elsewhere =
        server.watch(&format!("/api/v1/namespaces/other/configmaps?watch=1&resourceVersion={revision}&allowWatchBookmarks=true")).await;
    for (name, label) in [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0")] {
        server.ask(&format!("POST {MAPS}"), named(name)).await;
        server.ask(&format!("PATCH {MAPS}/{name}"), json!({"metadata": {"labels": {"l": label}}})).await;
    }
    labels.expect(&["ADDED a", "DELETED a"]).await;
    fields.expect(&["ADDED b", "MODIFIED b"]).await;
    assert!(elsewhere.pieces.try_recv().is_err(), "nothing happened there");
}

#[tokio::test]
async fn the_end_of_the_initial_events_is_marked_if_that_is_asked() {
    let server = Server::start("initial").await;
    server.ask(&format!("POST {MAPS}"), named("a")).await;
    let asks = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    server.watch(&format!("{MAPS}?{asks}")).await.expect(&["ADDED a", "BOOKMARK "]).await;
    server
        .check(&[(&format!("GET {MAPS}?watch=1&sendInitialEvents=true"), Value::Null, 422, "requires setting resourceVersionMatch")])
        .await;
}

#[tokio::test]
async fn who_knows_too_little_is_sent_to_list_again() {
    let server = Server::start("gone").await;
    server.ask(&format!("POST {MAPS}"), named("a")).await;
    let old = server.api.store.revision();
    // More than a history holds.
    let shared = server.api.clone();
    let many = server.api.store.write(move |txn| {
        let maps = shared.collection(shared.kinds.core("configmaps"));
        for _ in 0..5_000 {
            txn.put(maps, &mut json!({"metadata": {"name": "a", "namespace": "default"}}));
        }
        Ok(())
    });
    many.await.expect("written");
    let mut watch = server.watch(&format!("{MAPS}?watch=1&resourceVersion={old}")).await;
    let event = watch.next().await;
    assert!(event.starts_with(&format!("ERROR too old resource version: {old} (")), "{event}");
    watch.expect(&["end"]).await;
}
