use super::*;
use crate::Service;
use crate::protobuf::tests::{bytes, envelope, service};

fn names(list: &List<Service>) -> Vec<String> {
    list.items.iter().map(|item| item.as_ref().map_or_else(ToString::to_string, |object| object.metadata.name.to_string())).collect()
}

#[test]
fn a_broken_item_leaves_the_others_alone() {
    let body = r#"{"kind":"ServiceList","items":[
        {"metadata":{"name":"a"}},
        {"metadata":{"name":"b","namespace":"shop"},"spec":{"ports":[{"port":80},{"port":"http"}]}},
        {"spec":{}},
        {"metadata":{"name":"d"}}
    ],"metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":3}}"#;
    let list = List::<Service>::decode(Encoding::Json, body.as_bytes()).expect("a list");
    assert_eq!((&*list.meta.resource_version, &*list.meta.continue_token), ("7", "abc"));
    let wrong = r#"Service shop/b: spec.ports[1].port: invalid type: string "http", expected i32"#;
    assert_eq!(names(&list), ["a", wrong, "Service: metadata.name: required", "d"]);
}

#[test]
fn a_protobuf_list_reads_item_by_item() {
    let items = [bytes(2, service("a", 80)), bytes(2, [0xff]), bytes(2, service("b", 81))].concat();
    let body = envelope("v1", "ServiceList", &[bytes(1, bytes(2, "7")), items].concat());
    let list = List::<Service>::decode(Encoding::Protobuf, &body).expect("a list");
    assert_eq!(names(&list), ["a", "Service: protobuf message is cut short", "b"]);
}

#[test]
fn an_empty_list_may_be_null() {
    let list = List::<Service>::decode(Encoding::Json, br#"{"metadata":{"resourceVersion":"1"},"items":null}"#);
    assert!(list.expect("a list").items.is_empty());
}

#[test]
fn a_list_of_another_kind_is_refused() {
    let error = List::<Service>::decode(Encoding::Protobuf, &envelope("v1", "PodList", &[])).expect_err("pods");
    assert_eq!(error.to_string(), "ServiceList: expected kind ServiceList, found v1 PodList");
}
