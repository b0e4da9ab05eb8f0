//! The API origin against a real kube-apiserver, with no more rights than the table of permissions says.
//!
//! Needs `.cache/peers` with the binaries etcd, kube-apiserver and kubectl; without them the test says that it is skipped.
#![allow(clippy::disallowed_methods)] // the servers are children of the test

#[path = "../../../client/tests/rig/server.rs"]
mod rig;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use model::facts::{IngressName, LoadBalancerName};
use model::resolve::Want;
use model::{SecretName, ServiceName};
use runtime::{Readiness, Registry, drain};
use source::{Config, OnDemand, Origin, Permission, Pods, Report, Running};
use tokio::sync::watch;
use tokio::time::timeout;

use rig::Rig;

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.7.7, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 8080}]
endpoints: [{addresses: [10.244.0.1]}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: shop}
stringData: {note: first}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: shop}
stringData: {note: nobody refers to it}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: nginx
  tls: [{hosts: [a.example], secretName: cert}]
  rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
";

/// What the table of permissions allows and no more, the Secrets by their names.
fn role(permissions: &[Permission], without: &str) -> String {
    let mut rules = String::new();
    for Permission { group, resource, verbs, by_name } in permissions.iter().filter(|permission| permission.resource != without) {
        let names = if *by_name { ", resourceNames: [cert, late]" } else { "" };
        writeln!(rules, "- {{apiGroups: ['{group}'], resources: [{resource}], verbs: [{}]{names}}}", verbs.join(", ")).expect("a string");
    }
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: rutter}}\nrules:\n{rules}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: rutter}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: rutter}}\n\
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: rutter}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_is_lowered_into_views() {
    let Some(mut rig) = Rig::start("a_real_api_server_is_lowered_into_views") else { return };
    let want = Want { packets: true, names: true, routes: true };
    let model = model::Config { node_name: "a".into(), want, ..model::Config::default() };
    let config = Config { model, on_demand: OnDemand::EVERYTHING };
    let permissions = source::permissions(&config);
    rig.apply(OBJECTS);
    rig.apply(&role(&permissions, "endpointslices"));

    let (trigger, drain) = drain::channel();
    let (readiness, registry) = (Readiness::default(), Registry::default());
    let origin = Origin::Api(client::Origin::Kubeconfig(rig.kubeconfig("token-rutter")));
    let source = source::start(config, origin, readiness.register("objects"), drain, &registry).await.expect("a kubeconfig");

    nothing_without_a_required_kind(&rig, &source, &readiness, &permissions).await;
    first_views(&source).await;
    changes(&rig, &source).await;
    kinds_on_demand(&rig, &source, &permissions).await;
    secrets_that_come_into_use(&rig, &source).await;
    reports(&rig, &source).await;
    an_outage(&mut rig, &source, &registry).await;
    takes_the_manifests(&rig);
    trigger.start();
}

async fn nothing_without_a_required_kind(rig: &Rig, source: &Running, readiness: &Readiness, permissions: &[Permission]) {
    // Everything else has been listed by the time that the Ingress's Secret is asked for.
    until("the other kinds are listed", async || {
        let known = source.inspector.ask(|model| model.facts().secrets.len() == 1 && !model.facts().services.is_empty()).await;
        known == Some(true)
    })
    .await;
    assert!(!readiness.is_ready() && source.names.borrow().revision == model::Revision(0), "no view without slices");
    rig.apply(&role(permissions, ""));
    timeout(Duration::from_secs(60), readiness.wait()).await.expect("allowed by now");
}

async fn first_views(source: &Running) {
    assert_eq!(endpoints(source), ["10.244.0.1"], "complete from the first view on");
    assert_eq!(notes(source), [("cert".to_owned(), "first".to_owned())], "only what is referred to, and there from the start");
    let missing: Vec<_> = source.issues.borrow().iter().map(|(object, issue)| format!("{object} {issue}")).collect();
    assert_eq!(missing, ["ServiceImport * the API server does not serve serviceimports (NotReadable)"]);
    let cidrs = source.node.borrow().service_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(cidrs, ["10.96.0.0/16", "fd00:96::/112"]);
}

async fn changes(rig: &Rig, source: &Running) {
    rig.kubectl(&[
        "-n",
        "shop",
        "patch",
        "endpointslice",
        "web-1",
        "--type=json",
        "-p",
        r#"[{"op": "add", "path": "/endpoints/-", "value": {"addresses": ["10.244.0.2"]}}]"#,
    ]);
    until("a new endpoint", async || endpoints(source) == ["10.244.0.1", "10.244.0.2"]).await;
    rig.kubectl(&["create", "service", "clusterip", "gone", "--tcp=80"]);
    let gone = ServiceName::new("default", "gone");
    until("a new Service", async || source.names.borrow().services.get(&gone).is_some()).await;
    rig.kubectl(&["delete", "service", "gone"]);
    until("a Service is gone", async || source.names.borrow().services.get(&gone).is_none()).await;
    rig.kubectl(&["create", "configmap", "unread"]);
}

