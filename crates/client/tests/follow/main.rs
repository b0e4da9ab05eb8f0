//! What a follower does with what a server answers: pages, resumption, expiry, refusals. The server is a script.

mod server;

use std::time::Duration;

use api::{Object, Service, ServiceImport};
use client::{Absence, Client, Event, Freshness, Key, Pace, Scope};
use runtime::Backoff;
use server::{End, Server, Step};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

const LIST: &str = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"a","namespace":"n"}}]}"#;

/// Plays the script against a follower of Services, and compares the events and the requests, each in short.
///
/// A request is shown as its query without what every request has.
async fn check(script: Vec<Step>, events: &[&str], requests: &[&str]) {
    check_kind::<Service>(Scope::default(), script, events, requests).await;
}

async fn check_kind<K: Object>(scope: Scope, script: Vec<Step>, events: &[&str], requests: &[&str]) {
    let server = Server::start(script);
    let client = connect(&server).await;
    let (sender, mut receiver) = channel(4);
    let freshness = Freshness::default();
    let name = |object: K| object.meta().name.to_string();
    let follower = tokio::spawn(client::follow(client, scope, quick(), freshness.clone(), name, sender));
    assert_eq!(freshness.staleness(), None, "nothing was listed yet");
    let mut found = Vec::new();
    while found.len() < events.len() {
        found.push(show(next(&mut receiver).await));
    }
    assert_eq!(found, events);
    server.all_played().await;
    assert_eq!(server.requests(), requests);
    drop(receiver);
    timeout(Duration::from_secs(5), follower).await.expect("the follower ends with its receiver").expect("no panic");
}

async fn connect(server: &Server) -> Client {
    runtime::tls::install_provider();
    Client::connect(&server.origin()).await.expect("a kubeconfig")
}

fn quick() -> Pace {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    Pace { retry: backoff.clone(), resume: backoff.clone(), turn: backoff.clone(), absent: backoff, limit: 500 }
}

async fn next(receiver: &mut Receiver<Event<String>>) -> Event<String> {
    timeout(Duration::from_secs(5), receiver.recv()).await.expect("an event within 5 s").expect("a living follower")
}

fn show(event: Event<String>) -> String {
    match event {
        Event::Restarted { objects, broken } if broken.is_empty() => format!("restarted {}", objects.join(" ")),
        Event::Restarted { objects, broken } => format!("restarted {} without {}", objects.join(" "), broken[0]),
        Event::Applied(name) => format!("applied {name}"),
        Event::Deleted(Key { namespace, name }) => format!("deleted {namespace}/{name}"),
        Event::Broken(error) => format!("broken {error}"),
        Event::Absent(Absence::NotServed) => "absent".to_owned(),
        Event::Absent(Absence::Forbidden(message)) => format!("forbidden {message}"),
    }
}

