use crate::{Content, Document, documents};

/// Reads one object from YAML and shows what was asked of it.
fn check<const N: usize>(yaml: &str, show: fn(&crate::AnyObject) -> [String; N], expected: [&str; N]) {
    let entries: Vec<_> = documents(yaml.as_bytes()).iter().flat_map(Document::entries).collect();
    let [crate::Entry { content: Content::Object(object), .. }] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(show(object), expected);
}

fn service(object: &crate::AnyObject) -> [String; 8] {
    let crate::AnyObject::Service(service) = object else { panic!("{object:?}") };
    let spec = &service.spec;
    let timeout = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    [
        spec.service_type.to_string(),
        format!("{} {timeout:?}", spec.session_affinity),
        spec.ports.iter().map(|port| format!("{}/{}->{}", port.port, port.protocol, port.target_port)).collect(),
        spec.external_traffic_policy.to_string(),
        spec.internal_traffic_policy.as_deref().unwrap_or("").to_owned(),
        format!("{} {:?}", spec.cluster_ip, spec.cluster_ips),
        format!("{:?}", spec.ip_families),
        spec.ip_family_policy.as_deref().unwrap_or("").to_owned(),
    ]
}

#[test]
fn a_plain_service_is_filled_in() {
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}",
        service,
        ["ClusterIP", "None None", "80/TCP->80", "", "Cluster", r#"10.0.0.1 ["10.0.0.1"]"#, r#"["IPv4"]"#, "SingleStack"],
    );
}

#[test]
fn a_node_port_service_with_affinity_is_filled_in() {
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, sessionAffinity: ClientIP, clusterIPs: ['fd00::1', 10.0.0.1], \
         ports: [{port: 53, protocol: UDP, targetPort: dns}]}",
        service,
        [
            "NodePort",
            "ClientIP Some(10800)",
            "53/UDP->dns",
            "Cluster",
            "Cluster",
            r#"fd00::1 ["fd00::1", "10.0.0.1"]"#,
            r#"["IPv6", "IPv4"]"#,
            "RequireDualStack",
        ],
    );
}

#[test]
fn a_headless_service_gets_no_family_from_its_address() {
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None}",
        service,
        ["ClusterIP", "None None", "", "", "Cluster", r#"None ["None"]"#, "[]", ""],
    );
}

#[test]
fn a_secret_in_plain_text_is_folded_into_its_data() {
    check(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: b2xk, o: eA==}\nstringData: {k: new}",
        |object| {
            let crate::AnyObject::Secret(secret) = object else { panic!("{object:?}") };
            let text = |key| String::from_utf8_lossy(&secret.data[key]).into_owned();
            [secret.secret_type.to_string(), text("k"), text("o")]
        },
        ["Opaque", "new", "x"],
    );
}

#[test]
fn a_slice_port_has_a_name_and_a_protocol() {
    check(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: null\nports: [{port: 80}]",
        |object| {
            let crate::AnyObject::EndpointSlice(slice) = object else { panic!("{object:?}") };
            [format!("{:?} {:?}", slice.ports[0].name, slice.ports[0].protocol)]
        },
        [r#"Some("") Some("TCP")"#],
    );
}
