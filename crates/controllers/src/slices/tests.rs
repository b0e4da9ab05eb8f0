use super::*;
use crate::world::World;

const SERVICE: &str = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"team":"shop"}},"spec":{
    "clusterIP":"10.96.0.7","ipFamilies":["IPv4"],"selector":{"app":"web"},
    "ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":"http"}]}}"#;

fn pod(name: &str, ip: &str, ready: bool, port: u16) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"web"}}}},"spec":{{"nodeName":"n1",
        "containers":[{{"name":"c","ports":[{{"name":"http","containerPort":{port},"protocol":"TCP"}}]}}]}},
        "status":{{"phase":"Running","podIPs":[{{"ip":"{ip}"}}],"conditions":[{{"type":"Ready","status":"{}"}}]}}}}"#,
        if ready { "True" } else { "False" }
    )
}

fn world() -> World {
    let mut world = World::of(vec![Box::new(Slices)]);
    world.apply(r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"z1"}}}"#);
    world.apply(SERVICE);
    world.settle();
    world
}

/// Each slice as `port: address(ready) ...`, sorted.
fn slices(world: &World) -> Vec<String> {
    let show = |slice: &Arc<Value>| {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let endpoints: Vec<_> = list(&slice["endpoints"])
            .iter()
            .map(|it| format!("{}({})", json::text(&it["addresses"][0]), if it["conditions"]["ready"] == true { "ready" } else { "not" }))
            .collect();
        let ports: Vec<_> = list(&slice["ports"]).iter().map(|port| port["port"].to_string()).collect();
        format!("{}: {}", ports.join(","), endpoints.join(" "))
    };
    let mut slices: Vec<_> = world.cache.all(&kinds::ENDPOINT_SLICE).map(show).collect();
    slices.sort();
    slices
}

#[test]
fn a_service_without_pods_has_one_empty_slice_that_pods_then_fill() {
    let mut world = world();
    assert_eq!(slices(&world), [": "]);
    let before = world.names(&kinds::ENDPOINT_SLICE);
    world.apply(&pod("a", "10.244.0.1", true, 8080));
    world.apply(&pod("b", "10.244.0.2", false, 8080));
    world.settle();
    assert_eq!(slices(&world), ["8080: 10.244.0.1(ready) 10.244.0.2(not)"]);
    assert_eq!(world.names(&kinds::ENDPOINT_SLICE), before, "the slice keeps its name");
    let slice = world.cache.all(&kinds::ENDPOINT_SLICE).next().expect("a slice");
    assert_eq!(slice["endpoints"][0]["zone"], "z1");
    assert_eq!(json::label(slice, "team"), Some("shop"));
}

#[test]
fn pods_whose_named_port_differs_stand_in_slices_of_their_own() {
    let mut world = world();
    world.apply(&pod("a", "10.244.0.1", true, 8080));
    world.apply(&pod("b", "10.244.0.2", true, 9090));
    world.settle();
    assert_eq!(slices(&world), ["8080: 10.244.0.1(ready)", "9090: 10.244.0.2(ready)"]);
    world.delete(&kinds::POD, "b", crate::plan::Propagation::Background);
    world.settle();
    assert_eq!(slices(&world), ["8080: 10.244.0.1(ready)"]);
}

#[test]
fn a_slice_holds_a_hundred() {
    let mut world = world();
    for n in 0..150 {
        world.apply(&pod(&format!("p{n}"), &format!("10.244.1.{n}"), true, 8080));
    }
    world.settle();
    let mut sizes: Vec<_> = world.cache.all(&kinds::ENDPOINT_SLICE).map(|it| it["endpoints"].as_array().map_or(0, Vec::len)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100]);
}

#[test]
fn a_terminating_pod_serves_but_is_not_ready() {
    let mut world = world();
    world.apply(
        &pod("a", "10.244.0.1", true, 8080)
            .replace(r#""labels""#, r#""finalizers":["x/y"],"deletionTimestamp":"2026-01-01T00:00:00Z","labels""#),
    );
    world.settle();
    let slice = world.cache.all(&kinds::ENDPOINT_SLICE).next().expect("a slice");
    assert_eq!(slice["endpoints"][0]["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
}

#[test]
fn a_slice_that_somebody_deleted_comes_back() {
    let mut world = world();
    world.apply(&pod("a", "10.244.0.1", true, 8080));
    world.settle();
    let name = world.names(&kinds::ENDPOINT_SLICE)[0].clone();
    world.delete(&kinds::ENDPOINT_SLICE, &name, crate::plan::Propagation::Background);
    world.settle();
    assert_eq!(slices(&world), ["8080: 10.244.0.1(ready)"]);
}
