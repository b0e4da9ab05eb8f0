use super::*;
use crate::garbage::GarbageCollector;
use crate::plan::Propagation;
use crate::service_accounts::ServiceAccounts;
use crate::world::World;

#[test]
fn a_namespace_is_given_its_account_and_emptied_before_it_goes() {
    let accounts = ServiceAccounts { root_ca: "PEM".to_string() };
    let mut world = World::of(vec![Box::new(Namespaces), Box::new(accounts), Box::new(GarbageCollector)]);
    world.apply(r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"},"spec":{"finalizers":["kubernetes"]}}"#);
    world.apply(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop","finalizers":["x/wait"]},"spec":{}}"#);
    world.apply(r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"happened","namespace":"shop"}}"#);
    world.settle();
    assert_eq!(world.names(&kinds::SERVICE_ACCOUNT), ["default"]);
    assert_eq!(world.names(&kinds::CONFIG_MAP), ["kube-root-ca.crt"]);

    world.delete(&kinds::NAMESPACE, "shop", Propagation::Background);
    world.settle();
    assert_eq!(world.names(&kinds::SERVICE_ACCOUNT), ["default"], "Pods go first, and this one holds on");
    let waiting = json::condition(world.get(&kinds::NAMESPACE, "shop"), "NamespaceContentRemaining").expect("told");
    assert!(json::text(&waiting["message"]).contains("pods. has 1 resource instances"), "{waiting}");

    world.apply(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop","finalizers":[]}}"#);
    world.settle();
    assert!(world.names(&kinds::NAMESPACE).is_empty());
    assert!(world.names(&kinds::SERVICE_ACCOUNT).is_empty());
    assert!(world.names(&kinds::EVENT).is_empty(), "also what no controller follows");
}
