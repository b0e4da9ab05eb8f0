use super::*;
use crate::world::World;

#[test]
fn ready_and_unready_pods_stand_in_lists_of_their_own() {
    let mut world = World::of(vec![Box::new(EndpointsOfServices)]);
    world.apply(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},"spec":{"ipFamilies":["IPv4"],
        "selector":{"app":"web"},"ports":[{"port":80,"protocol":"TCP","targetPort":8080}]}}"#,
    );
    for (name, ip, ready) in [("b", "10.244.0.2", "True"), ("a", "10.244.0.1", "True"), ("c", "10.244.0.3", "False")] {
        world.apply(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"web"}}}},"spec":{{"nodeName":"n"}},
            "status":{{"podIPs":[{{"ip":"{ip}"}}],"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        ));
    }
    world.settle();
    let endpoints = world.get(&kinds::ENDPOINTS, "web");
    assert_eq!(json::label(endpoints, "a"), Some("b"));
    let ips = |list: &str| -> Vec<_> {
        let list = endpoints["subsets"][0][list].as_array().cloned().unwrap_or_default();
        list.iter().map(|address| json::text(&address["ip"]).to_string()).collect()
    };
    assert_eq!(ips("addresses"), ["10.244.0.1", "10.244.0.2"]);
    assert_eq!(ips("notReadyAddresses"), ["10.244.0.3"]);
    assert_eq!(endpoints["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));

    world.delete(&kinds::SERVICE, "web", Propagation::Background);
    world.settle();
    assert!(world.names(&kinds::ENDPOINTS).is_empty());
}
