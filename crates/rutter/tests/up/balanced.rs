//! Services of type LoadBalancer on `rutter up`: the node's address, by what kubectl shows and by packets of everybody who may send some.

use serde_json::json;

use super::session::Kubectl;
use super::{Machine, NODE_IP, OUTSIDE_IP, kubectl};
use crate::cluster::ask::{self, who};
use crate::cluster::until;

/// The machine's second address.
const MOVED_IP: &str = "198.51.100.1";

const SERVICE: &str = "/api/v1/namespaces/default/services/web";

#[test]
fn a_load_balancer_has_the_address_of_the_node() {
    let Some(program) = kubectl("a_load_balancer_has_the_address_of_the_node") else { return };
    let machine = Machine::up();
    let kubectl = Kubectl { machine: &machine, program };
    kubectl.run("create deployment web --image=rutter/echo --port=80 --replicas=2");
    kubectl.run("expose deployment web --type=LoadBalancer --port=8080 --target-port=80");
    kubectl.shows("get svc web", &[&format!(" {NODE_IP} 8080:")]);
    kubectl.shows("events --for svc/web", &[&format!("Ensured load balancer at {NODE_IP}")]);
    let pods = machine.settles_at("web", 2);
    let is_one = |name: &str| pods.iter().any(|pod| pod["metadata"]["name"] == name);

    // From outside, from the node, from a pod.
    let url = format!("{NODE_IP}:8080");
    let from_outside = || machine.outside.run(|| who(&url));
    assert!(is_one(&until("it answers outside", || from_outside().ok())));
    assert!(is_one(&machine.node.run(|| who(&url)).expect("it answers on the node")));
    let curl = |limit: &str| machine.inside(&pods[0], "echo", &["curl", "-sS", "--max-time", limit, &format!("http://{url}")]);
    curl("5").expect("it answers in a pod");

    // Whom the source ranges leave out gets no answer there; the node port stays open to all, as with every cloud's.
    machine.patch(SERVICE, &json!({"spec": {"loadBalancerSourceRanges": ["203.0.113.0/24"]}}));
    until("a stranger is kept out", || from_outside().is_err().then_some(()));
    machine.patch(SERVICE, &json!({"spec": {"loadBalancerSourceRanges": [format!("{OUTSIDE_IP}/32")], "externalTrafficPolicy": "Local"}}));
    let sees_the_client = || {
        let answer = machine.outside.run(|| ask::get(&url, "anyone.test", "/")).ok()?;
        answer.echo("remote").starts_with(&format!("{OUTSIDE_IP}:")).then_some(())
    };
    until("policy Local keeps the client's address", sees_the_client);

    // Who comes second waits until the first is gone.
    kubectl.run("expose deployment web --type=LoadBalancer --port=8080 --target-port=80 --name=second");
    kubectl.shows("get svc second", &["LoadBalancer", " <pending> "]);
    let taken = format!("port 8080/TCP of {NODE_IP} is taken by Service default/web");
    kubectl.shows("events --for svc/second", &["Warning SyncLoadBalancerFailed", &taken]);
    kubectl.run("expose deployment web --type=LoadBalancer --port=80 --name=third");
    kubectl.shows("events --for svc/third", &["is taken by the ingress (--ingress-http)"]);
    machine.patch(SERVICE, &json!({"spec": {"type": "ClusterIP", "externalTrafficPolicy": null, "loadBalancerSourceRanges": null}}));
    kubectl.shows("get svc web", &["ClusterIP", " <none> 8080/TCP "]);
    kubectl.shows("get svc second", &[&format!(" {NODE_IP} 8080:")]);
    until("the second answers outside", || from_outside().ok());

    // The node moves.
    machine.node.ip(&format!("addr add {MOVED_IP}/24 dev out0"));
    machine.node.ip(&format!("addr del {NODE_IP}/24 dev out0"));
    kubectl.shows("get svc second", &[&format!(" {MOVED_IP} 8080:")]);
    kubectl.shows("get nodes -o wide", &[&format!(" {MOVED_IP} ")]);
}
