//! Anything may come in: it is answered, nothing panics, and the store stays whole.

use super::*;
use crate::testing::Random;

const WORDS: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "resourceVersion",
    "spec",
    "status",
    "ports",
    "port",
    "nodePort",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "type",
    "NodePort",
    "LoadBalancer",
    "ExternalName",
    "None",
    "10.96.0.7",
    "$patch",
    "delete",
    "$setElementOrder/ports",
    "replicas",
    "selector",
    "template",
    "containers",
    "kind",
    "apiVersion",
    "v1",
    "",
    "\u{0}",
    "é",
    "/",
];

const PATHS: &[&str] = &[
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces/default/services/a",
    "/api/v1/namespaces/default/services/a/status",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/a",
    "/api/v1/namespaces/default/pods/a/binding",
    "/api/v1/namespaces/default/pods/a/eviction",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/a",
    "/api/v1/namespaces",
    "/api/v1/namespaces/a",
    "/api/v1/namespaces/a/finalize",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/deployments/a/scale",
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/events.k8s.io/v1/namespaces/default/events",
    "/api/v1/nodes",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/api/v1/namespaces/default/serviceaccounts/default/token",
];

const QUERIES: &[&str] = &[
    "",
    "?dryRun=All",
    "?fieldValidation=Strict",
    "?fieldManager=%00",
    "?limit=1&continue=e30",
    "?limit=99999999999999999999",
    "?labelSelector=a%20in%20(",
    "?fieldSelector=metadata.name%3Da",
    "?resourceVersion=-1",
    "?resourceVersion=0",
    "?gracePeriodSeconds=-5",
    "?propagationPolicy=x",
];

const FORMS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "",
];

/// A good object of a few kinds, to be twisted.
fn good() -> Vec<Value> {
    let pod = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]});
    vec![
        json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}),
        json!({"metadata": {"name": "a", "labels": {"l": "m"}, "finalizers": ["x/y"]}, "data": {"k": "v"}}),
        json!({"metadata": {"name": "a"}, "spec": pod}),
        json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"l": "m"}}, "template": {"metadata": {"labels": {"l": "m"}}, "spec": pod}}}),
        json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}),
        json!({"metadata": {"name": "a"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
        json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]),
        json!({"spec": {"replicas": 3, "finalizers": ["kubernetes"]}}),
    ]
}

#[tokio::test]
async fn any_request_is_answered_and_the_store_stays_whole() {
    let server = Server::start("hostile").await;
    let mut random = Random::new(11);
    let good = good();
    let mut accepted = 0;
    for _ in 0..6_000 {
        let method = ["GET", "POST", "POST", "PUT", "PATCH", "DELETE"][random.below(6)];
        let (path, query) = (PATHS[random.below(PATHS.len())], QUERIES[random.below(QUERIES.len())]);
        let body = match random.below(8) {
            0 => (0..random.below(40)).map(|_| random.below(256) as u8).collect(),
            1 => [b"k8s\0".to_vec(), (0..random.below(60)).map(|_| random.below(256) as u8).collect()].concat(),
            2 | 3 => random.json(WORDS, 5).to_string().into_bytes(),
            _ => {
                let whole = &good[random.below(good.len())];
                random.twist(whole, WORDS).to_string().into_bytes()
            }
        };
        // Mostly one that fits, so that something gets through.
        let form = match (random.below(4), method) {
            (0, _) => FORMS[random.below(FORMS.len())],
            (_, "PATCH") => FORMS[3 + random.below(3)],
            _ => "application/json",
        };
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (status, text) = match server.send(&format!("{method} {path}{query}"), form, body).await {
            Ok(answer) => (answer.status, String::new()),
            Err(refusal) => (refusal.code, refusal.message),
        };
        accepted += u32::from(status < 300 && method != "GET");
        // What a panic in the writer is answered with.
        assert!(!text.contains("could not be carried out"), "{method} {path}{query} {form} {shown}: {status} {text}");
    }
    assert!(accepted > 100, "hardly anything went through: {accepted}");
    for kind in server.api.kinds.iter().filter_map(|kind| kind.stored) {
        for (key, stored) in crate::store::range(&server.api.store.snapshot(kind).0, "", None) {
            let object = stored.parse();
            assert_eq!(object["metadata"]["resourceVersion"], stored.revision.to_string(), "{key}");
            assert_eq!(**key, *crate::store::key(object["metadata"].text("namespace"), object["metadata"].text("name")));
        }
    }
}
