//! Random changes: in any order and any number of steps, the views are those of the facts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

use super::*;
use crate::random::Random;
use crate::{Changed, View};

/// One random statement: the kind and name of the object, and its text.
fn statement(random: &mut Random) -> (String, String) {
    let remove = random.below(5) == 0;
    let (object, words) = match random.below(13) {
        0..=2 => (format!("svc s{}", random.below(4)), service(random)),
        3..=6 => (format!("slice e{}", random.below(7)), slice(random)),
        7 => {
            let zone = random.one_of(&["", "zone=z1", "zone=z2", "zone=z1 leaving", "ip=192.168.0.2"]);
            (format!("node {}", random.one_of(&["a", "a", "b"])), zone.to_owned())
        }
        8 => (format!("class c{}", random.below(2)), random.one_of(&["k8s.io/ingress-nginx", "example.com/other"]).to_owned()),
        9 => (format!("secret t{}", random.below(3)), String::new()),
        10 => (format!("cidr 10.{}.0.0/16", random.below(3)), String::new()),
        _ => (format!("ingress i{}", random.below(5)), ingress(random)),
    };
    let text = if remove { format!("remove {object}") } else { format!("{object} {words}") };
    (object, text)
}

fn service(random: &mut Random) -> String {
    let address = random.one_of(&[
        "10.96.0.1",
        "10.96.0.1 fd00::1",
        "fd00::1",
        "headless",
        "external=example.com",
        "",
        "10.96.0.2 headless-label",
        "10.96.0.3 proxy=x",
    ]);
    let ports = random.one_of(&["http:80", "http:80 dns:53/udp", ":80", "http:80>8080@30080", "", "http:81>80 :80"]);
    let extra = random.one_of(&[
        "",
        "",
        "local",
        "etp-local hc=31000",
        "itp-local",
        "eip=192.0.2.1",
        "lb=1.2.3.4 range=10.0.0.0/8",
        "lb=2001:db8::1 etp-local",
        "affinity=60",
    ]);
    format!("{address} {ports} {extra}")
}

fn slice(random: &mut Random) -> String {
    let family = random.one_of(&["v4", "v4", "v6"]);
    let ports = random.one_of(&["http:8080", "http:8080 dns:53/udp", ":8080", "", "http:0"]);
    let labels = random.one_of(&["", "", "", "label:service.kubernetes.io/headless=", "trigger=7"]);
    let mut text = format!("{family} {ports} {labels} of=s{}", random.below(4));
    for _ in 0..random.below(4) {
        let ip = if family == "v6" && random.below(8) > 0 {
            format!("fd00:1::{}", random.below(4))
        } else {
            format!("10.0.0.{}", random.below(4))
        };
        let node = random.one_of(&["", "on=a", "on=b"]);
        let state = random.one_of(&["", "", "", "unready", "terminating", "gone"]);
        let hints = random.one_of(&["", "zones=z1", "zones=z2", "zones=z1 nodes=a", "nodes=b zones=z1,z2"]);
        text += &format!("; ep {ip} {node} {state} {hints}");
    }
    text
}

fn ingress(random: &mut Random) -> String {
    let class = random.one_of(&["class=c0", "class=c0", "class=c1", "annotation=nginx", "annotation=x", ""]);
    let extra = random.one_of(&["", "", "default=s0:80", "use-regex", "rewrite=/x", "tls=t0:foo.com", "tls=t1 tls=t2:bar.com"]);
    let mut text = format!("{class} at={} {extra}", random.below(3));
    for _ in 0..random.below(4) {
        let host = random.one_of(&["foo.com", "bar.com", "*.foo.com", ""]);
        let path = random.one_of(&["/", "/a", "/a/", "/a!", "/a/b", "/[a-z]+~"]);
        let backend = random.one_of(&["s0:80", "s1:http", "s2:8080", "s3:80", "s9:80", "bucket"]);
        text += &format!(" {host}{path}={backend}");
    }
    text
}

