//! Nothing is lost: packets, node ports and URLs at once, while the pods behind them are deleted, rolled and scaled.

use client::Method;
use serde_json::{Value, json};

use super::{Machine, NODE_IP, deployment};
use crate::cluster::ask::{Http, who};
use crate::cluster::load::Load;
use crate::cluster::{times, until};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";

#[test]
fn no_request_is_lost_while_pods_are_deleted_rolled_and_scaled() {
    let machine = Machine::up();
    machine.create("/apis/apps/v1/namespaces/default/deployments", &deployment("web", 2));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30080}]},
    });
    let service = machine.create("/api/v1/namespaces/default/services", &service);
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "web.test", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
        ]}}]},
    });
    machine.create("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress);
    machine.settles_at("web", 2);
    let cluster_ip = format!("{}:80", service["spec"]["clusterIP"].as_str().expect("an address"));
    let (node_port, url) = (format!("{NODE_IP}:30080"), format!("{NODE_IP}:80"));
    until("packets are served", || machine.node.run(|| who(&cluster_ip)).ok());
    until("URLs are served", || {
        machine.outside.run(|| crate::cluster::ask::get(&url, "web.test", "/")).ok().filter(|answer| answer.status == 200)
    });

    let mut load = Load::default();
    let named = |pod: String| if pod.starts_with("web-") { Ok(()) } else { Err(format!("answered by {pod:?}")) };
    load.add("cluster IP", &machine.node, move |_| who(&cluster_ip).and_then(named));
    load.add("node port", &machine.outside, move |_| who(&node_port).and_then(named));
    let mut kept: Option<Http> = None;
    load.add("URL", &machine.outside, move |_| {
        let mut http = match kept.take() {
            Some(http) => http,
            None => Http::connect(&url).map_err(|error| format!("connecting to {url}: {error}"))?,
        };
        let answer = http.get("web.test", "/").map_err(|error| format!("{url}: {error}"))?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        kept = (!answer.closes).then_some(http);
        named(answer.echo("pod"))
    });

    for round in 0..times(2, 30) {
        load.goes_on_for(100);
        machine.call(Method::DELETE, "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb", None);
        machine.settles_at("web", 2);
        load.goes_on_for(100);
        machine.patch(DEPLOYMENT, &json!({"spec": {"template": {"metadata": {"annotations": {"round": round.to_string()}}}}}));
        until("the rollout is done", || is_rolled_out(&machine.get(DEPLOYMENT)).then_some(()));
        for replicas in [5, 1, 2] {
            machine.patch(DEPLOYMENT, &json!({"spec": {"replicas": replicas}}));
            machine.settles_at("web", replicas);
            load.goes_on_for(100);
        }
    }
    load.end();
}

/// As `kubectl rollout status` judges.
fn is_rolled_out(deployment: &Value) -> bool {
    let status = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(0);
    status("observedGeneration") >= deployment["metadata"]["generation"].as_u64().unwrap_or(0)
        && status("updatedReplicas") == wanted
        && status("replicas") == wanted
        && status("availableReplicas") == wanted
}
