use serde_json::json;

use super::*;

/// `given` becomes `wanted`, and stays so.
fn check(given: Value, wanted: Value) {
    let schema = Schema::load();
    let gvk = Gvk::of(&given).expect("a kind");
    let mut object = given;
    apply(&schema, &gvk, &mut object);
    assert_eq!(object, wanted, "\n{object:#}\n");
    apply(&schema, &gvk, &mut object);
    assert_eq!(object, wanted, "not idempotent");
}

#[test]
fn hooks_are_sorted_and_name_types() {
    assert!(HOOKS.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn a_service_gets_its_defaults() {
    check(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "creationTimestamp": null}, "bogus": 1,
            "spec": {"type": "LoadBalancer", "clusterIP": "", "selector": {}, "ports": [{"port": 80, "nodePort": 0}, {"port": 81, "targetPort": "x"}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "LoadBalancer", "sessionAffinity": "None",
            "allocateLoadBalancerNodePorts": true, "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "ports": [
            {"port": 80, "targetPort": 80, "protocol": "TCP"}, {"port": 81, "targetPort": "x", "protocol": "TCP"}]}, "status": {"loadBalancer": {}}}),
    );
    check(
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "ExternalName", "externalName": "x", "sessionAffinity": "ClientIP"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"type": "ExternalName", "externalName": "x", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}}}, "status": {"loadBalancer": {}}}),
    );
}

#[test]
fn a_deployment_keeps_explicit_zeros() {
    check(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "selector": {}, "template": {"spec": {"containers": [
            {"name": "c", "image": "nginx:1", "resources": {"limits": {"cpu": "1000m", "memory": 1_024}}}]}}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"replicas": 0, "selector": {}, "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "nginx:1", "imagePullPolicy": "IfNotPresent",
                "resources": {"limits": {"cpu": "1", "memory": "1024"}}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                "terminationGracePeriodSeconds": 30}}}, "status": {}}),
    );
}

#[test]
fn a_pod_gets_what_a_template_does_not() {
    check(
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": true, "serviceAccount": "bob", "terminationGracePeriodSeconds": -5,
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
            "containers": [{"name": "c", "image": "r/nginx", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}},
                "readinessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "A", "value": ""}]}]}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"hostNetwork": true, "serviceAccount": "bob", "serviceAccountName": "bob",
            "terminationGracePeriodSeconds": 1, "enableServiceLinks": true, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {},
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}],
            "containers": [{"name": "c", "image": "r/nginx", "imagePullPolicy": "Always", "env": [{"name": "A"}],
                "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                    "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}]}, "status": {}}),
    );
}

#[test]
fn lists_and_times_that_go_always_writes_are_null() {
    check(
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "protocol": null}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "addressType": "IPv4", "endpoints": null,
            "ports": [{"name": "", "port": 1, "protocol": "TCP"}]}),
    );
    check(
        json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "firstTimestamp": "2026-01-01T01:00:00.5+01:00"}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {}, "involvedObject": {"kind": "Pod"}, "eventTime": null, "source": {},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": null, "reportingComponent": "", "reportingInstance": ""}),
    );
}

#[test]
fn secrets_fold_their_plain_texts() {
    check(
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}),
    );
}

#[test]
fn images_without_a_tag_are_always_pulled() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("r:5000/n", "Always"),
        ("n@sha256:ab", "IfNotPresent"),
    ] {
        let mut fields = Object::new();
        fields.insert("image".into(), image.into());
        pod::container(&mut fields);
        assert_eq!(fields["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn any_json_is_taken() {
    let schema = Schema::load();
    let words = [
        "spec",
        "ports",
        "metadata",
        "containers",
        "template",
        "status",
        "limits",
        "resources",
        "a",
        "",
        "1Gi",
        "name",
        "labels",
        "data",
        "stringData",
    ];
    let mut random = crate::testing::Random::new(3);
    for kind in [("v1", "Service"), ("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Secret"), ("v1", "Namespace"), ("v1", "Event")] {
        let gvk = Gvk::parse(kind.0, kind.1);
        for _ in 0..2_000 {
            let mut object = random.json(&words, 6);
            apply(&schema, &gvk, &mut object);
        }
    }
}
