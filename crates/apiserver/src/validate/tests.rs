use serde_json::{Value, json};

use super::*;

/// Validates what `patch` makes of a good object of the kind, and compares the summary.
fn check(new: Value, old: Option<Value>, wanted: &str) {
    let schema = Schema::load();
    let gvk = Gvk::of(&new).expect("a kind");
    let defaulted = |mut value: Value| {
        crate::defaults::apply(&schema, &gvk, &mut value);
        value
    };
    let (new, old) = (defaulted(new), old.map(defaulted));
    let causes = object(&schema, &gvk, &new, old.as_ref());
    let found: Vec<String> = causes.iter().map(Cause::to_string).collect();
    assert_eq!(found.join("; "), wanted);
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn deployment(spec: Value) -> Value {
    let mut whole = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    let spec = spec.as_object().cloned().unwrap_or_default();
    whole.as_object_mut().expect("an object").extend(spec);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"}, "spec": whole})
}

#[test]
fn names_and_metadata_are_checked_for_every_kind() {
    let meta = |meta: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
    check(meta(json!({"name": "a", "namespace": "n"})), None, "");
    check(meta(json!({"namespace": "n"})), None, "metadata.name: Required value: name or generateName is required");
    let not_a_label = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
        alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    check(
        meta(json!({"name": "a", "namespace": "n", "labels": {"k": "v v"}})),
        None,
        &format!("metadata.labels: Invalid value: \"v v\": {not_a_label}"),
    );
    let old = meta(json!({"name": "a", "namespace": "n", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let mut new = old.clone();
    new["metadata"]["uid"] = "2".into();
    new["metadata"]["finalizers"] = json!(["x/y"]);
    check(
        new,
        Some(old),
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
        []string{\"x/y\"}; metadata.uid: Invalid value: \"2\": field is immutable",
    );
}

#[test]
fn services() {
    let check = |spec, wanted| check(service(spec), None, wanted);
    check(json!({"ports": [{"port": 80}]}), "");
    check(json!({"ports": []}), "spec.ports: Required value");
    check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), "");
    check(
        json!({"ports": [{"port": 1}, {"port": 1, "name": "b"}]}),
        "spec.ports[0].name: Required value; spec.ports[1]: Duplicate value: \
        {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":1,\"TargetPort\":0,\"NodePort\":0}",
    );
    check(
        json!({"ports": [{"port": 80}], "sessionAffinity": "X"}),
        "spec.sessionAffinity: Unsupported value: \"X\": supported values: \"ClientIP\", \"None\"",
    );
    check(
        json!({"type": "ExternalName", "ipFamilies": ["IPv4"]}),
        "spec.ipFamilies: Forbidden: may not be set for ExternalName services; spec.externalName: Required value",
    );
    check(
        json!({"ports": [{"port": 80}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"], "ipFamilies": ["IPv4", "IPv4"]}),
        "spec.ipFamilies[1]: Duplicate value: \"IPv4\"; \
        spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family",
    );
}

#[test]
fn what_a_service_may_not_change() {
    let old = service(json!({"ports": [{"port": 80}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]}));
    let with = |spec: Value| {
        let mut new = old.clone();
        new["spec"].as_object_mut().expect("an object").extend(spec.as_object().cloned().unwrap_or_default());
        new
    };
    let check = |spec, wanted| check(with(spec), Some(old.clone()), wanted);
    check(json!({"selector": {"a": "b"}}), "");
    check(
        json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"]}),
        "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",
    );
    check(json!({"clusterIP": "", "clusterIPs": []}), "spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset");
    check(
        json!({"type": "ExternalName", "externalName": "x", "clusterIP": "", "clusterIPs": [], "ipFamilies": [], "internalTrafficPolicy": null}),
        "",
    );
}

#[test]
fn pods() {
    let check = |spec, wanted| check(pod(spec), None, wanted);
    check(json!({"containers": [{"name": "c", "image": "i"}]}), "");
    check(json!({"containers": []}), "spec.containers: Required value");
    check(
        json!({"containers": [{"name": "c", "image": "i", "readinessProbe": {"httpGet": {"port": "x"}, "exec": {"command": ["a"]}}}], "hostname": "h"}),
        "spec.containers[0].readinessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
    );
    check(
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1100m"}, "limits": {"cpu": "1"}}}]}),
        "spec.containers[0].resources.requests: Invalid value: \"1100m\": must be less than or equal to cpu limit of 1",
    );
    check(
        json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]}], "volumes": [{"name": "v"}]}),
        "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
    );
    check(
        json!({"containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]}),
        "spec.initContainers[0].name: Duplicate value: \"c\"; \
        spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
    );
}

#[test]
fn a_pod_keeps_all_but_its_images() {
    let old = pod(json!({"containers": [{"name": "c", "image": "i"}], "tolerations": [{"key": "k", "operator": "Exists"}]}));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "j:1".into();
    new["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    new["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "Exists"}]);
    check(new.clone(), Some(old.clone()), "");
    new["spec"]["hostNetwork"] = true.into();
    let schema = Schema::load();
    let causes = object(&schema, &Gvk::parse("v1", "Pod"), &new, Some(&old));
    assert!(
        causes
            .iter()
            .any(|cause| cause.field == "spec" && cause.message.starts_with("Forbidden: pod updates may not change fields other than"))
    );
}

#[test]
fn deployments() {
    check(deployment(json!({})), None, "");
    check(
        deployment(json!({"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "0%"}}, "minReadySeconds": 600})),
        None,
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0; \
        spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
    );
    check(
        deployment(json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}})),
        None,
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
    );
    check(
        deployment(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}})),
        Some(deployment(json!({}))),
        "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\"}]}: field is immutable",
    );
}

