//! kill -9: what was acknowledged is there, a watch tells of it once and in order, and pods live on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use client::{Client, Event, Freshness, Method, Pace, Scope};
use serde_json::{Value, json};

use super::{Machine, deployment, is_ready, talk};
use crate::cluster::ask::who;
use crate::cluster::{Random, times, until};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const N_WRITERS: usize = 3;
const N_NAMES: u64 = 10;

/// What somebody was told: by answers to writes, or by a watch.
#[derive(Default)]
struct Told {
    /// The last number of each object.
    numbers: BTreeMap<String, u64>,
    /// The newest revision.
    revision: u64,
    n: u64,
    /// Revisions told one by one.
    revisions: BTreeSet<u64>,
    /// Revisions told by a list: all up to the second, from behind the first.
    listed: Vec<(u64, u64)>,
    /// What must not have been told.
    wrong: Vec<String>,
}

/// Ends the threads of a scope, which are waited for also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

#[test]
fn every_acknowledged_write_outlives_a_killed_api() {
    let machine = Machine::new();
    machine.start_apiserver(&["--without-controllers"]);
    let (stop, written, watched) = (AtomicBool::new(false), Mutex::new(Told::default()), Mutex::new(Told::default()));
    let mut random = Random::new();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let (node, kubeconfig) = (&machine.node, machine.kubeconfig());
        for writer in 0..N_WRITERS {
            let (stop, written, kubeconfig) = (&stop, &written, kubeconfig.clone());
            scope.spawn(move || talk(node, &kubeconfig, |client| write(client, writer, stop, written)));
        }
        let (stop, watched) = (&stop, &watched);
        scope.spawn(move || talk(node, &kubeconfig, |client| watch(client, stop, watched)));
        for _ in 0..times(30, 500) {
            // Somewhere in the middle of some writes.
            let aim = lock(&written).n + 1 + random.below(40) as u64;
            until("writes are acknowledged", || (lock(&written).n >= aim).then_some(()));
            machine.kill_9();
            machine.start_apiserver(&["--without-controllers"]);
            let (numbers, revision) = {
                let written = lock(&written);
                (written.numbers.clone(), written.revision)
            };
            let list = machine.get(CONFIG_MAPS);
            for (name, number) in numbers {
                let found =
                    list["items"].as_array().and_then(|items| items.iter().find(|it| it["metadata"]["name"] == *name)).map(number_of);
                assert!(found >= Some(number), "{name} was {number}, is {found:?}");
            }
            assert!(revision_of(&list) >= revision, "revision {revision} was told, now it is {}", revision_of(&list));
        }
        let aim = lock(&written).n + 20;
        until("writes are acknowledged", || (lock(&written).n >= aim).then_some(()));
        stop.store(true, Ordering::Relaxed);
        let is_told = || lock(&written).numbers.iter().all(|(name, number)| lock(watched).numbers.get(name) >= Some(number));
        until("the watch has told of everything", || is_told().then_some(()));
    });
    let (written, watched) = (lock(&written), lock(&watched));
    eprintln!("{} writes acknowledged, {} changes watched", written.n, watched.n);
    assert_eq!((&written.wrong, &watched.wrong), (&Vec::new(), &Vec::new()));
    let missed: Vec<&u64> = written.revisions.iter().filter(|revision| !watched.has_told(**revision)).collect();
    assert_eq!(missed, Vec::<&u64>::new(), "acknowledged, and passed over by the watch; lists: {:?}", watched.listed);
    let in_a_row = written.revisions.intersection(&watched.revisions).count();
    // A busy machine lets the watch begin late after a kill, and what was written by then comes by a list.
    assert!(in_a_row * 10 > written.revisions.len(), "the watch, not lists alone, tells: {in_a_row} of {}", written.revisions.len());
}

/// Writes ever higher numbers into a few objects of its own, each until it is acknowledged.
async fn write(client: Client, writer: usize, stop: &AtomicBool, told: &Mutex<Told>) {
    let mut last = 0;
    for n in 1.. {
        let name = format!("writer{writer}-{}", n % N_NAMES);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": n.to_string()}});
        let revision = loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let path = format!("{CONFIG_MAPS}/{name}");
            let mut done = client.call(Method::PATCH, &path, Some((MERGE_PATCH, &object))).await;
            if done.as_ref().is_err_and(|error| error.code() == Some(404)) {
                done = client.call(Method::POST, CONFIG_MAPS, Some((JSON, &object))).await;
            }
            match done {
                Ok(object) => break revision_of(&object),
                Err(_) => tokio::time::sleep(Duration::from_millis(3)).await,
            }
        };
        let mut told = lock(told);
        if revision <= last {
            told.wrong.push(format!("{name} was written at {revision}, after a write at {last}"));
        }
        last = revision;
        told.revision = told.revision.max(revision);
        told.revisions.insert(revision);
        told.numbers.insert(name, n);
        told.n += 1;
    }
}

impl Told {
    fn has_told(&self, revision: u64) -> bool {
        self.revisions.contains(&revision) || self.listed.iter().any(|(after, last)| (*after < revision) && (revision <= *last))
    }
}