fn event(event_type: &str, name: &str, version: u32) -> String {
    format!(r#"{{"type":"{event_type}","object":{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}"}}}}}}"#) + "\n"
}

fn status(code: u16, reason: &str, message: &str) -> Step {
    let body = format!(r#"{{"kind":"Status","code":{code},"reason":"{reason}","message":"{message}"}}"#);
    Step::new(code, vec![body], End::Close)
}

#[tokio::test]
async fn a_list_comes_by_pages_and_a_watch_goes_on_from_its_version() {
    let first = r#"{"metadata":{"resourceVersion":"10","continue":"to/ken"},"items":[{"metadata":{"name":"a"}}]}"#;
    let second = r#"{"metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"b"}}]}"#;
    check(
        vec![
            Step::ok(first),
            Step::ok(second),
            Step::watch(&[event("ADDED", "c", 11), event("MODIFIED", "a", 12), event("DELETED", "b", 13)], End::Hold),
        ],
        &["restarted a b", "applied c", "applied a", "deleted n/b"],
        &["list limit=500", "list limit=500&continue=to%2Fken", "watch 10"],
    )
    .await;
}

#[tokio::test]
async fn a_watch_that_ends_or_breaks_resumes_without_a_list() {
    check(
        vec![
            Step::ok(LIST),
            Step::watch(&[event("ADDED", "b", 11)], End::Close),
            Step::watch(&[event("BOOKMARK", "", 20)], End::Abort),
            status(503, "ServiceUnavailable", "starting"),
            Step::new(429, vec!["too many requests".to_owned()], End::Close),
            Step::watch(&[event("ADDED", "c", 21)], End::Hold),
        ],
        &["restarted a", "applied b", "applied c"],
        &["list limit=500", "watch 10", "watch 11", "watch 20", "watch 20", "watch 20"],
    )
    .await;
}

/// A watch sends nothing: without questions of the kernel's, a server that vanished would be waited for.
#[tokio::test]
async fn the_connection_of_a_watch_asks_whether_the_server_is_there() {
    let server = Server::start(vec![Step::ok(LIST), Step::watch(&[], End::Hold)]);
    let client = connect(&server).await;
    let (sender, _receiver) = channel(4);
    tokio::spawn(client::follow(client, Scope::default(), quick(), Freshness::default(), |_: Service| (), sender));
    server.all_played().await;
    // 30 s, in hundredths; the last answer is unacknowledged for a moment, and another timer runs.
    let asks = async {
        while !timers_to(server.port()).iter().any(|(timer, left)| timer == "02" && *left <= 3_000) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = timeout(Duration::from_secs(5), asks).await;
    assert!(found.is_ok(), "the timers are {:?}", timers_to(server.port()));
}

/// The timers of this machine's connections to a port: which one runs, and when it is due (proc(5), /proc/net/tcp).
fn timers_to(port: u16) -> Vec<(String, u64)> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("procfs");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port = rows.filter(|row| row[2].ends_with(&format!(":{port:04X}")));
    to_port
        .filter_map(|row| row[5].split_once(':').map(|(timer, left)| (timer.to_owned(), u64::from_str_radix(left, 16).unwrap_or(0))))
        .collect()
}

#[tokio::test]
async fn a_version_that_the_server_forgot_means_a_new_list() {
    let expired = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}"#;
    let restored = r#"{"kind":"Status","reason":"Timeout","message":"Too large resource version","details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}}"#;
    check(
        vec![
            Step::ok(LIST),
            Step::watch(&[format!("{expired}\n")], End::Close),
            Step::ok(&LIST.replace("\"10\"", "\"30\"")),
            status(410, "Expired", "too old"),
            Step::ok(&LIST.replace("\"10\"", "\"40\"")),
            Step::new(504, vec![restored.to_owned()], End::Close),
            Step::ok(LIST),
            Step::watch(&[event("ADDED", "b", 11)], End::Hold),
        ],
        &["restarted a", "restarted a", "restarted a", "restarted a", "applied b"],
        &["list limit=500", "watch 10", "list limit=500", "watch 30", "list limit=500", "watch 40", "list limit=500", "watch 10"],
    )
    .await;
}

#[tokio::test]
async fn pages_that_expire_are_begun_anew_and_at_last_asked_for_at_once() {
    let page = || Step::ok(r#"{"metadata":{"resourceVersion":"10","continue":"t"},"items":[{"metadata":{"name":"half"}}]}"#);
    let gone = || status(410, "Expired", "The provided continue parameter is too old");
    let mut script = vec![page(), gone(), page(), gone(), page(), gone()];
    script.push(Step::ok(LIST));
    let paged = ["list limit=500", "list limit=500&continue=t"];
    let requests = [paged, paged, paged].concat();
    check(script, &["restarted a"], &[requests, vec!["list limit=0"]].concat()).await;
}

#[tokio::test]
async fn a_kind_that_is_forbidden_is_told_once_and_followed_when_it_may_be() {
    check(
        vec![
            status(403, "Forbidden", "no"),
            status(403, "Forbidden", "no"),
            status(403, "Forbidden", "no"),
            Step::ok(LIST),
            Step::watch(&[event("ADDED", "b", 11)], End::Hold),
        ],
        &["forbidden no", "restarted a", "applied b"],
        &["list limit=500", "list limit=500", "list limit=500", "list limit=500", "watch 10"],
    )
    .await;
}

#[tokio::test]
async fn a_kind_that_may_be_listed_but_not_watched_is_polled() {
    check(
        vec![Step::ok(LIST), status(403, "Forbidden", "no watch"), Step::ok(LIST), status(403, "Forbidden", "no watch"), Step::ok(LIST)],
        &["restarted a", "forbidden no watch", "restarted a", "restarted a"],
        &["list limit=500", "watch 10", "list limit=500", "watch 10", "list limit=500"],
    )
    .await;
}

#[tokio::test]
async fn a_403_for_what_was_watched_is_a_server_that_starts_and_the_watch_resumes() {
    check(
        vec![
            Step::ok(LIST),
            Step::watch(&[event("ADDED", "b", 11)], End::Abort),
            status(403, "Forbidden", "RBAC is not loaded"),
            status(401, "Unauthorized", "tokens cannot be looked up"),
            status(403, "Forbidden", "RBAC is not loaded"),
            Step::watch(&[event("ADDED", "c", 12)], End::Hold),
        ],
        &["restarted a", "applied b", "applied c"],
        &["list limit=500", "watch 10", "watch 11", "watch 11", "watch 11", "watch 11"],
    )
    .await;
}

#[tokio::test]
async fn a_403_for_what_was_not_served_is_a_server_that_starts_and_is_not_told() {
    check(
        vec![
            status(404, "NotFound", "no such kind"),
            status(403, "Forbidden", "RBAC is not loaded"),
            status(404, "NotFound", "no such kind"),
            Step::ok(LIST),
        ],
        &["absent", "restarted a"],
        &["list limit=500", "list limit=500", "list limit=500", "list limit=500"],
    )
    .await;
}

#[tokio::test]
async fn a_kind_that_vanishes_is_absent_and_may_come_back() {
    check(
        vec![Step::ok(LIST), status(404, "NotFound", ""), status(404, "NotFound", ""), status(404, "NotFound", ""), Step::ok(LIST)],
        &["restarted a", "absent", "restarted a"],
        &["list limit=500", "watch 10", "list limit=500", "list limit=500", "list limit=500"],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_beside_what_can() {
    let list = r#"{"metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"},"spec":7}]}"#;
    let broken = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"11"},"spec":{"ports":[{"port":"x"}]}}}"#;
    check(
        vec![Step::ok(list), Step::watch(&[format!("{broken}\n"), event("ADDED", "c", 12)], End::Hold)],
        &[
            "restarted a without Service b: spec: invalid type: integer `7`, expected struct ServiceSpec",
            r#"broken Service a: spec.ports[0].port: invalid type: string "x", expected i32"#,
            "applied c",
        ],
        &["list limit=500", "watch 10"],
    )
    .await;
}

#[tokio::test]
async fn a_scope_narrows_lists_and_watches() {
    let labels = api::Selector::parse("!headless").expect("a selector");
    let scope = Scope { namespace: Some("n".to_owned()), labels, fields: "metadata.name=a".to_owned() };
    check_kind::<ServiceImport>(
        scope,
        vec![Step::ok(LIST), Step::watch(&[], End::Hold)],
        &["restarted a"],
        &[
            "list limit=500&labelSelector=%21headless&fieldSelector=metadata.name%3Da",
            "watch 10&labelSelector=%21headless&fieldSelector=metadata.name%3Da",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_refusal_says_why_whatever_its_body_is() {
    let server = Server::start(vec![
        status(404, "NotFound", "services x not found"),
        Step::new(502, vec!["<html>bad gateway\nmore".to_owned()], End::Close),
        status(409, "Conflict", "the object has been modified"),
    ]);
    let client = connect(&server).await;
    let missing = client.get::<Service>("n", "x").await.expect_err("404");
    assert_eq!((missing.code(), missing.to_string().as_str()), (Some(404), "the API server refused: 404 services x not found"));
    let gateway = client.get::<Service>("n", "x").await.expect_err("502");
    assert_eq!(gateway.to_string(), "the API server refused: 502 <html>bad gateway");
    let conflict = client.patch::<Service>("n", "x", Some("status"), &serde_json::json!({})).await.expect_err("409");
    assert!(conflict.is_conflict());
}

/// As kubelet writes a projected token: `token` is a link through `..data`, which is renamed over.
fn project(folder: &std::path::Path, version: &str, token: &str) {
    use std::os::unix::fs::symlink;
    std::fs::create_dir_all(folder.join(version)).expect("a folder");
    std::fs::write(folder.join(version).join("token"), token).expect("a token");
    symlink(version, folder.join("..data_tmp")).expect("a link");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
    let _ = symlink("..data/token", folder.join("token"));
}

#[tokio::test]
async fn a_token_that_expired_is_read_anew_where_kubelet_put_the_next() {
    let service = || Step::ok(r#"{"metadata":{"name":"a","namespace":"n"}}"#);
    let server = Server::start(vec![service(), service()]);
    let folder = std::env::temp_dir().join(format!("rutter-client-token-{}", std::process::id()));
    project(&folder, "..1", "one");
    server.token_file(&folder.join("token"));
    server.let_in("one");
    let client = connect(&server).await;
    let get = || async { client.get::<Service>("n", "a").await.map(drop).map_err(|error| error.code()) };
    assert_eq!(get().await, Ok(()));
    project(&folder, "..2", "two");
    server.let_in("two");
    assert_eq!(get().await, Ok(()), "the new token, without a failure in between");
    server.let_in("three");
    assert_eq!(get().await, Err(Some(401)), "nothing new to show");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test]
async fn missing_credentials_are_named() {
    let origin = client::Origin::Kubeconfig("/nowhere/kubeconfig".into());
    let error = Client::connect(&origin).await.err().expect("no such file").to_string();
    assert!(error.starts_with("cannot use kubeconfig /nowhere/kubeconfig: "), "{error}");
}
