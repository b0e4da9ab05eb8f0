use super::*;
use crate::deployment::Deployments;
use crate::replica_set::ReplicaSets;
use crate::world::World;

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,
    "selector":{"matchLabels":{"app":"web"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},
    "template":{"metadata":{"labels":{"app":"web"}},"spec":{}}}}"#;

fn world() -> World {
    let mut world = World::of(vec![Box::new(GarbageCollector), Box::new(Deployments), Box::new(ReplicaSets)]);
    world.apply(DEPLOYMENT);
    world.settle();
    assert_eq!(world.names(&kinds::POD).len(), 2);
    world
}

/// How many Deployments, ReplicaSets and Pods are left.
fn left(world: &World) -> [usize; 3] {
    [&kinds::DEPLOYMENT, &kinds::REPLICA_SET, &kinds::POD].map(|kind| world.names(kind).len())
}

#[test]
fn what_an_owner_made_goes_after_it_in_the_background() {
    let mut world = world();
    world.delete(&kinds::DEPLOYMENT, "web", Propagation::Background);
    world.settle();
    assert_eq!(left(&world), [0, 0, 0]);
}

#[test]
fn in_the_foreground_the_owner_goes_last() {
    let mut world = world();
    world.delete(&kinds::DEPLOYMENT, "web", Propagation::Foreground);
    assert_eq!(left(&world), [1, 1, 2], "it waits");
    world.settle();
    assert_eq!(left(&world), [0, 0, 0]);
}

#[test]
fn orphans_stay_and_name_no_owner() {
    let mut world = world();
    world.delete(&kinds::DEPLOYMENT, "web", Propagation::Orphan);
    world.settle();
    assert_eq!(left(&world), [0, 1, 2]);
    assert!(json::controller(world.cache.all(&kinds::REPLICA_SET).next().expect("a set")).is_none());
}

#[test]
fn an_object_with_one_owner_left_is_kept_and_forgets_the_other() {
    let mut world = World::of(vec![Box::new(GarbageCollector)]);
    for name in ["a", "b"] {
        world.apply(&format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#));
    }
    let uids = ["a", "b"].map(|name| json::uid(world.get(&kinds::CONFIG_MAP, name)).to_string());
    let owner = |name: &str, uid: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"{name}","uid":"{uid}"}}"#);
    world.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"s","ownerReferences":[{},{}]}}}}"#,
        owner("a", &uids[0]),
        owner("b", &uids[1])
    ));
    world.delete(&kinds::CONFIG_MAP, "a", Propagation::Background);
    world.settle();
    let owners = &world.get(&kinds::SECRET, "s")["metadata"]["ownerReferences"];
    assert_eq!(owners.as_array().map(Vec::len), Some(1));
    world.delete(&kinds::CONFIG_MAP, "b", Propagation::Background);
    world.settle();
    assert!(world.names(&kinds::SECRET).is_empty());
}

#[test]
fn an_owner_of_a_kind_that_nobody_serves_keeps_its_objects() {
    let mut world = World::of(vec![Box::new(GarbageCollector)]);
    world.apply(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","ownerReferences":[{"apiVersion":"x.test/v1","kind":"Thing","name":"t","uid":"1"}]}}"#,
    );
    world.settle();
    assert_eq!(world.names(&kinds::SECRET), ["s"]);
}
