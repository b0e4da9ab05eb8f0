//! Two nodes on one machine: each agent has the network namespace that it was started in, and nothing else.

use crate::cluster::objects::web;
use crate::cluster::{Cluster, ask};

#[test]
fn two_namespaces_run_their_own_agents_and_do_not_see_each_other() {
    let (one, two) = (Cluster::new(2), Cluster::new(2));
    // The same address means another pod on each side.
    one.objects("web.json", web("10.96.0.80", &[1]));
    two.objects("web.json", web("10.96.0.80", &[2]));
    let (mut of_one, _of_two) = (one.agent(), two.agent());
    let who = |cluster: &Cluster| cluster.outside.run(|| ask::who("10.96.0.80:80"));
    assert_eq!((who(&one), who(&two)), (Ok("pod-1".to_string()), Ok("pod-2".to_string())));

    // Each process is asked by its own socket.
    let trace = |cluster: &Cluster| cluster.command(&["trace", "tcp://10.96.0.80:80"]).1;
    assert!(trace(&one).contains("10.244.0.11:80"), "{}", trace(&one));
    assert!(trace(&two).contains("10.244.0.12:80"), "{}", trace(&two));

    // What happens to one does not touch the other.
    let rules = two.rules();
    of_one.signal_term();
    assert_eq!(of_one.exit_code(), Ok(0));
    assert_eq!(one.command(&["cleanup"]).0, 0);
    assert_eq!(one.rules(), Vec::<String>::new());
    assert_eq!(two.rules(), rules);
    assert_eq!(who(&two), Ok("pod-2".to_string()));
    assert_eq!(two.admin("agent", "/issues"), "");
}
