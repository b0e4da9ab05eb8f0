use serde_json::json;

use super::*;

/// The cells of one object made 90 s ago, as kubectl would print them.
fn check(collection: &str, object: Value, line: &str) {
    let mut object = object;
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let now = api::Time::parse("2026-01-01T00:01:30Z").expect("a time").seconds;
    let schema = Schema::load();
    let table = render(&schema, collection, [&object], Include::None, now);
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    assert_eq!(cells.iter().map(text).collect::<Vec<_>>().join(" | "), line);
    let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
    // IPAddress has an age that no column shows, in Kubernetes too.
    assert!(columns == cells.len() || collection.ends_with("ipaddresses"), "{columns} columns");
}

#[test]
fn ages_have_two_or_three_figures() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (28_799, "7h59m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (691_199, "7d23h"),
        (691_200, "8d"),
        (63_071_999, "729d"),
        (63_072_000, "2y"),
        (252_287_999, "7y364d"),
        (252_288_000, "8y"),
    ] {
        assert_eq!(human(seconds), text, "{seconds}");
    }
}

#[test]
fn services() {
    let check = |spec, status, line| check("api/v1/services", json!({"metadata": {"name": "a"}, "spec": spec, "status": status}), line);
    check(
        json!({"type": "NodePort", "clusterIPs": ["10.0.0.1"], "selector": {"b": "1", "a": "2"}, "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"}]}),
        json!({}),
        "a | NodePort | 10.0.0.1 | <none> | 80:30080/TCP,53/UDP | 90s | a=2,b=1",
    );
    check(
        json!({"type": "ClusterIP", "clusterIPs": ["None"], "externalIPs": ["1.1.1.1"]}),
        json!({}),
        "a | ClusterIP | None | 1.1.1.1 | <none> | 90s | <none>",
    );
    check(json!({"type": "ExternalName", "externalName": "x.y"}), json!({}), "a | ExternalName | <none> | x.y | <none> | 90s | <none>");
    check(
        json!({"type": "LoadBalancer"}),
        json!({"loadBalancer": {"ingress": [{"hostname": "z"}, {"ip": "1.2.3.4"}]}}),
        "a | LoadBalancer | <none> | 1.2.3.4,z | <none> | 90s | <none>",
    );
    check(json!({"type": "LoadBalancer"}), json!({}), "a | LoadBalancer | <none> | <pending> | <none> | 90s | <none>");
}

#[test]
fn endpoints_and_slices() {
    let object = json!({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "1"}, {"ip": "fe80::1"}], "ports": [{"port": 80}, {"port": 81}]}]});
    check("api/v1/endpoints", object, "a | 1:80,[fe80::1]:80,1:81 + 1 more... | 90s");
    check("api/v1/endpoints", json!({"metadata": {"name": "a"}}), "a | <none> | 90s");
    let object = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}, {}], "endpoints": [{"addresses": ["1"]}]});
    check("apis/discovery.k8s.io/v1/endpointslices", object, "a | IPv4 | 80,x,* | 1 | 90s");
    check(
        "apis/discovery.k8s.io/v1/endpointslices",
        json!({"metadata": {"name": "a"}, "endpoints": null}),
        "a |  | <unset> | <unset> | 90s",
    );
}

#[test]
fn pods() {
    let check = |status: Value, line: &str| {
        let spec = json!({"containers": [{}], "initContainers": [{"name": "i"}]});
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        if line.contains("Terminating") {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
        }
        check("api/v1/pods", object, &format!("p | {line} | <none> | <none> | <none>"));
    };
    check(json!({"phase": "Pending"}), "0/1 | Pending | 0 | 90s | <none>");
    check(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
        "0/1 | Init:0/1 | 0 | 90s | <none>",
    );
    check(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}),
        "0/1 | Init:ExitCode:3 | 2 | 90s | <none>",
    );
    check(
        json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}], "containerStatuses": [{"ready": true, "state": {"running": {}}, "restartCount": 2,
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:01:00Z"}}}]}),
        "1/1 | Running | 2 (30s ago) | 90s | 10.0.0.5",
    );
    check(
        json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        "0/1 | CrashLoopBackOff | 0 | 90s | <none>",
    );
    check(
        json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}),
        "0/1 | Completed | 0 | 90s | <none>",
    );
    check(json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}), "0/1 | Terminating | 0 | 90s | <none>");
}

