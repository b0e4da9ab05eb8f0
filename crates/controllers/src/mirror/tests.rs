use super::*;
use crate::world::World;

const SERVICE: &str =
    r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db"},"spec":{"ipFamilies":["IPv4"],"ports":[{"port":5432}]}}"#;

fn endpoints(ip: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"db"}},"subsets":[{{"addresses":[{{"ip":"{ip}"}}],
        "ports":[{{"port":5432,"protocol":"TCP"}}]}}]}}"#
    )
}

#[test]
fn hand_written_endpoints_are_mirrored_and_followed() {
    let mut world = World::of(vec![Box::new(Mirrors)]);
    world.apply(&endpoints("192.0.2.10"));
    world.apply(SERVICE);
    world.settle();
    let slice = world.cache.all(&kinds::ENDPOINT_SLICE).next().expect("a slice");
    assert_eq!(slice["endpoints"], json!([{"addresses": ["192.0.2.10"], "conditions": {"ready": true}}]));
    assert_eq!(json::controller(slice).expect("an owner")["kind"], "Endpoints");

    world.apply(&endpoints("2001:db8::1"));
    world.settle();
    let families: Vec<_> = world.cache.all(&kinds::ENDPOINT_SLICE).map(|slice| json::text(&slice["addressType"])).collect();
    assert_eq!(families, ["IPv6"]);

    world.delete(&kinds::ENDPOINTS, "db", Propagation::Background);
    world.settle();
    assert!(world.names(&kinds::ENDPOINT_SLICE).is_empty());
}

#[test]
fn slices_take_over_what_endpoints_are_annotated_with() {
    let mut world = World::of(vec![Box::new(Mirrors)]);
    world.apply(SERVICE);
    let annotated = |mine: &str| {
        let all = format!(r#""name":"db","annotations":{{"mine":"{mine}","kubectl.kubernetes.io/last-applied-configuration":"{{}}"}}"#);
        endpoints("192.0.2.10").replace(r#""name":"db""#, &all)
    };
    for mine in ["one", "two"] {
        world.apply(&annotated(mine));
        world.settle();
        let slice = world.cache.all(&kinds::ENDPOINT_SLICE).next().expect("a slice");
        assert_eq!(slice["metadata"]["annotations"], json!({"mine": mine}));
    }
}

#[test]
fn a_service_with_a_selector_is_not_mirrored() {
    let mut world = World::of(vec![Box::new(Mirrors)]);
    world.apply(&SERVICE.replace(r#""ports""#, r#""selector":{"a":"b"},"ports""#));
    world.apply(&endpoints("192.0.2.10"));
    world.settle();
    assert!(world.names(&kinds::ENDPOINT_SLICE).is_empty());
}