#[test]
fn ingresses_and_their_classes() {
    let ingress = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a", "namespace": "n"}, "spec": spec});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    check(ingress(json!({"defaultBackend": backend})), None, "");
    check(
        ingress(json!({"rules": [{"host": "*.a.b", "http": {"paths": [{"path": "a", "pathType": "Prefix", "backend": backend}]}}]})),
        None,
        "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
    );
    check(
        ingress(json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80, "name": "x"}}}})),
        None,
        "spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number",
    );
    let class =
        |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "a"}, "spec": spec});
    check(class(json!({"controller": "k8s.io/ingress-nginx"})), None, "");
    check(
        class(json!({"controller": "x"})),
        None,
        "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
    );
    check(
        class(json!({"controller": "a/b"})),
        Some(class(json!({"controller": "a/c"}))),
        "spec.controller: Invalid value: \"a/b\": field is immutable",
    );
}

#[test]
fn the_other_kinds() {
    let of = |api: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a", "namespace": "n"}});
        object.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        object
    };
    check(of("v1", "Secret", json!({"type": "kubernetes.io/tls"})), None, "data[tls.crt]: Required value; data[tls.key]: Required value");
    check(of("v1", "ConfigMap", json!({"data": {"..": "x"}})), None, "data[..]: Invalid value: \"..\": must not be '..'");
    check(
        of("v1", "ConfigMap", json!({"data": {"a": "y"}})),
        Some(of("v1", "ConfigMap", json!({"data": {"a": "x"}, "immutable": true}))),
        "immutable: Forbidden: field is immutable when `immutable` is set; data: Forbidden: field is immutable when `immutable` is set",
    );
    check(
        of("v1", "Endpoints", json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 0}]}]})),
        None,
        "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128); \
        subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
    );
    check(
        of("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv6", "endpoints": [{"addresses": ["FD00::1"]}]})),
        None,
        "endpoints[0].addresses[0]: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")",
    );
    check(
        of("coordination.k8s.io/v1", "Lease", json!({"spec": {"leaseDurationSeconds": -1}})),
        None,
        "spec.leaseDurationSeconds: Invalid value: -1: must be greater than 0",
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "k"}, "spec": {"cidrs": ["10.0.0.1/8"]}}),
        None,
        "spec.cidrs[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "x"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}}),
        None,
        "metadata.name: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    );
}