#[test]
fn deployments_and_replica_sets() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]},
        "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}});
    let object = json!({"metadata": {"name": "a"}, "spec": spec, "status": {"replicas": 3, "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}});
    check("apis/apps/v1/deployments", object.clone(), "a | 1/3 | 2 | 1 | 90s | c,d | i:1,j | a in (x,y),b=1");
    check("apis/apps/v1/replicasets", object.clone(), "a | 3 | 3 | 1 | 90s | c,d | i:1,j | a in (x,y),b=1");
    check("apis/autoscaling/v1/scales", object, "a | 3 | 3 | 90s");
}

#[test]
fn the_other_kinds() {
    check(
        "api/v1/nodes",
        json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "x"}}, "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}],
        "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.1", "architecture": "amd64"}}}),
        "n | Ready,SchedulingDisabled | worker,x | 90s | v1 | 1.1.1.1 | <none> | <unknown> | 6.1 (amd64) | <unknown>",
    );
    check(
        "apis/networking.k8s.io/v1/ingresses",
        json!({"metadata": {"name": "i"}, "spec": {"ingressClassName": "c", "tls": [{}], "rules": [{"host": "a"}, {"host": "b"},
        {"host": "c"}, {"host": "d"}]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}}),
        "i | c | a,b,c + 1 more... | 1.1.1.1 | 80, 443 | 90s",
    );
    check("apis/networking.k8s.io/v1/ingresses", json!({"metadata": {"name": "i"}}), "i | <none> | * |  | 80 | 90s");
    check(
        "apis/networking.k8s.io/v1/ingressclasses",
        json!({"metadata": {"name": "n", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "x/y", "parameters": {"apiGroup": "g", "kind": "K", "name": "p"}}}),
        "n (default) | x/y | K.g/p | 90s",
    );
    check(
        "apis/networking.k8s.io/v1/ipaddresses",
        json!({"metadata": {"name": "1"}, "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "k"}}}),
        "1 | services/d/k | 90s",
    );
    check("api/v1/secrets", json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": ""}}), "s | Opaque | 1 | 90s");
    check("api/v1/serviceaccounts", json!({"metadata": {"name": "s"}}), "s | 90s");
    check(
        "api/v1/events",
        json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "R", "type": "Normal", "message": " m\n",
        "source": {"component": "c", "host": "h"}, "firstTimestamp": "2026-01-01T00:00:30Z", "lastTimestamp": "2026-01-01T00:01:00Z", "count": 3}),
        "30s | Normal | R | pod/p |  | c, h | m | 60s | 3 | e",
    );
}

#[test]
fn rows_carry_what_was_asked() {
    let (schema, object) = (Schema::load(), json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}));
    let row = |include| render(&schema, "api/v1/pods", [&object], include, 0)["rows"][0].clone();
    assert_eq!(row(Include::None)["object"], Value::Null);
    assert_eq!(
        row(Include::Metadata)["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p"}})
    );
    assert_eq!(row(Include::Object)["object"], object);
    assert_eq!(row(Include::None)["conditions"][0]["type"], "Completed");
}

#[test]
fn any_object_has_a_row() {
    let schema = Schema::load();
    let words = [
        "spec",
        "status",
        "metadata",
        "ports",
        "rules",
        "initContainerStatuses",
        "containerStatuses",
        "state",
        "terminated",
        "conditions",
        "type",
        "Ready",
        "name",
    ];
    let mut random = crate::testing::Random::new(13);
    for _ in 0..500 {
        let object = random.json(&words, 6);
        for (collection, _) in ROWS {
            render(&schema, collection, [&object], Include::Metadata, i64::MIN);
        }
    }
}
