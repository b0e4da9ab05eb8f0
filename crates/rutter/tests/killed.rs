//! kill -9 at any moment: rules stay, packets flow, and a restart finds what it would have written.

use std::time::Duration;

use crate::cluster::ask::{self, Lines};
use crate::cluster::load::Load;
use crate::cluster::objects::web;
use crate::cluster::{Cluster, Random, times, until};

#[test]
fn rules_outlive_a_killed_agent_and_a_restart_rewrites_none() {
    let cluster = Cluster::new(2);
    cluster.objects("web.json", web("10.96.0.80", &[1, 2]));
    let mut agent = cluster.agent();
    let load = load(&cluster);
    let rules = cluster.rules();
    let mut random = Random::new();
    for _ in 0..times(4, 100) {
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        agent.kill_9();
        load.goes_on_for(3);
        assert_eq!(cluster.rules(), rules, "nobody is there to change them");
        agent = cluster.agent();
        assert_eq!(cluster.rules(), rules, "after the restart");
        for metric in ["rutter_proxy_rules_total", "rutter_proxy_elements_total", "rutter_proxy_transactions_total"] {
            assert_eq!(cluster.proxy_metric(metric), 0.0, "{metric}");
        }
    }
    load.goes_on_for(3);
    load.end();
}

#[test]
fn an_agent_killed_in_the_middle_of_a_change_is_made_good_by_the_next() {
    let cluster = Cluster::new(3);
    cluster.objects("web.json", web("10.96.0.80", &[1, 2]));
    let mut agent = cluster.agent();
    let load = load(&cluster);
    let mut random = Random::new();
    for _ in 0..times(4, 100) {
        let pods = random.some_of(&[1, 2, 3]);
        cluster.objects("web.json", web("10.96.0.80", &pods));
        std::thread::sleep(Duration::from_micros(random.below(6_000) as u64));
        agent.kill_9();
        load.goes_on_for(3);
        agent = cluster.agent();
        until("the kernel has the pods", || (backends(&cluster) == pods.len()).then_some(()));
        assert_eq!(cluster.dropped("pick") + cluster.dropped("nodeport-pick"), 0);
    }
    load.end();
}

#[test]
fn an_agent_killed_while_it_starts_leaves_nothing_that_a_start_cannot_mend() {
    let cluster = Cluster::new(1);
    cluster.objects("web.json", web("10.96.0.80", &[1]));
    let mut random = Random::new();
    for _ in 0..times(4, 100) {
        let mut agent = cluster.start_agent(&[]);
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        agent.kill_9();
    }
    let _agent = cluster.agent();
    assert_eq!(cluster.outside.run(|| ask::who("10.96.0.80:80")), Ok("pod-1".to_string()));
    assert_eq!(cluster.outside.run(|| ask::who("192.0.2.1:30080")), Ok("pod-1".to_string()));
}

/// New connections, and two that are never closed.
fn load(cluster: &Cluster) -> Load {
    let mut load = Load::default();
    load.add("connections to the cluster IP", &cluster.outside, |_| ask::who("10.96.0.80:80").map(drop));
    load.add("connections to the node port", &cluster.outside, |_| ask::who("192.0.2.1:30080").map(drop));
    for (what, to) in [("one connection to the cluster IP", "10.96.0.80:9000"), ("one connection to the node port", "192.0.2.1:30900")] {
        let mut kept = cluster.outside.run(|| Lines::connect(to)).expect("a connection");
        let first = kept.ask().expect("an answer");
        load.add(what, &cluster.outside, move |_| match kept.ask() {
            Ok(pod) if pod == first => Ok(()),
            other => Err(format!("{first} has become {other:?}")),
        });
    }
    load
}

/// How many endpoints the map `backends` has for port 80 of `web`.
fn backends(cluster: &Cluster) -> usize {
    let listed = cluster.node.output(&["nft", "list", "map", "ip", "rutter", "backends"]);
    listed.matches("10.96.0.80 . tcp . 80 . ").count()
}
