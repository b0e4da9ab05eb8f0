//! Two nodes on one machine, each agent with the network namespace that it was started in and nothing else; two proxies in one.

use crate::cluster::objects::web;
use crate::cluster::{Cluster, NODE, ask, until};

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

#[test]
fn a_second_proxy_in_one_namespace_is_refused_with_the_name_of_the_first() {
    let cluster = Cluster::new(1);
    cluster.objects("web.json", web("10.96.0.80", &[1]));
    let mut agent = cluster.agent();
    let rules = cluster.rules();
    let (code, said) = cluster.command(&["proxy", "--objects", &cluster.objects.text(), "--node-name", "node"]);
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(code, 1, "{said}");
    let wanted = format!("rutter: process {} is the service proxy of this network namespace already: stop it first", agent.id());
    assert_eq!(last, wanted);
    assert_eq!(cluster.rules(), rules);
    // However the first ends, the next may start.
    agent.kill_9();
    cluster.agent();
    assert_eq!(cluster.outside.run(|| ask::who("10.96.0.80:80")), Ok("pod-1".to_string()));
}

#[test]
fn a_second_dns_server_on_one_port_is_refused_with_the_name_of_the_first() {
    let cluster = Cluster::new(0);
    let objects = cluster.objects.text();
    let flags = ["dns", "--objects", &objects, "--listen", &format!("{NODE}:53")];
    let mut first = cluster.start(&cluster.node, &flags);
    first.is_ready();
    let (code, said) = cluster.command(&flags);
    let wanted = format!("rutter: --listen: cannot listen on tcp {NODE}:53: process {} (rutter) has it: ", first.id());
    assert!(code == 1 && said.lines().last().unwrap_or_default().starts_with(&wanted), "{said}");
    // However the first ends, the next may start.
    first.kill_9();
    cluster.start(&cluster.node, &flags).is_ready();
}

#[test]
fn what_kube_proxy_left_goes_once_our_rules_are_there() {
    let cluster = Cluster::new(1);
    cluster.node.output(&["nft", "add table ip kube-proxy; add table ip theirs"]);
    let _agent = cluster.agent();
    let tables = || cluster.node.output(&["nft", "list", "tables", "ip"]);
    until("its table goes", || (!tables().contains("kube-proxy")).then_some(()));
    assert_eq!(tables(), "table ip theirs\ntable ip rutter\n");
}
