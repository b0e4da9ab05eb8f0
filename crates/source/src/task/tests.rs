use model::facts::{LoadBalancerName, Namespace};
use model::resolve::{IngressConfig, Want};
use runtime::{Readiness, drain};

use super::*;

struct World {
    batches: mpsc::Sender<Batch>,
    names: watch::Receiver<Arc<NameView>>,
    early_names: watch::Receiver<Arc<NameView>>,
    issues: watch::Receiver<Arc<Issues>>,
    wanted_secrets: watch::Receiver<View<SecretName, ()>>,
    reports: mpsc::Sender<Report>,
    listed: watch::Receiver<Listings>,
    readiness: Readiness,
    registry: Registry,
    _trigger: runtime::Trigger,
}

/// A task that waits for `missing` and, if `by_name`, for the Secrets that are wanted.
fn start(missing: &[&'static str], default_certificate: Option<SecretName>) -> World {
    let (batches, out) = mpsc::channel(16);
    let (wanted, wanted_secrets) = watch::channel(View::new());
    let (_asks, asks) = mpsc::channel(1);
    let (reports, reported) = mpsc::channel(1);
    let (trigger, drain) = drain::channel();
    let (readiness, registry) = (Readiness::default(), Registry::default());
    let (outlets, _, names, _, issues) = outlets();
    let early_names = outlets.early_names.subscribe();
    let missing = missing.iter().copied().collect();
    let told = Told { batches: out, missing, wanted_secrets: Some(wanted), demand: None, freshness: Vec::new() };
    let (listings, listed) = watch::channel(Listings::new());
    let ingress = IngressConfig { default_certificate, ..IngressConfig::default() };
    let want = Want { names: true, routes: true, ..Want::default() };
    let task = Task {
        model: Model::new(model::Config { want, ingress, ..model::Config::default() }),
        told,
        asks,
        reports: reported,
        outlets,
        listings,
        statuses: report::Statuses::nowhere(),
        metrics: Metrics::new(&registry),
        drain,
    };
    tokio::spawn(task.run(readiness.register("objects")));
    World { batches, names, early_names, issues, wanted_secrets, reports, listed, readiness, registry, _trigger: trigger }
}

fn namespace(name: &str) -> Change {
    Change::Namespace(name.into(), Some(Arc::new(Namespace::default())))
}

fn issue(namespace: &str, field: &str) -> Change {
    let object = model::ServiceName::new(namespace, "web").object();
    Change::Issues(object, vec![Issue::new(field, model::Reason::InvalidValue, "no port")])
}

impl World {
    async fn send(&self, changes: Vec<Change>, listed: Option<Listed>) {
        self.batches.send(Batch { changes, listed }).await.expect("the task runs");
    }

    /// Sends a batch that the task has taken once this returns: the queue holds nothing before it any more.
    async fn settled(&self) {
        while self.batches.capacity() < self.batches.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }

    async fn namespaces(&mut self) -> Vec<String> {
        let view = self.names.borrow_and_update().clone();
        let mut names: Vec<_> = view.namespaces.iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn nothing_is_published_before_every_kind_was_listed() {
    let mut world = start(&["services", "namespaces"], None);
    world.send(vec![namespace("a")], Some(Listed::Kind("namespaces", Scope::default()))).await;
    world.settled().await;
    assert!(!world.names.has_changed().expect("the task runs"));
    world.early_names.changed().await.expect("the task runs");
    assert_eq!(world.early_names.borrow().namespaces.iter().count(), 1, "but told as what is known so far");
    assert!(!world.readiness.is_ready());
    world.send(Vec::new(), Some(Listed::Kind("services", Scope::default()))).await;
    world.names.changed().await.expect("a view");
    assert_eq!(world.namespaces().await, ["a"]);
    world.readiness.wait().await;
}

#[tokio::test]
async fn the_first_views_wait_for_the_secrets_that_are_wanted_by_then() {
    let certificate = SecretName::new("default", "cert");
    let mut world = start(&["services"], Some(certificate.clone()));
    world.send(vec![namespace("a")], Some(Listed::Kind("services", Scope::default()))).await;
    world.wanted_secrets.changed().await.expect("the task runs");
    assert!(world.wanted_secrets.borrow().get(&certificate).is_some());
    world.settled().await;
    assert!(!world.names.has_changed().expect("the task runs"));
    world.send(Vec::new(), Some(Listed::Secret(certificate))).await;
    world.names.changed().await.expect("a view");
}

#[tokio::test]
async fn that_there_is_nothing_is_told_and_what_comes_next_is_later() {
    let mut world = start(&["services"], None);
    world.send(Vec::new(), Some(Listed::Kind("services", Scope::default()))).await;
    world.names.changed().await.expect("a view");
    let first = world.names.borrow_and_update().revision;
    assert!(first > Revision(0));
    world.send(vec![namespace("a")], None).await;
    world.names.changed().await.expect("a view");
    assert!(world.names.borrow().revision > first);
}

#[tokio::test]
async fn a_kind_counts_as_listed_once_the_views_hold_it() {
    let mut world = start(&["services"], None);
    let demand = crate::Demand::new(None, world.listed.clone());
    demand.follow(crate::OnDemand::EVERYTHING).await.expect("an origin that reads everything");
    world.send(vec![namespace("a")], Some(Listed::Kind("pods", Scope::default()))).await;
    world.settled().await;
    assert!(world.listed.borrow().is_empty(), "nothing is published yet");
    world.send(vec![namespace("b")], Some(Listed::Kind("services", Scope::default()))).await;
    world.listed.changed().await.expect("the task runs");
    assert_eq!(world.namespaces().await, ["a", "b"]);
    world.send(Vec::new(), Some(Listed::Refused("pods", Scope::default(), "pods is forbidden".into()))).await;
    world.send(Vec::new(), Some(Listed::GivenUp("services"))).await;
    let told = world.listed.wait_for(|listings| listings.len() == 1).await.expect("the task runs");
    assert_eq!(told.get("pods"), Some(&(Scope::default(), Listing::Refused("pods is forbidden".into()))));
}

#[tokio::test]
async fn what_is_asked_for_is_waited_for_and_what_is_refused_is_told() {
    let mut world = start(&[], None);
    let (asked, mut wanted) = watch::channel(crate::OnDemand::NOTHING);
    let demand = crate::Demand::new(Some(Arc::new(asked)), world.listed.clone());
    let pods = crate::OnDemand { pods: crate::Pods::All, ..crate::OnDemand::NOTHING };
    let asked_for = pods.clone();
    let following = tokio::spawn(async move { (demand.follow(pods.clone()).await, demand.follow(pods).await, demand) });
    wanted.wait_for(|wanted| *wanted == asked_for).await.expect("asked for");
    world.send(vec![namespace("a")], Some(Listed::Refused("pods", Scope::default(), "pods is forbidden".into()))).await;
    let (first, second, demand) = following.await.expect("no panic");
    assert_eq!(first, second);
    assert_eq!(first.expect_err("refused").to_string(), "pods cannot be followed: pods is forbidden");
    world.send(Vec::new(), Some(Listed::Kind("pods", Scope::default()))).await;
    world.listed.wait_for(|listings| listings.get("pods") == Some(&(Scope::default(), Listing::Whole))).await.expect("the task runs");
    demand.follow(asked_for).await.expect("there by now");
}

#[tokio::test]
async fn what_is_ready_together_is_one_revision() {
    let mut world = start(&[], None);
    for name in ["a", "b", "c"] {
        world.send(vec![namespace(name)], None).await;
    }
    world.names.changed().await.expect("a view");
    assert_eq!(world.namespaces().await, ["a", "b", "c"]);
    assert_eq!(world.names.borrow().revision, Revision(1));
}

#[tokio::test]
async fn a_view_that_did_not_change_is_not_published_again() {
    let mut world = start(&[], None);
    world.send(vec![namespace("a")], None).await;
    world.names.changed().await.expect("a view");
    world.names.borrow_and_update();
    world.send(vec![namespace("a"), issue("shop", "spec.ports[0].port")], None).await;
    world.issues.wait_for(|issues| !issues.is_empty()).await.expect("issues");
    assert!(!world.names.has_changed().expect("the task runs"));
}

#[tokio::test]
async fn sinks_and_lowering_tell_of_one_object_without_clearing_each_other() {
    let mut world = start(&[], None);
    world.send(vec![issue("shop", "spec.ports[0].port")], None).await;
    let object = model::ServiceName::new("shop", "web").object();
    let told = Issue::new("spec.tls[0]", model::Reason::InvalidValue, "no certificate");
    world.reports.send(Report::Issues { object: object.clone(), issues: vec![told] }).await.expect("the task runs");
    let two = world.issues.wait_for(|issues| issues.of(&object).len() == 2).await;
    drop(two.expect("both"));
    world.send(vec![Change::Issues(object.clone(), Vec::new())], None).await;
    let left = world.issues.wait_for(|issues| issues.of(&object).len() == 1).await.expect("one").of(&object)[0].field.clone();
    assert_eq!(&*left, "spec.tls[0]");
    world.reports.send(Report::Issues { object: object.clone(), issues: Vec::new() }).await.expect("the task runs");
    let well = world.issues.wait_for(|issues| issues.of(&object).is_empty());
    drop(tokio::time::timeout(std::time::Duration::from_secs(5), well).await.expect("in time").expect("none"));
}

#[tokio::test]
async fn a_status_report_without_an_api_changes_nothing() {
    let mut world = start(&[], None);
    let ingress = model::facts::IngressName { namespace: "shop".into(), name: "web".into() };
    let addresses = vec![LoadBalancerName::Hostname("lb.example".into())];
    world.reports.send(Report::IngressStatus { ingress, addresses }).await.expect("the task runs");
    world.send(vec![namespace("a")], None).await;
    world.names.changed().await.expect("a view");
    assert_eq!(world.namespaces().await, ["a"]);
}

#[tokio::test]
async fn metrics_count_objects_and_issues() {
    let mut world = start(&[], None);
    world.send(vec![namespace("a"), namespace("b"), issue("shop", "x"), issue("pay", "x")], None).await;
    world.names.changed().await.expect("a view");
    world.settled().await;
    let text = world.registry.render();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.contains("timestamp")).collect();
    assert!(lines.contains(&"rutter_objects{kind=\"Namespace\"} 2"), "{text}");
    assert!(lines.contains(&"rutter_issues{kind=\"Service\",reason=\"InvalidValue\"} 2"), "{text}");
    assert!(lines.contains(&"rutter_facts_revision 1"), "{text}");
}
