use super::*;
use crate::replica_set::ReplicaSets;
use crate::world::World;

fn deployment(replicas: i64, image: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":{replicas},
        "revisionHistoryLimit":2,"progressDeadlineSeconds":600,"selector":{{"matchLabels":{{"app":"web"}}}},
        "strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxSurge":"25%","maxUnavailable":"25%"}}}},
        "template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}}}}"#
    )
}

fn world(replicas: i64) -> World {
    let mut world = World::of(vec![Box::new(Deployments), Box::new(ReplicaSets)]);
    world.apply(&deployment(replicas, "one"));
    world.settle();
    world
}

/// `image: wanted/available` of each ReplicaSet, oldest first.
fn sets(world: &World) -> String {
    let mut sets: Vec<_> = world.cache.all(&kinds::REPLICA_SET).collect();
    sets.sort_by_key(|set| json::text(&set["metadata"]["creationTimestamp"]).to_string());
    let show = |set: &&Arc<Value>| {
        format!("{}: {}/{}", json::text(&set["spec"]["template"]["spec"]["containers"][0]["image"]), replicas(set), available(set))
    };
    sets.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// Rolls on step by step, Pods becoming ready after each; gives what stood at each step.
fn roll(world: &mut World) -> Vec<String> {
    let mut steps = vec![sets(world)];
    for _ in 0..20 {
        world.run_pods();
        world.settle();
        let step = sets(world);
        if steps.last() == Some(&step) {
            return steps;
        }
        steps.push(step);
    }
    panic!("never done: {steps:?}");
}

#[test]
fn makes_one_replica_set_and_says_when_it_is_available() {
    let mut world = world(3);
    assert_eq!(sets(&world), "one: 3/0");
    assert_eq!(json::condition(world.get(&kinds::DEPLOYMENT, "web"), "Available").expect("told")["status"], "False");
    world.run_pods();
    world.settle();
    let deployment = world.get(&kinds::DEPLOYMENT, "web");
    assert_eq!(deployment["status"]["availableReplicas"], 3);
    assert_eq!(json::condition(deployment, "Progressing").expect("told")["reason"], "NewReplicaSetAvailable");
    assert_eq!(json::annotation(deployment, REVISION), Some("1"));
    assert_eq!(deployment["metadata"]["generation"], 1, "a revision is no change of what is wanted");
    assert_eq!(world.events.iter().filter(|event| event.starts_with("ScalingReplicaSet")).count(), 1);
}

#[test]
fn rolls_by_steps_that_keep_within_the_fences() {
    let mut world = world(4);
    roll(&mut world);
    world.apply(&deployment(4, "two"));
    world.settle();
    let steps = roll(&mut world);
    assert_eq!(steps.first().map(String::as_str), Some("one: 3/3, two: 2/0"));
    assert_eq!(steps.last().map(String::as_str), Some("one: 0/0, two: 4/4"));
    for step in &steps {
        let numbers: Vec<i64> = step.split([' ', '/', ',']).filter_map(|word| word.parse().ok()).collect();
        let (wanted, available) = (numbers[0] + numbers[2], numbers[1] + numbers[3]);
        assert!(wanted <= 5 && available >= 3, "{step}");
    }
    assert_eq!(json::annotation(world.get(&kinds::DEPLOYMENT, "web"), REVISION), Some("2"));
}

#[test]
fn an_undo_takes_the_old_replica_set_and_a_new_revision() {
    let mut world = world(2);
    roll(&mut world);
    for image in ["two", "one"] {
        world.apply(&deployment(2, image));
        world.settle();
        roll(&mut world);
    }
    assert_eq!(sets(&world), "one: 2/2, two: 0/0");
    let revisions: Vec<_> = world.cache.all(&kinds::REPLICA_SET).map(|set| revision(set)).collect();
    assert!(revisions.contains(&3) && revisions.contains(&2), "{revisions:?}");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_both_sides_in_proportion() {
    let mut world = world(4);
    roll(&mut world);
    world.apply(&deployment(4, "two"));
    world.settle();
    assert_eq!(sets(&world), "one: 3/3, two: 2/0");
    world.apply(&deployment(8, "two"));
    world.settle();
    let total: i64 = world.cache.all(&kinds::REPLICA_SET).map(|set| replicas(set)).sum();
    assert!(total <= 10, "{}", sets(&world));
    assert_eq!(roll(&mut world).last().map(String::as_str), Some("one: 0/0, two: 8/8"));
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let mut world = world(2);
    roll(&mut world);
    let recreate = deployment(2, "two")
        .replace(r#""type":"RollingUpdate","rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"}"#, r#""type":"Recreate""#);
    world.apply(&recreate);
    world.settle();
    assert_eq!(sets(&world), "one: 0/0, two: 2/0");
}

#[test]
fn old_replica_sets_beyond_the_limit_go() {
    let mut world = world(1);
    for image in ["two", "three", "four", "five"] {
        roll(&mut world);
        world.apply(&deployment(1, image));
        world.settle();
    }
    roll(&mut world);
    assert_eq!(sets(&world), "three: 0/0, four: 0/0, five: 1/1");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = world(2);
    roll(&mut world);
    world.apply(&deployment(3, "two").replace(r#""replicas":3"#, r#""paused":true,"replicas":3"#));
    world.settle();
    roll(&mut world);
    assert_eq!(sets(&world), "one: 3/3");
}
