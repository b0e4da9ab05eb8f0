use client::Key;
use expect_test::{Expect, expect};

use super::*;

/// Takes events one after the other and shows what each is told as.
fn check(events: Vec<Event<Option<Fact>>>, expected: Expect) {
    let mut known = Known::new(&api::Service::KIND, Texts::default());
    let mut shown = String::new();
    for event in events {
        let told: Vec<_> = known.take(event).iter().map(show).collect();
        shown.push_str(&format!("{}\n", told.join(", ")));
    }
    expected.assert_eq(&shown);
}

fn show(change: &Change) -> String {
    match change {
        Change::Service(name, Some(_)) => format!("{name}"),
        Change::Service(name, None) => format!("{name} gone"),
        Change::Issues(object, issues) if issues.is_empty() => format!("{object} well"),
        Change::Issues(object, issues) => format!("{object} {}", issues[0]),
        other => panic!("not expected: {other:?}"),
    }
}

fn service(name: &str) -> Option<Fact> {
    let text = format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"shop"}}}}"#);
    fact(&AnyObject::from(api::Service::decode_json(&text).expect("a Service")), &Texts::default())
}

fn broken(name: &str) -> DecodeError {
    let text = format!(r#"{{"metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"ports":7}}}}"#);
    api::Service::decode_json(&text).expect_err("no list of ports")
}

fn restarted(names: &[&str]) -> Event<Option<Fact>> {
    Event::Restarted { objects: names.iter().map(|name| service(name)).collect(), broken: Vec::new() }
}

#[test]
fn what_a_new_list_lacks_is_gone() {
    let key = Key { namespace: "shop".into(), name: "a".into() };
    check(
        vec![restarted(&["a", "b"]), Event::Applied(service("c")), Event::Deleted(key), restarted(&["c"])],
        expect![[r#"
            shop/a, shop/b
            shop/c
            shop/a gone, Service shop/a well
            shop/c, shop/b gone, Service shop/b well
        "#]],
    );
}

#[test]
fn an_object_that_cannot_be_read_stays_until_it_is_deleted() {
    let key = Key { namespace: "shop".into(), name: "a".into() };
    check(
        vec![
            restarted(&["a"]),
            Event::Broken(broken("a")),
            Event::Restarted { objects: Vec::new(), broken: vec![broken("a")] },
            Event::Applied(service("a")),
            Event::Broken(broken("a")),
            Event::Deleted(key),
        ],
        expect![[r#"
            shop/a
            Service shop/a spec.ports: invalid type: integer `7`, expected a sequence; as it was last readable, the object stays (Undecodable)
            Service shop/a spec.ports: invalid type: integer `7`, expected a sequence; as it was last readable, the object stays (Undecodable)
            shop/a, Service shop/a well
            Service shop/a spec.ports: invalid type: integer `7`, expected a sequence; as it was last readable, the object stays (Undecodable)
            shop/a gone, Service shop/a well
        "#]],
    );
}

#[test]
fn a_kind_that_is_not_served_has_no_objects_and_one_that_is_forbidden_keeps_them() {
    check(
        vec![
            restarted(&["a"]),
            Event::Absent(Absence::Forbidden("services is forbidden".into())),
            restarted(&["a"]),
            Event::Absent(Absence::NotServed),
            restarted(&[]),
        ],
        expect![[r#"
            shop/a
            Service * services is forbidden (NotReadable)
            Service * well, shop/a
            shop/a gone, Service shop/a well, Service * the API server does not serve services (NotReadable)
            Service * well
        "#]],
    );
}