/// Follows all of them, each time from the last revision that it was told, until `stop` and some more: the last writes are still on their way then.
async fn watch(client: Client, stop: &AtomicBool, told: &Mutex<Told>) {
    let (events, mut heard) = tokio::sync::mpsc::channel(64);
    let lower = |map: api::ConfigMap| {
        let number = map.data.get("n").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        (map.metadata.name.to_string(), number, map.metadata.resource_version.parse::<u64>().unwrap_or(0))
    };
    let scope = Scope { namespace: Some("default".to_string()), ..Scope::default() };
    // Impatient: each life of the server is short here.
    let quick = runtime::Backoff::new(Duration::from_millis(5), Duration::from_millis(50));
    let pace = Pace { retry: quick.clone(), resume: quick.clone(), turn: quick, ..Pace::default() };
    tokio::spawn(client::follow(client, scope, pace, Freshness::default(), lower, events));
    let mut quiet_since_stop = 0;
    while quiet_since_stop < 20 {
        let event = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await;
        quiet_since_stop = if event.is_err() && stop.load(Ordering::Relaxed) { quiet_since_stop + 1 } else { 0 };
        let (objects, in_order) = match event {
            Ok(Some(Event::Applied(object))) => (vec![object], true),
            Ok(Some(Event::Restarted { objects, .. })) => (objects, false),
            _ => continue,
        };
        let mut told = lock(told);
        if !in_order {
            // The server forgets what happened before its start: who missed something is sent to list (410), and is told all at once.
            let newest = objects.iter().map(|(_, _, revision)| *revision).max().unwrap_or_default();
            let last = told.revision;
            told.listed.push((last, newest));
            if newest < last {
                told.wrong.push(format!("a list ends at revision {newest}, after revision {last}"));
            }
        }
        for (name, number, revision) in objects {
            if in_order && !told.revisions.insert(revision) {
                told.wrong.push(format!("{name} of revision {revision} was told twice"));
            }
            if in_order && revision <= told.revision {
                let last = told.revision;
                told.wrong.push(format!("{name} of revision {revision} was told after revision {last}"));
            }
            if told.numbers.get(&name) > Some(&number) {
                told.wrong.push(format!("{name} went back to {number}"));
            }
            told.revision = told.revision.max(revision);
            told.numbers.insert(name, number);
            told.n += 1;
        }
    }
}

#[test]
fn pods_live_on_without_us_and_are_found_again() {
    let machine = Machine::up();
    let pods = "/api/v1/namespaces/default/pods";
    machine.create("/apis/apps/v1/namespaces/default/deployments", &deployment("web", 2));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let service = machine.create("/api/v1/namespaces/default/services", &service);
    let cluster_ip = format!("{}:80", service["spec"]["clusterIP"].as_str().expect("an address"));
    let before = machine.settles_at("web", 2);
    until("packets are served", || machine.node.run(|| who(&cluster_ip)).ok());
    let numbers = |pods: &[Value]| pods.iter().map(|pod| machine.pid(pod, "c")).collect::<Vec<_>>();

    for round in 0..times(3, 30) {
        let name = format!("job-{round}");
        let script = "echo begun; while [ ! -e /go ]; do sleep 0.02; done; echo done; exit 3";
        let job = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "job"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "any", "command": ["sh", "-c", script]}]},
        });
        machine.create(pods, &job);
        let path = format!("{pods}/{name}");
        let running = until("the job runs", || Some(machine.get(&path)).filter(is_ready));
        machine.kill_9();
        assert!(machine.node.run(|| who(&cluster_ip)).is_ok(), "pods and rules go on without us");
        // It ends while nobody looks.
        let pid = machine.pid(&running, "c").expect("a process");
        // The job may end, and with it all that runs inside, before `touch` has.
        let _ = machine.inside(&running, "c", &["touch", "/go"]);
        until("the job has ended", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
        machine.start_up();
        let ended = until("its end is found", || Some(machine.get(&path)).filter(|pod| pod["status"]["phase"] == "Failed"));
        let how = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&how["exitCode"], &how["reason"]), (&json!(3), &json!("Error")), "{how}");
        assert_eq!(log(&machine, &path), "begun\ndone\n");

        let after = machine.settles_at("web", 2);
        let same = |field: &str| before.iter().zip(&after).all(|(a, b)| a["status"][field] == b["status"][field]);
        assert!(same("podIP") && same("startTime"), "{before:?}\n{after:?}");
        assert_eq!(numbers(&before), numbers(&after), "the processes of before");
        assert!(after.iter().all(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 0));
    }
    // Nothing was made twice, and the end is an orderly one.
    assert_eq!(machine.pods("web").len(), 2);
    assert_eq!(machine.stop(), Ok(0));
    until("pods end with us", || {
        numbers(&before).into_iter().flatten().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

/// The log of a Pod, asked for as a service account.
fn log(machine: &Machine, pod: &str) -> String {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = machine.create("/api/v1/namespaces/default/serviceaccounts/default/token", &request);
    let header = format!("Authorization: Bearer {}", token["status"]["token"].as_str().expect("a token"));
    machine.node.output(&["curl", "-sSk", "-H", &header, &format!("https://127.0.0.1:6443{pod}/log")])
}

fn number_of(map: &Value) -> u64 {
    map["data"]["n"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
