use serde_json::json;

use super::*;
use crate::testing::Folder;

/// Indexes labels, and claims what an object says it claims.
pub(super) struct Plain;

impl Indexer for Plain {
    fn index(&self, _: CollectionId, object: &Value) -> Index {
        Index::new([("metadata.name", object["metadata"]["name"].as_str().unwrap_or_default())])
    }

    fn claims(&self, _: CollectionId, object: &Value) -> Vec<String> {
        object["claim"].as_str().map(str::to_owned).into_iter().collect()
    }
}

const THINGS: CollectionId = CollectionId(0);

pub(super) fn open(folder: &Folder) -> Store {
    // The thread of a store that was just dropped may still hold the file.
    for _ in 0..500 {
        match Store::open(folder.path(), &["things".to_owned(), "others".to_owned()], Plain) {
            Ok(store) => return store,
            Err(_) => std::thread::yield_now(),
        }
    }
    Store::open(folder.path(), &["things".to_owned(), "others".to_owned()], Plain).expect("a store")
}

fn thing(name: &str, value: u32) -> Value {
    json!({"metadata": {"name": name}, "value": value})
}

async fn put(store: &Store, name: &'static str, value: u32) -> u64 {
    store.write(move |txn| Ok(txn.put(THINGS, &mut thing(name, value)).revision)).await.expect("written")
}

async fn delete(store: &Store, name: &'static str) -> u64 {
    let gone = store.write(move |txn| {
        let mut last = txn.get(THINGS, name).expect("there").parse();
        Ok(txn.delete(THINGS, &mut last).revision)
    });
    gone.await.expect("deleted")
}

/// Makes thing `a` hold a claim.
async fn claim(store: &Store, claim: &'static str) {
    let written = store.write(move |txn| Ok(txn.put(THINGS, &mut json!({"metadata": {"name": "a"}, "claim": claim})).revision));
    written.await.expect("written");
}

/// Name and value of all things, in order.
fn things(objects: &Objects) -> String {
    let texts = range(objects, "", None).map(|(key, stored)| format!("{key}={}", stored.parse()["value"]));
    texts.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_revisions_go_on() {
    let folder = Folder::new("restart");
    let store = open(&folder);
    put(&store, "a", 1).await;
    put(&store, "b", 2).await;
    let last = delete(&store, "a").await;
    drop(store);
    let store = open(&folder);
    assert_eq!(things(&store.snapshot(THINGS).0), "b=2");
    assert_eq!(store.revision(), last, "a deletion counts too");
    assert!(put(&store, "c", 3).await > last);
}

#[tokio::test]
async fn a_write_that_is_refused_or_panics_or_is_dry_leaves_nothing() {
    let folder = Folder::new("nothing");
    let store = open(&folder);
    let before = put(&store, "a", 1).await;
    let refused: Result<(), Refusal> = store
        .write(|txn| {
            txn.put(THINGS, &mut json!({"metadata": {"name": "b"}, "claim": "x"}));
            Err(Refusal::bad_request("no"))
        })
        .await;
    assert_eq!(refused.map_err(|refusal| refusal.code), Err(400));
    let panicked: Result<(), Refusal> = store
        .write(|txn| {
            txn.put(THINGS, &mut thing("b", 2));
            panic!("a test of what a panic does")
        })
        .await;
    assert_eq!(panicked.map_err(|refusal| refusal.code), Err(500));
    let dry = store.write(|txn| {
        txn.discard();
        Ok(txn.put(THINGS, &mut thing("b", 2)).revision)
    });
    assert_eq!(dry.await.expect("tried"), before + 1);
    let held = store.write(|txn| Ok(txn.holder("x").is_some())).await;
    assert!(!held.expect("read"), "a claim of a refused write");
    assert_eq!((things(&store.snapshot(THINGS).0).as_str(), store.revision()), ("a=1", before));
}

#[tokio::test]
async fn the_past_can_be_seen_as_long_as_it_is_known() {
    let folder = Folder::new("past");
    let store = open(&folder);
    let first = put(&store, "a", 1).await;
    let second = put(&store, "a", 2).await;
    put(&store, "b", 3).await;
    delete(&store, "a").await;
    let at = |revision| store.snapshot_at(THINGS, revision).map(|objects| things(&objects));
    assert_eq!(at(first).as_deref(), Some("a=1"));
    assert_eq!(at(second).as_deref(), Some("a=2"));
    assert_eq!(at(store.revision()).as_deref(), Some("b=3"));
    let Since::Events { events, revision } = store.since(THINGS, first, 100) else { panic!("all of it is known") };
    assert_eq!(events.iter().map(|event| event.deleted).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(revision, store.revision());
    assert!(matches!(store.since(CollectionId(1), first, 100), Since::Events { events, .. } if events.is_empty()));

    let last = store.revision();
    drop(store);
    let store = open(&folder);
    assert!(matches!(store.since(THINGS, first, 100), Since::Forgotten(_)));
    assert!(matches!(store.since(THINGS, last, 100), Since::Events { .. }), "a watch that had seen everything goes on");
}

#[tokio::test]
async fn a_long_history_forgets_its_start() {
    let folder = Folder::new("long");
    let store = open(&folder);
    let first = put(&store, "a", 0).await;
    for _ in 0..3 {
        let many = store.write(|txn| {
            for n in 0..MAX_HISTORY as u32 {
                txn.put(THINGS, &mut thing("a", n));
            }
            Ok(())
        });
        many.await.expect("written");
    }
    assert!(matches!(store.since(THINGS, first, 10), Since::Forgotten(_)));
    assert!(store.snapshot_at(THINGS, first).is_none());
    let recent = store.revision() - 10;
    assert!(matches!(store.since(THINGS, recent, 100), Since::Events { events, .. } if events.len() == 10));
}

#[tokio::test]
async fn a_claim_goes_with_its_object() {
    let folder = Folder::new("claims");
    let store = open(&folder);
    let holder = |claim: &'static str| {
        let store = &store;
        async move { store.write(move |txn| Ok(txn.holder(claim).map(|(_, key)| key.to_string()))).await.expect("read") }
    };
    claim(&store, "x").await;
    assert_eq!(holder("x").await.as_deref(), Some("a"));
    claim(&store, "y").await;
    assert_eq!((holder("x").await, holder("y").await.as_deref()), (None, Some("a")));
    delete(&store, "a").await;
    assert_eq!(holder("y").await, None);
}

#[test]
fn keys_of_one_namespace_stand_together() {
    let mut objects = Objects::new_sync();
    for (namespace, name) in [("a", "x"), ("a-b", "y"), ("a", "z"), ("b", "w"), ("", "cluster")] {
        let stored = Stored { revision: 1, json: Bytes::from_static(b"{}"), index: Index::default() };
        objects.insert_mut(key(namespace, name), Arc::new(stored));
    }
    let of = |namespace: &str, start: Option<&str>| range(&objects, namespace, start).map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(of("a", None), ["a/x", "a/z"]);
    assert_eq!(of("a", Some("a/x\0")), ["a/z"]);
    assert_eq!(of("", None), ["a-b/y", "a/x", "a/z", "b/w", "cluster"]);
}
