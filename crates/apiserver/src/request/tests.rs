use super::*;
use crate::schema::Gvk;

fn check(path: &str, expected: &str) {
    let kinds = Kinds::load();
    let found = match Target::parse(&kinds, path) {
        Some(Target { kind, namespace, name, subresource, watch }) => {
            let Gvk { kind, .. } = &kind.gvk;
            format!("{kind} {namespace:?} {name:?} {subresource:?}{}", if watch { " watch" } else { "" })
        }
        None => "nothing".to_owned(),
    };
    assert_eq!(found, expected, "{path}");
}

#[test]
fn paths_name_collections_objects_and_subresources() {
    check("/api/v1/services", r#"Service "" "" """#);
    check("/api/v1/namespaces/a/services", r#"Service "a" "" """#);
    check("/api/v1/namespaces/a/services/web", r#"Service "a" "web" """#);
    check("/api/v1/namespaces/a/services/web/status", r#"Service "a" "web" "status""#);
    check("/apis/apps/v1/namespaces/a/deployments/web/scale", r#"Deployment "a" "web" "scale""#);
    check("/api/v1/nodes/n%31", r#"Node "" "n1" """#);
}

#[test]
fn a_namespace_is_an_object_and_what_others_are_in() {
    check("/api/v1/namespaces", r#"Namespace "" "" """#);
    check("/api/v1/namespaces/a", r#"Namespace "" "a" """#);
    check("/api/v1/namespaces/a/finalize", r#"Namespace "" "a" "finalize""#);
    check("/api/v1/namespaces/a/status", r#"Namespace "" "a" "status""#);
}

#[test]
fn old_watch_paths_are_understood() {
    check("/api/v1/watch/namespaces/a/configmaps/c", r#"ConfigMap "a" "c" "" watch"#);
    check("/api/v1/watch/nodes", r#"Node "" "" "" watch"#);
}

#[test]
fn everything_else_is_not_there() {
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/services",
        "/api/v1/bogus",
        "/apis/apps/v1/namespaces/a/deployments/web/bogus",
        "/api/v1/services/web",
        "/api/v1/namespaces/a/nodes",
        "/api/v1/namespaces/a/services/web/status/x",
        "/healthz",
    ] {
        check(path, "nothing");
    }
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse("labelSelector=a%3Db%2Cc&watch=1&x&dryRun=All&dryRun=%zz&q=a+b");
    assert_eq!(query.text("labelSelector"), "a=b,c");
    assert!(query.flag("watch") && query.flag("x") && !query.flag("y"));
    assert_eq!(query.all("dryRun").collect::<Vec<_>>(), ["All", "%zz"]);
    assert_eq!(query.text("q"), "a b");
}
