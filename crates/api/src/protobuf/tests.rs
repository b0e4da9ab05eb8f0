use super::*;
use crate::{AnyObject, Encoding, EndpointSlice, Ingress, IntOrString, List, Node, Object, Secret, Service, ServiceImport, Status, watch};

/// A length-delimited field.
pub(crate) fn bytes(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(u64::from(number) << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn number(number: u32, value: i64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value.cast_unsigned())].concat()
}

pub(crate) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, type_meta), bytes(2, raw)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn service(name: &str, port: i64) -> Vec<u8> {
    let labels = bytes(11, [bytes(1, "app"), bytes(2, "web")].concat());
    let created = bytes(8, number(1, 1_700_000_000));
    let meta = [bytes(1, name), bytes(3, "default"), bytes(6, "42"), created, labels].concat();
    let target = bytes(4, [number(1, 1), number(2, 0), bytes(3, "http")].concat());
    let port = [bytes(1, "web"), bytes(2, "TCP"), number(3, port), target, number(5, -1)].concat();
    let spec = [bytes(1, port), bytes(3, "10.96.0.10"), bytes(4, "ClusterIP"), bytes(18, "10.96.0.10")].concat();
    [bytes(1, meta), bytes(2, spec)].concat()
}

#[test]
fn both_codecs_give_the_same_service() {
    let json = r#"{"metadata":{"name":"web","namespace":"default","resourceVersion":"42",
        "creationTimestamp":"2023-11-14T22:13:20Z","labels":{"app":"web"},"managedFields":[{"manager":"kubectl"}]},
        "spec":{"ports":[{"name":"web","protocol":"TCP","port":80,"targetPort":"http","nodePort":-1}],
        "clusterIP":"10.96.0.10","type":"ClusterIP","clusterIPs":["10.96.0.10"],"selector":null},"status":{"loadBalancer":{}}}"#;
    let from_json = Service::decode_json(json).expect("valid JSON");
    assert_eq!(Service::decode_protobuf(&service("web", 80)).as_ref(), Ok(&from_json));
    assert_eq!(from_json.spec.ports[0].target_port, IntOrString::String("http".into()));
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let fixed = |tag: u32, wire: u64, width: usize| [varint(u64::from(tag) << 3 | wire), vec![7; width]].concat();
    let unknown = [number(900, 1), bytes(901, "new"), fixed(902, 1, 8), fixed(903, 5, 4)].concat();
    let message = [unknown.clone(), service("web", 80), unknown].concat();
    assert_eq!(Service::decode_protobuf(&message), Service::decode_protobuf(&service("web", 80)));
}

#[test]
fn an_ingress_rule_unwraps_its_embedded_value() {
    let path = [bytes(1, "/"), bytes(3, "Prefix")].concat();
    let rule = [bytes(1, "a.example"), bytes(2, bytes(1, bytes(1, path)))].concat();
    let message = [bytes(1, bytes(1, "web")), bytes(2, bytes(3, rule))].concat();
    let json = r#"{"metadata":{"name":"web"},"spec":{"rules":[{"host":"a.example","http":{"paths":[{"path":"/","pathType":"Prefix"}]}}]}}"#;
    assert_eq!(Ingress::decode_protobuf(&message), Ingress::decode_json(json));
}

#[test]
fn secrets_are_base64_in_json_and_themselves_in_protobuf() {
    let entry = [bytes(1, "key"), bytes(2, [0, 255])].concat();
    let message = [bytes(1, bytes(1, "s")), bytes(2, entry)].concat();
    assert_eq!(Secret::decode_protobuf(&message), Secret::decode_json(r#"{"metadata":{"name":"s"},"data":{"key":"AP8="}}"#));
    let debug = format!("{:?}", Secret::decode_protobuf(&message));
    assert!(debug.contains("2 bytes"), "{debug}");
}

#[test]
fn a_fault_names_the_object_and_the_field() {
    let port = bytes(1, [bytes(1, "ok")].concat());
    let broken = bytes(1, bytes(1, [0xff]));
    let message = [bytes(1, [bytes(1, "web"), bytes(3, "shop")].concat()), bytes(2, [port, broken].concat())].concat();
    let error = Service::decode_protobuf(&message).expect_err("a broken name");
    assert_eq!(error.to_string(), "Service shop/web: spec.ports[1].name: not UTF-8");
}

#[test]
fn a_kind_without_protobuf_refuses_it() {
    assert!(ServiceImport::decode_protobuf(&[]).is_err());
}

#[test]
fn an_envelope_of_another_kind_is_refused() {
    let body = envelope("v1", "Pod", &service("web", 80));
    let error = Service::decode(Encoding::Protobuf, &body).expect_err("a Pod");
    assert_eq!(error.to_string(), "Service: expected this kind, found v1 Pod");
    assert!(Service::decode(Encoding::Protobuf, &envelope("v1", "Service", &service("web", 80))).is_ok());
}

/// Everything that reads bytes of strangers.
fn read_all(bytes: &[u8]) {
    let _ = Service::decode_protobuf(bytes);
    let _ = EndpointSlice::decode_protobuf(bytes);
    let _ = Ingress::decode_protobuf(bytes);
    let _ = Node::decode_protobuf(bytes);
    let _ = Secret::decode_protobuf(bytes);
    let _ = List::<Service>::decode(Encoding::Protobuf, bytes);
    let _ = List::<Service>::decode(Encoding::Json, bytes);
    let _ = watch::Event::<Service>::decode(Encoding::Protobuf, bytes);
    let _ = watch::Event::<Service>::decode(Encoding::Json, bytes);
    let _ = Status::decode(Encoding::Protobuf, bytes);
    for document in crate::documents(bytes) {
        document.entries();
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    // xorshift with a fixed seed: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let valid = envelope("v1", "ServiceList", &[bytes(1, bytes(2, "7")), bytes(2, service("web", 80))].concat());
    for _ in 0..2_000 {
        let noise: Vec<u8> = (0..random() % 64).map(|_| random() as u8).collect();
        read_all(&noise);
        let mut mutated = valid.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % mutated.len();
            mutated[at] = random() as u8;
        }
        mutated.truncate(random() as usize % (mutated.len() + 1));
        read_all(&mutated);
        if let Some(rest) = mutated.get(4..) {
            read_all(rest);
        }
    }
}

#[test]
fn kinds_have_the_paths_of_the_api() {
    let path = |kind: &str| AnyObject::KINDS.iter().find(|k| k.kind == kind).map(|k| k.path(Some("ns"))).unwrap_or_default();
    assert_eq!(path("Service"), "/api/v1/namespaces/ns/services");
    assert_eq!(path("Node"), "/api/v1/nodes");
    assert_eq!(path("EndpointSlice"), "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices");
}