async fn kinds_on_demand(rig: &Rig, source: &Running, permissions: &[Permission]) {
    let n_pods = || source.names.borrow().pods.len();
    let (pods, nothing) = (OnDemand { pods: Pods::All, ..OnDemand::NOTHING }, OnDemand::NOTHING);
    let of_node = |name: &str| OnDemand { pods: Pods::OfNode(name.into()), ..OnDemand::NOTHING };
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tool", "namespace": "shop"},
        "spec": {"nodeName": "a", "automountServiceAccountToken": false, "containers": [{"name": "x", "image": "x"}]}}"#;
    rig.apply(pod);
    rig.kubectl(&[
        "-n",
        "shop",
        "patch",
        "pod",
        "tool",
        "--subresource=status",
        "-p",
        r#"{"status": {"podIPs": [{"ip": "10.244.0.9"}], "podIP": "10.244.0.9"}}"#,
    ]);
    until("a Pod that is asked for", async || n_pods() == 1).await;
    source.demand.follow(nothing.clone()).await.expect("nothing is refused");
    assert_eq!(n_pods(), 0, "given up");
    assert!(source.issues.borrow().is_empty(), "what is not asked for is not missed");
    source.demand.follow(pods.clone()).await.expect("allowed");
    assert_eq!(n_pods(), 1, "there when it is said to be");
    for (node, n) in [("b", 0), ("a", 1)] {
        source.demand.follow(of_node(node)).await.expect("allowed");
        assert_eq!(n_pods(), n, "those of node {node}");
    }
    rig.apply(&role(permissions, "pods"));
    let mut refused = String::new();
    until("the role counts", async || {
        source.demand.follow(nothing.clone()).await.expect("nothing is refused");
        let followed = source.demand.follow(pods.clone()).await;
        refused = followed.as_ref().map_or_else(ToString::to_string, |()| String::new());
        followed.is_err()
    })
    .await;
    assert!(refused.starts_with("pods cannot be followed: pods is forbidden: User \"rutter\" cannot list resource"), "{refused}");
    rig.apply(&role(permissions, ""));
    until("it is allowed again", async || source.demand.follow(pods.clone()).await.is_ok()).await;
    source.demand.follow(OnDemand::EVERYTHING).await.expect("an optional kind that is not served is no obstacle");
}

async fn secrets_that_come_into_use(rig: &Rig, source: &Running) {
    rig.kubectl(&[
        "-n",
        "shop",
        "patch",
        "ingress",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec": {"tls": [{"hosts": ["a.example"], "secretName": "late"}]}}"#,
    ]);
    until("a Secret that is no longer referred to is gone", async || notes(source).is_empty()).await;
    rig.kubectl(&["-n", "shop", "create", "secret", "generic", "late", "--from-literal=note=second"]);
    until("a Secret that is referred to before it exists", async || notes(source) == [("late".to_owned(), "second".to_owned())]).await;
    rig.kubectl(&["-n", "shop", "patch", "secret", "late", "-p", r#"{"stringData": {"note": "third"}}"#]);
    until("a Secret that changes", async || notes(source) == [("late".to_owned(), "third".to_owned())]).await;
}

async fn reports(rig: &Rig, source: &Running) {
    rig.kubectl(&["-n", "shop", "annotate", "ingress", "web", "nginx.ingress.kubernetes.io/ssl-redirect=perhaps"]);
    until("an Event", async || rig.kubectl(&["-n", "shop", "describe", "ingress", "web"]).contains("Warning  InvalidValue")).await;
    let addresses = vec![LoadBalancerName::Ip("192.0.2.1".parse().expect("an address")), LoadBalancerName::Hostname("lb.example".into())];
    let ingress = IngressName { namespace: "shop".into(), name: "web".into() };
    source.reports.send(Report::IngressStatus { ingress, addresses }).await.expect("the task runs");
    let status = ["-n", "shop", "get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress}"];
    until("a status", async || rig.kubectl(&status) == r#"[{"ip":"192.0.2.1"},{"hostname":"lb.example"}]"#).await;
}

async fn an_outage(rig: &mut Rig, source: &Running, registry: &Registry) {
    until("all is watched", async || source.staleness.worst() == Some(Duration::ZERO)).await;
    rig.stop_api_server();
    until("an outage shows", async || source.staleness.worst().is_some_and(|worst| worst > Duration::ZERO)).await;
    until("and is counted", async || !registry.render().contains("rutter_facts_staleness_seconds{kind=\"Service\"} 0\n")).await;
    assert_eq!(endpoints(source), ["10.244.0.1", "10.244.0.2"], "what is known stays");
    rig.start_api_server();
    rig.kubectl(&["-n", "shop", "patch", "endpointslice", "web-1", "--type=json", "-p", r#"[{"op": "remove", "path": "/endpoints/0"}]"#]);
    until("what happened meanwhile", async || endpoints(source) == ["10.244.0.2"]).await;
    until("all is watched again", async || source.staleness.worst() == Some(Duration::ZERO)).await;
}

/// What `deploy/` holds is valid, and nothing in it is deprecated.
fn takes_the_manifests(rig: &Rig) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let files = std::fs::read_dir(folder).expect("deploy/").map(|file| file.expect("a file").path());
    let manifests: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    assert!(manifests.len() >= 6, "{manifests:?}");
    for path in manifests {
        rig.kubectl(&["apply", "--dry-run=server", "--warnings-as-errors", "-f", path.to_str().expect("UTF-8")]);
    }
}

fn endpoints(source: &Running) -> Vec<String> {
    let names = latest(&source.names);
    let service = names.services.get(&ServiceName::new("shop", "web"));
    service.iter().flat_map(|service| service.endpoints()).map(|endpoint| endpoint.address.to_string()).collect()
}

/// The Secrets that routes hold, each with its note.
fn notes(source: &Running) -> Vec<(String, String)> {
    let routes = latest(&source.routes);
    let note = |(name, secret): (&SecretName, &std::sync::Arc<model::facts::Secret>)| {
        let note = secret.data.get("note").map(|note| String::from_utf8_lossy(note).into_owned()).unwrap_or_default();
        (name.name.to_string(), note)
    };
    routes.secrets.iter().map(note).collect()
}

fn latest<V: Clone>(view: &watch::Receiver<V>) -> V {
    view.borrow().clone()
}

/// Looks until it holds, for a minute at most: followers that failed come back after up to 30 s.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
