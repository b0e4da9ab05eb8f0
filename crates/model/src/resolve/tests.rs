//! The three views as text, step by step; and that steps and order mean nothing.

use super::*;
use crate::testing::{self, changes, model};

mod issues;
mod names;
mod packets;
mod property;
mod routes;

/// A model after `steps`, each of them one update.
fn after(mut model: Model, steps: &[&str]) -> Model {
    for step in steps {
        model.update(changes(step));
    }
    model
}

#[test]
fn an_update_that_changes_nothing_is_no_revision() {
    let text = "node a zone=z1; cidr 10.96.0.0/12; svc web 10.96.0.10:80; ep 10.0.1.2:8080; namespace x; class nginx k8s.io/ingress-nginx";
    let mut model = model();
    let first = model.update(changes(text));
    assert_eq!(first.revision, Revision(1));
    let second = model.update(changes(&format!("{text}; remove svc other; remove slice other; remove secret other")));
    assert_eq!(second.revision, Revision(1));
    assert!(
        Arc::ptr_eq(&first.node, &second.node) && Arc::ptr_eq(&first.names, &second.names) && Arc::ptr_eq(&first.routes, &second.routes)
    );
}

#[test]
fn views_that_nothing_touched_keep_theirs() {
    let mut model = model();
    let first = model.update(changes("node a; svc web 10.96.0.10:80; ep 10.0.1.2:8080; namespace x"));
    let second = model.update(changes("namespace y"));
    assert!(Arc::ptr_eq(&first.node, &second.node) && Arc::ptr_eq(&first.issues, &second.issues));
    assert_eq!((second.node.revision, second.names.revision, second.revision), (Revision(1), Revision(2), Revision(2)));
    let third = model.update(changes("svc web 10.96.0.10:80; ep 10.0.1.2:8080; svc api 10.96.0.11:80"));
    assert_eq!(third.node.since(Revision(1)), crate::Changed::Keys(vec![key("api")]));
    assert_eq!(first.node.services.len(), 1, "who holds an old view keeps it whole");
}

#[test]
fn views_that_nobody_wants_stay_empty() {
    let text = "svc web 10.96.0.10:80; namespace x; class nginx k8s.io/ingress-nginx; ingress i class=nginx /=web:80";
    for want in
        [Want { packets: true, ..Want::default() }, Want { names: true, ..Want::default() }, Want { routes: true, ..Want::default() }]
    {
        let views = after(Model::new(Config { want, ..Config::default() }), &[text]).views().clone();
        assert_eq!(!views.node.services.is_empty(), want.packets);
        assert_eq!(!views.names.services.is_empty(), want.names);
        assert_eq!(!views.routes.hosts.is_empty(), want.routes);
    }
}

fn key(name: &str) -> crate::node::NodeKey {
    crate::node::NodeKey { service: crate::ServiceName::new("default", name), family: crate::Family::V4 }
}
