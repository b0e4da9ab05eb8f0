use serde_json::{Value, json};

use super::*;
use crate::schema::Schema;

/// What JSON says survives the way through protobuf.
fn check(object: Value) {
    let schema = Schema::load();
    let bytes = encode(&schema, &object).expect("encodes");
    assert_eq!(decode(&schema, &bytes).expect("decodes"), object);
    let gvk = crate::schema::Gvk::of(&object).expect("a kind");
    assert_eq!(encode_text(&schema, &gvk, object.to_string().as_bytes()), Ok(bytes), "text and value are the same object");
}

#[test]
fn objects_come_back_as_they_went() {
    check(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"a": "b"}, "finalizers": ["x/y", "z/w"],
        "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": -1}],
        "allocateLoadBalancerNodePorts": false, "clusterIPs": ["10.96.0.1", "fd00::1"]}, "status": {"loadBalancer": {}}}));
    check(json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": "cQ==", "empty": ""}, "immutable": true}));
    check(json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "100m"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10}}],
        "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}}],
        "securityContext": {"supplementalGroups": [1, 2]}}}));
    check(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"rules": [{"host": "h", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}));
    check(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": "2026-01-02T03:04:05.000678Z"}}));
    check(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{"manager": "m", "fieldsV1": {"f:data": {"f:a": {}}}}]}}),
    );
    check(
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": {"userInfo": {"extra": {"k": ["a", "b"]}}}}),
    );
}

/// `kubectl create configmap c --from-literal=a=1`, as kubectl 1.33 sends it.
#[test]
fn a_body_of_kubectl_decodes() {
    let raw = b"\n\x0f\n\x01c\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x011";
    let mut bytes = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12".to_vec();
    bytes.push(raw.len() as u8);
    bytes.extend_from_slice(raw);
    bytes.extend_from_slice(b"\x1a\x00\"\x00");
    let object = decode(&Schema::load(), &bytes).expect("decodes");
    assert_eq!(object["metadata"]["name"], "c");
    assert_eq!(object["metadata"]["creationTimestamp"], Value::Null);
    assert_eq!(object["data"], json!({"a": "1"}));
}

/// A Volume embeds its source in Go, which is one message on the wire whatever stands between its fields.
#[test]
fn embedded_structs_are_one_message() {
    let schema = Schema::load();
    let selector = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "livenessProbe":
        {"exec": {"command": ["x"]}, "failureThreshold": 3, "httpGet": {"path": "/", "port": 80}}}]}});
    let bytes = encode(&schema, &selector).expect("encodes");
    let at = |needle: &[u8]| bytes.windows(needle.len()).filter(|window| *window == needle).count();
    // ProbeHandler is field 1 of Probe: exec (1) of three bytes, then httpGet (2).
    assert_eq!(at(b"\x0a\x03\x0a\x01x\x12"), 1, "{bytes:?}");
    assert_eq!(decode(&schema, &bytes).expect("decodes"), selector);
}

#[test]
fn values_that_do_not_fit_are_told() {
    let schema = Schema::load();
    for (object, text) in [
        (json!({"spec": {"ports": {}}}), "invalid type: map, expected a value of type List"),
        (json!({"spec": {"clusterIP": 1}}), "invalid type: integer `1`, expected a value of type String"),
        (json!({"metadata": {"creationTimestamp": "noon"}}), "no time: \"noon\""),
        (json!({"spec": "x"}), "invalid type: string \"x\", expected a ServiceSpec"),
    ] {
        let told = encode_text(&schema, &crate::schema::Gvk::new("", "v1", "Service"), object.to_string().as_bytes());
        assert!(matches!(&told, Err(Error::Unfit(told)) if told.contains(text)), "{object}: {told:?}");
    }
}

#[test]
fn bodies_that_are_none_are_refused() {
    let schema = Schema::load();
    assert_eq!(decode(&schema, b"{}"), Err(Error::NoEnvelope));
    assert_eq!(decode(&schema, b"k8s\0\x12\x7f"), Err(Error::CutShort));
    let odd = decode(&schema, b"k8s\0\n\x0b\n\x02v1\x12\x05Thing");
    assert_eq!(odd, Err(Error::UnknownKind { api_version: "v1".into(), kind: "Thing".into() }));
}

#[test]
fn random_bytes_never_panic() {
    let schema = Schema::load();
    let good = encode(
        &schema,
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}], "tolerations": [{"tolerationSeconds": 300}]}}),
    );
    let good = good.expect("encodes");
    let mut random = crate::testing::Random::new(7);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.below(4) + 1 {
            let at = random.below(bytes.len() - 4) + 4;
            match random.below(3) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes.truncate(at.max(5)),
                _ => bytes.insert(at, random.below(256) as u8),
            }
        }
        if let Ok(object) = decode(&schema, &bytes) {
            let _ = encode(&schema, &object);
        }
    }
}
