//! The client against a real kube-apiserver and etcd: protobuf, RBAC, a CRD, a restart, expiry.
//!
//! Needs `.cache/peers` with the binaries etcd, kube-apiserver and kubectl; without them the test says that it is skipped. Everything
//! runs on loopback, on ports of its own.
#![allow(clippy::disallowed_methods)] // the servers are children of the test

#[path = "rig/server.rs"]
mod server;

use std::time::{Duration, Instant, SystemTime};

use api::{
    ConfigMap, EndpointSlice, Endpoints, Ingress, IngressClass, Lease, Namespace, Node, Object, Pod, Secret, Service, ServiceCidr,
    ServiceImport,
};
use client::{Absence, Client, Event, EventType, Freshness, Occurrence, Origin, Pace, Scope, Subject};
use runtime::Backoff;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{sleep, timeout};

use server::Rig;

const OBJECTS: &str = include_str!("rig/objects.yaml");
const SERVICE_IMPORT_CRD: &str = include_str!("rig/serviceimport-crd.yaml");
const SERVICE_IMPORT: &str = "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {name: far, namespace: rig}\n\
                              spec: {type: ClusterSetIP, ips: [10.9.9.9], ports: [{port: 80, protocol: TCP, name: http}]}\n";
const READER: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: secret-reader}\n\
                      rules: [{apiGroups: [''], resources: [secrets], verbs: [list, watch]}]\n---\n\
                      apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: secret-reader}\n\
                      roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: secret-reader}\n\
                      subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_is_followed() {
    let Some(mut rig) = Rig::start("a_real_api_server_is_followed") else { return };
    runtime::tls::install_provider();
    let client = connect(&rig, "token-admin").await;
    rig.apply(OBJECTS);

    both_codecs_agree(&rig, &client).await;
    pages_and_changes(&client).await;
    writes(&client).await;
    forbidden_until_it_is_not(&rig).await;
    absent_until_it_is_not(&rig, &client).await;
    a_restart_loses_nothing(&mut rig, &client).await;
}

/// What protobuf gives is what the server's JSON says, for every kind.
async fn both_codecs_agree(rig: &Rig, client: &Client) {
    agree::<Service>(rig, client, "dual").await;
    agree::<Service>(rig, client, "lb").await;
    agree::<Endpoints>(rig, client, "manual").await;
    agree::<EndpointSlice>(rig, client, "slice").await;
    agree::<Node>(rig, client, "n1").await;
    agree::<Namespace>(rig, client, "rig").await;
    agree::<Ingress>(rig, client, "web").await;
    agree::<IngressClass>(rig, client, "ours").await;
    agree::<Secret>(rig, client, "tls").await;
    agree::<ConfigMap>(rig, client, "config").await;
    agree::<Pod>(rig, client, "pod").await;
    agree::<ServiceCidr>(rig, client, "kubernetes").await;
}

async fn agree<K: Object + std::fmt::Debug + PartialEq>(rig: &Rig, client: &Client, name: &str) {
    let from_protobuf: K = client.get("rig", name).await.unwrap_or_else(|error| panic!("{} {name}: {error}", K::KIND));
    let json = rig.kubectl(&["get", "--raw", &format!("{}/{name}", K::KIND.path(Some("rig")))]);
    assert_eq!(K::decode_json(&json), Ok(from_protobuf), "{} {name}", K::KIND);
}

async fn pages_and_changes(client: &Client) {
    let scope = Scope { namespace: Some("rig".to_owned()), ..Scope::default() };
    let (mut events, freshness) = follow::<Service>(client, scope);
    assert_eq!(next(&mut events).await, "restarted dual lb", "by pages of one");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new"}, "spec": {"ports": [{"port": 80}]}});
    let created: Service = client.create("rig", &service).await.expect("a new Service");
    assert_eq!(&*created.spec.service_type, "ClusterIP");
    assert_eq!(next(&mut events).await, "applied new");
    assert_eq!(freshness.staleness(), Some(Duration::ZERO));
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let patched: Service = client.patch("rig", "new", None, &patch).await.expect("a patch");
    assert_eq!(patched.metadata.labels.get("a").map(|value| &**value), Some("b"));
    assert_eq!(next(&mut events).await, "applied new");

    let labels = api::Selector::parse("a in (b, c)").expect("a selector");
    let (mut selected, _) = follow::<Service>(client, Scope { labels, ..Scope::default() });
    assert_eq!(next(&mut selected).await, "restarted new");
    let fields = "metadata.name=dual".to_owned();
    let (mut one, _) = follow::<Service>(client, Scope { fields, namespace: Some("rig".to_owned()), ..Scope::default() });
    assert_eq!(next(&mut one).await, "restarted dual");
    // What stops matching is deleted for who selects.
    let _: Service = client.patch("rig", "new", None, &json!({"metadata": {"labels": {"a": null}}})).await.expect("a patch");
    assert_eq!(next(&mut selected).await, "deleted new");
}

