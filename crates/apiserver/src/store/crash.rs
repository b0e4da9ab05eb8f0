//! `kill -9` under writes: what was acknowledged is there, and revisions never go back.
//!
//! The test binary runs itself as the process that is killed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;

use super::tests::{Plain, open};
use super::*;
use crate::testing::{Folder, Random};

/// Where the killed process has its store.
const FOLDER: &str = "RUTTER_STORE_CRASH_FOLDER";

const WRITERS: usize = 8;
const ROUNDS: u64 = 30;
const THINGS: CollectionId = CollectionId(0);

/// The process that is killed; as a test of its own it has nothing to do.
///
/// Each writer counts up its object, deletes it at every fifth step, and says `writer count revision` once a write is acknowledged.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let names = ["things".to_owned(), "others".to_owned()];
    let store = Arc::new(Store::open(Path::new(&folder), &names, Plain).expect("a store"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let writers: Vec<_> = (0..WRITERS).map(|writer| runtime.spawn(count_up(store.clone(), writer))).collect();
    for writer in writers {
        let _ = runtime.block_on(writer);
    }
}

async fn count_up(store: Arc<Store>, writer: usize) {
    let name = format!("w{writer}");
    let mut count = store.get(THINGS, &name).map_or(0, |stored| stored.parse()["count"].as_u64().unwrap_or_default());
    loop {
        count += 1;
        let name = name.clone();
        let revision = store.write(move |txn| {
            let mut object = json!({"metadata": {"name": name}, "count": count});
            let revision = txn.put(THINGS, &mut object).revision;
            // Gone and back at once: both are one write, or neither is.
            if count.is_multiple_of(5) {
                txn.delete(THINGS, &mut object);
                return Ok(txn.put(THINGS, &mut object).revision);
            }
            Ok(revision)
        });
        let Ok(revision) = revision.await else { return };
        let line = format!("{writer} {count} {revision} .\n");
        if std::io::stdout().write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = Folder::new("crash");
    let mut random = Random::new(9);
    let (mut acknowledged, mut reached) = (BTreeMap::new(), 0);
    for round in 0..ROUNDS {
        let wanted = random.below(60);
        for (writer, count, revision) in run_and_kill(&folder, wanted) {
            assert!(revision > reached, "round {round}: revision {revision} was used before the crash");
            acknowledged.insert(writer, (count, revision));
        }
        let store = open(&folder);
        for (writer, (count, revision)) in &mut acknowledged {
            let stored = store.get(THINGS, &format!("w{writer}")).unwrap_or_else(|| panic!("round {round}: w{writer} is lost"));
            let found = stored.parse()["count"].as_u64().unwrap_or_default();
            // One more may have been written than was heard of.
            assert!((*count..=*count + 1).contains(&found), "round {round}: w{writer} is {found}, acknowledged was {count}");
            assert!(stored.revision >= *revision && store.revision() >= stored.revision, "round {round}: w{writer}");
            // Seen is as good as acknowledged.
            (*count, *revision) = (found, stored.revision);
        }
        for (_, stored) in range(&store.snapshot(THINGS).0, "", None) {
            assert_eq!(stored.parse()["metadata"]["resourceVersion"], stored.revision.to_string(), "round {round}");
        }
        reached = store.revision();
    }
    assert!(acknowledged.len() == WRITERS && reached > ROUNDS, "hardly anything was written: {acknowledged:?}");
}

/// Lets the other process write until it has acknowledged `wanted` writes, kills it, and gives all that it acknowledged.
#[expect(clippy::disallowed_methods, reason = "a process that can be killed is what is tested")]
fn run_and_kill(folder: &Folder, wanted: usize) -> Vec<(usize, u64, u64)> {
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test's program"))
        .args(["--exact", "store::crash::writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the writing process");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let read = |line: String| -> Option<(usize, u64, u64)> {
        // The test harness begins the first line; a line that the kill cut off has no dot.
        let words: Vec<&str> = line.split(' ').collect();
        let [.., writer, count, revision, "."] = words.as_slice() else { return None };
        Some((writer.parse().ok()?, count.parse().ok()?, revision.parse().ok()?))
    };
    let mut heard = Vec::new();
    while heard.len() <= wanted {
        let Some(line) = lines.next() else { break };
        heard.extend(read(line));
    }
    child.kill().expect("killed");
    heard.extend(lines.filter_map(read));
    child.wait().expect("gone");
    heard
}
