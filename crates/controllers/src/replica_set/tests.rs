use super::*;
use crate::world::World;

fn set(replicas: i64) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{{"name":"web"}},"spec":{{"replicas":{replicas},
        "selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},
        "spec":{{"containers":[{{"name":"c","image":"i","unknownToUs":1}}]}}}}}}}}"#
    )
}

fn world(replicas: i64) -> World {
    let mut world = World::of(vec![Box::new(ReplicaSets)]);
    world.apply(&set(replicas));
    world.settle();
    world
}

#[test]
fn makes_pods_of_the_whole_template() {
    let mut world = world(2);
    assert_eq!(world.names(&kinds::POD).len(), 2);
    let pod = world.cache.all(&kinds::POD).next().expect("a pod");
    assert_eq!(pod["spec"]["containers"][0]["unknownToUs"], 1);
    assert_eq!(json::controller(pod).expect("an owner")["name"], "web");
    world.run_pods();
    world.settle();
    let status = &world.get(&kinds::REPLICA_SET, "web")["status"];
    assert_eq!((&status["readyReplicas"], &status["fullyLabeledReplicas"], &status["replicas"]), (&json!(2), &json!(2), &json!(2)));
}

#[test]
fn the_pod_that_serves_nobody_goes_first() {
    let mut world = world(2);
    world.run_pods();
    world.apply(&set(3));
    world.settle();
    let ready: Vec<_> = world.cache.all(&kinds::POD).filter(|pod| pods::is_ready(pod)).map(|pod| json::name(pod).to_string()).collect();
    world.apply(&set(2));
    world.settle();
    assert_eq!(world.names(&kinds::POD), ready);
}

#[test]
fn takes_in_orphans_that_match_and_lets_go_of_pods_that_no_longer_do() {
    let mut world = World::of(vec![Box::new(ReplicaSets)]);
    world.apply(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"stray","labels":{"app":"web"}},"spec":{}}"#);
    world.apply(&set(1));
    world.settle();
    assert_eq!(world.names(&kinds::POD), ["stray"]);
    assert!(json::controller(world.get(&kinds::POD, "stray")).is_some());
    world.apply(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"stray","labels":{"app":"debug"}}}"#);
    world.settle();
    assert!(json::controller(world.get(&kinds::POD, "stray")).is_none());
    assert_eq!(world.names(&kinds::POD).len(), 2, "another takes its place");
}