async fn writes(client: &Client) {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let ingress: Ingress = client.patch("rig", "web", Some("status"), &status).await.expect("a status");
    assert_eq!(&*ingress.status.load_balancer.ingress[0].ip, "192.0.2.1");
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "y"}}});
    assert!(client.patch::<Ingress>("rig", "web", None, &stale).await.expect_err("too old").is_conflict());

    let about = Subject { api_version: "networking.k8s.io/v1", kind: "Ingress", namespace: "rig", name: "web", uid: &ingress.metadata.uid };
    let occurrence = Occurrence {
        about,
        event_type: EventType::Warning,
        reason: "InvalidPath",
        message: &"ä".repeat(2_000),
        component: "rutter-ingress",
        instance: "n1",
        when: SystemTime::now(),
    };
    client.record(&occurrence).await.expect("an Event");

    let candidate = |identity| client::lease::Candidate::new(client.clone(), "rig", "leader", identity, Duration::from_secs(2));
    let (mut first, mut second) = (candidate("first"), candidate("second"));
    assert!(first.try_hold().await.expect("a lease"), "free");
    assert!(first.try_hold().await.expect("a lease"), "renewed");
    assert!(!second.try_hold().await.expect("a lease"), "held by another");
    let start = Instant::now();
    while !second.try_hold().await.expect("a lease") {
        assert!(start.elapsed() < Duration::from_secs(20), "a lease that nobody renews runs out");
        sleep(Duration::from_millis(200)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "not before its time");
    assert!(!first.try_hold().await.expect("a lease"), "lost");
    let lease: Lease = client.get("rig", "leader").await.expect("a lease");
    assert_eq!((lease.spec.holder_identity.as_deref(), lease.spec.lease_transitions), (Some("second"), Some(1)));
}

async fn forbidden_until_it_is_not(rig: &Rig) {
    let nobody = connect(rig, "token-nobody").await;
    let (mut secrets, _) = follow::<Secret>(&nobody, Scope::default());
    let told = next(&mut secrets).await;
    assert!(told.starts_with("forbidden secrets is forbidden: User \"nobody\" cannot list"), "{told}");
    rig.apply(READER);
    assert_eq!(next(&mut secrets).await, "restarted tls");
}

async fn absent_until_it_is_not(rig: &Rig, client: &Client) {
    let (mut imports, _) = follow::<ServiceImport>(client, Scope::default());
    assert_eq!(next(&mut imports).await, "absent");
    rig.apply(SERVICE_IMPORT_CRD);
    assert_eq!(next(&mut imports).await, "restarted ");
    rig.apply(SERVICE_IMPORT);
    assert_eq!(next(&mut imports).await, "applied far");
}

/// A server that comes back has an empty history: who resumes from before its start is told 410 and lists.
async fn a_restart_loses_nothing(rig: &mut Rig, client: &Client) {
    let (mut maps, freshness) = follow::<ConfigMap>(client, Scope { namespace: Some("rig".to_owned()), ..Scope::default() });
    let first = next(&mut maps).await;
    assert!(first.contains("config"), "{first}");
    let bump = json!({"metadata": {"labels": {"restart": "before"}}});
    let _: Service = client.patch("rig", "dual", None, &bump).await.expect("a patch");
    rig.stop_api_server();
    let start = Instant::now();
    while freshness.staleness() == Some(Duration::ZERO) {
        assert!(start.elapsed() < Duration::from_secs(30), "an outage shows");
        sleep(Duration::from_millis(50)).await;
    }
    rig.start_api_server();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after"}});
    let _: ConfigMap = client.create("rig", &map).await.expect("a new ConfigMap");
    let mut seen = Vec::new();
    while !seen.iter().any(|event: &String| event.contains("after")) {
        seen.push(next(&mut maps).await);
    }
    eprintln!("after the restart: {seen:?}");
    assert!(seen.iter().all(|event| event.starts_with("restarted") || event.starts_with("applied")), "{seen:?}");
}

async fn connect(rig: &Rig, token: &str) -> Client {
    Client::connect(&Origin::Kubeconfig(rig.kubeconfig(token))).await.expect("a kubeconfig")
}

fn follow<K: Object>(client: &Client, scope: Scope) -> (Receiver<Event<String>>, Freshness) {
    let (sender, receiver) = channel(16);
    let freshness = Freshness::default();
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    let pace = Pace { retry: backoff.clone(), resume: backoff.clone(), turn: backoff.clone(), absent: backoff, limit: 1 };
    let name = |object: K| object.meta().name.to_string();
    tokio::spawn(client::follow(client.clone(), scope, pace, freshness.clone(), name, sender));
    (receiver, freshness)
}

async fn next(events: &mut Receiver<Event<String>>) -> String {
    match timeout(Duration::from_secs(60), events.recv()).await.expect("an event within 60 s").expect("a living follower") {
        Event::Restarted { objects, broken } => {
            assert_eq!(broken, []);
            format!("restarted {}", objects.join(" "))
        }
        Event::Applied(name) => format!("applied {name}"),
        Event::Deleted(key) => format!("deleted {}", key.name),
        Event::Broken(error) => format!("broken {error}"),
        Event::Absent(Absence::NotServed) => "absent".to_owned(),
        Event::Absent(Absence::Forbidden(message)) => format!("forbidden {message}"),
    }
}
