//! What a Pod asks for and gets, or is told that it does not get.

use serde_json::{Value, json};

use super::Machine;
use crate::cluster::until;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(machine: &Machine, name: &str, spec: Value) {
    machine.create(PODS, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}));
}

/// Waits for the Event of this reason about a pod; gives its message.
fn event(machine: &Machine, pod: &str, reason: &str) -> String {
    until(reason, || {
        let events = machine.get("/api/v1/namespaces/default/events");
        let is_it = |event: &&Value| event["reason"] == reason && event["involvedObject"]["name"] == pod;
        let found = events["items"].as_array()?.iter().find(is_it)?;
        found["message"].as_str().map(str::to_string)
    })
}

#[test]
fn a_pod_hears_of_what_it_does_not_get_and_ends_when_its_time_is_up() {
    let machine = Machine::up();
    let ports = json!([{"containerPort": 80, "hostPort": 8080}]);
    let container = json!({"name": "c", "image": "rutter/echo", "ports": ports, "resources": {"limits": {"memory": "1Mi"}}});
    pod(&machine, "asks", json!({"containers": [container]}));
    assert_eq!(
        event(&machine, "asks", "FieldsIgnored"),
        "this node runs the pod without heeding spec.containers[c].ports[0].hostPort, spec.containers[c].resources.limits"
    );

    let sleeps = json!([{"name": "c", "image": "any", "command": ["sleep", "60"]}]);
    pod(&machine, "ends", json!({"containers": sleeps, "activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1}));
    event(&machine, "ends", "DeadlineExceeded");
    until("it has failed and ended", || {
        let status = &machine.get(&format!("{PODS}/ends"))["status"];
        let ended = status["containerStatuses"][0]["state"]["terminated"].is_object();
        (status["phase"] == "Failed" && status["reason"] == "DeadlineExceeded" && ended).then_some(())
    });

    let lease = machine.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1");
    let node = machine.get("/api/v1/nodes/node1");
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
}