#[test]
fn several_causes_are_summed_up_once_each() {
    let cause = |field: &str| Cause { reason: "FieldValueRequired", field: field.to_owned(), message: "Required value".to_owned() };
    assert_eq!(summary(&[cause("a")]), "a: Required value");
    assert_eq!(summary(&[cause("a"), cause("b"), cause("a")]), "[a: Required value, b: Required value]");
}

#[test]
fn repeated_and_unknown_fields_are_told_by_their_path() {
    let (value, duplicates) =
        parse(br#"{"kind":"Service","spec":{"type":"A","ports":[{"port":1,"port":2}],"type":"B"},"x":1}"#).expect("JSON");
    assert_eq!(duplicates, ["duplicate field \"spec.ports[0].port\"", "duplicate field \"spec.type\""]);
    assert_eq!(value["spec"]["ports"][0]["port"], 2);
    let object = json!({"spec": {"selectr": 1, "ports": [{"prot": {}}], "selector": {"any": "x"}}, "x": 1});
    let unknown = unknown_fields(&Schema::load(), &Gvk::parse("v1", "Service"), &object);
    assert_eq!(unknown, ["unknown field \"spec.ports[0].prot\"", "unknown field \"spec.selectr\"", "unknown field \"x\""]);
    assert!(parse(b"{").is_err() && parse(b"{} {}").is_err());
}

#[test]
fn wrong_types_are_refused_in_gos_words() {
    let schema = Schema::load();
    let field = "json: cannot unmarshal";
    for (api, kind, object, wanted) in [
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": "80"}]}}),
            format!("{field} string into Go struct field ServicePort.spec.ports.port of type int32"),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 1e10}]}}),
            format!("{field} number 10000000000.0 into Go struct field ServicePort.spec.ports.port of type int32"),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": {}}}),
            format!("{field} object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ),
        (
            "v1",
            "Service",
            json!({"metadata": {"labels": {"a": 1}}}),
            format!("{field} number into Go struct field ObjectMeta.metadata.labels of type string"),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"targetPort": true}]}}),
            format!("{field} bool into Go struct field ServicePort.spec.ports.targetPort of type int32"),
        ),
        ("v1", "Secret", json!({"data": {"a": "not base64!"}}), "illegal base64 data at input byte 3".to_owned()),
        ("v1", "Secret", json!({"data": {"a": "abc"}}), "illegal base64 data at input byte 0".to_owned()),
        (
            "v1",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned(),
        ),
    ] {
        assert_eq!(structure(&schema, &Gvk::parse(api, kind), &object), Err(wanted));
    }
    assert_eq!(structure(&schema, &Gvk::parse("v1", "Secret"), &json!({"data": {"a": "YWI="}, "metadata": null})), Ok(()));
}

#[test]
fn any_json_is_judged() {
    let schema = Schema::load();
    let words = [
        "metadata",
        "spec",
        "ports",
        "port",
        "name",
        "labels",
        "containers",
        "volumes",
        "template",
        "selector",
        "matchExpressions",
        "rules",
        "http",
        "paths",
        "clusterIPs",
        "type",
        "LoadBalancer",
        "endpoints",
        "addresses",
        "10.0.0.1",
        "é",
        "-",
        "generateName",
        "finalizers",
        "cidrs",
        "::/0",
        "rollingUpdate",
        "5%",
    ];
    let good = [
        service(json!({"ports": [{"port": 80}], "clusterIPs": ["None"]})),
        pod(json!({"containers": [{"name": "c", "image": "i"}]})),
        deployment(json!({})),
    ];
    let mut random = crate::testing::Random::new(19);
    for kind in KINDS {
        let gvk = Gvk::new(kind.group, "v1", kind.kind);
        for round in 0..400 {
            let mut new = if round % 2 == 0 { random.json(&words, 6) } else { random.twist(&good[round % 3], &words) };
            let old = random.twist(&good[round % 3], &words);
            let _ = structure(&schema, &gvk, &new);
            unknown_fields(&schema, &gvk, &new);
            object(&schema, &gvk, &new, Some(&old));
            crate::defaults::apply(&schema, &gvk, &mut new);
            object(&schema, &gvk, &new, None);
            status(&schema, &gvk, &new, &old);
            warnings(&gvk, &new);
        }
    }
}