fn entries<K: Eq + Hash + Clone, V: Clone>(view: &View<K, V>) -> HashMap<K, V> {
    view.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn same<K: Eq + Hash + Clone + Debug, V: Clone + PartialEq + Debug>(what: &str, ours: &View<K, V>, theirs: &View<K, V>) {
    assert_eq!(entries(ours), entries(theirs), "{what}");
}

/// The incremental model against one made from nothing.
fn equal(ours: &Model, theirs: &Model) {
    let (a, b) = (ours.views(), theirs.views());
    same("packets", &a.node.services, &b.node.services);
    assert_eq!((&a.node.node, &a.node.service_cidrs), (&b.node.node, &b.node.service_cidrs));
    same("names", &a.names.services, &b.names.services);
    same("hosts", &a.routes.hosts, &b.routes.hosts);
    same("upstreams", &a.routes.upstreams, &b.routes.upstreams);
    same("secrets", &a.routes.secrets, &b.routes.secrets);
    same("wanted secrets", ours.wanted_secrets(), theirs.wanted_secrets());
    assert_eq!(testing::show_issues(&a.issues), testing::show_issues(&b.issues));
}

/// Brings `old` up to `new` by what `new` says has changed since, and nothing else.
fn catches_up<K: Eq + Hash + Clone + Debug, V: Clone + PartialEq + Debug>(what: &str, old: &View<K, V>, since: Revision, new: &View<K, V>) {
    let mut entries_now = entries(old);
    let Changed::Keys(keys) = new.since(since) else { return };
    for key in keys {
        match new.get(&key) {
            Some(value) => entries_now.insert(key, value.clone()),
            None => entries_now.remove(&key),
        };
    }
    assert_eq!(entries_now, entries(new), "{what} since {since}");
}

#[test]
fn any_order_and_any_steps_give_the_same_views() {
    for seed in 1..=4 {
        let mut random = Random::new(seed);
        let mut ours = model();
        let mut present: BTreeMap<String, String> = BTreeMap::new();
        // How much there was to compare, over all steps.
        let mut seen = [0; 4];
        let mut held = ours.views().clone();
        for step in 0..1_500 {
            let batch: Vec<(String, String)> = (0..1 + random.below(3)).map(|_| statement(&mut random)).collect();
            let text: Vec<&str> = batch.iter().map(|(_, text)| &**text).collect();
            // One by one: `changes` puts slices last, and a batch may hold an object twice.
            let before = ours.views().clone();
            let views = ours.update(text.iter().flat_map(|text| changes(text)));
            assert!(views.revision == before.revision || views.revision.0 == before.revision.0 + 1);
            if views.revision == before.revision {
                assert!(Arc::ptr_eq(&views.node, &before.node) && Arc::ptr_eq(&views.routes, &before.routes));
            }
            for (object, text) in batch {
                match text.starts_with("remove") {
                    true => present.remove(&object),
                    false => present.insert(object, text),
                };
            }
            catches_up("packets", &held.node.services, held.node.revision, &views.node.services);
            catches_up("names", &held.names.services, held.names.revision, &views.names.services);
            catches_up("hosts", &held.routes.hosts, held.routes.revision, &views.routes.hosts);
            catches_up("upstreams", &held.routes.upstreams, held.routes.revision, &views.routes.upstreams);
            let routes = &views.routes;
            for (seen, now) in
                seen.iter_mut().zip([views.node.services.len(), routes.hosts.len(), routes.upstreams.len(), views.issues.iter().count()])
            {
                *seen += now;
            }
            if random.below(10) == 0 {
                held = views;
            }
            if step % 5 == 0 {
                let mut texts: Vec<&String> = present.values().collect();
                for at in (1..texts.len()).rev() {
                    texts.swap(at, random.below(at + 1));
                }
                let mut theirs = model();
                let n_batches = 1 + random.below(4);
                for chunk in texts.chunks(texts.len().max(1).div_ceil(n_batches)) {
                    theirs.update(chunk.iter().flat_map(|text| changes(text)));
                }
                equal(&ours, &theirs);
            }
        }
        let [services, hosts, upstreams, issues] = seen;
        assert!(services > 500 && hosts > 500 && upstreams > 500 && issues > 500, "seed {seed} tests little: {seen:?}");
    }
}
