//! SIGTERM: what is in hand is finished, rules stay.

use crate::cluster::ask::{self, Http};
use crate::cluster::objects::web;
use crate::cluster::{Cluster, until};

#[test]
fn requests_in_flight_are_finished_and_rules_stay() {
    let cluster = Cluster::new(2);
    cluster.objects("web.json", web("10.96.0.80", &[1, 2]));
    let mut agent = cluster.agent();
    let rules = cluster.rules();
    let mut requests: Vec<Http> = (0..8)
        .map(|n| {
            cluster.outside.run(|| {
                let mut http = Http::connect("192.0.2.1:80").expect("a connection");
                http.send("web.test", &format!("/?delay={}ms", 300 + 50 * n)).expect("sent");
                http
            })
        })
        .collect();
    agent.signal_term();
    for request in &mut requests {
        let answer = request.receive().expect("an answer");
        assert_eq!((answer.status, answer.closes), (200, true));
    }
    drop(requests);
    assert_eq!(agent.exit_code(), Ok(0));
    assert_eq!(cluster.rules(), rules);
    assert!(cluster.outside.run(|| ask::who("10.96.0.80:80")).is_ok(), "packets flow without us");
}

#[test]
fn an_idle_agent_stops_and_starts_again_on_the_same_ports() {
    let cluster = Cluster::new(1);
    cluster.objects("web.json", web("10.96.0.80", &[1]));
    for _ in 0..2 {
        let mut agent = cluster.agent();
        // A connection that waits for nothing is no reason to stay.
        let mut idle = cluster.outside.run(|| Http::connect("192.0.2.1:80")).expect("a connection");
        assert_eq!(idle.get("web.test", "/").expect("an answer").status, 200);
        agent.signal_term();
        assert_eq!(agent.exit_code(), Ok(0));
        until("the port is closed", || cluster.outside.run(|| ask::connect("192.0.2.1:80")).err());
    }
}
