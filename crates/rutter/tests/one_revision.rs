//! One revision for three answers: whatever changes, packets, names and URLs never contradict one another.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use kernel::netns::Netns;
use serde_json::json;

use crate::cluster::ask::{self, Http, Names};
use crate::cluster::load::Load;
use crate::cluster::objects::{ingress, service, slice, web};
use crate::cluster::{Cluster, Random, ip, times, until};

/// Through the rules, as pods ask.
const DNS: &str = "10.96.0.10:53";
/// The node as the outside knows it.
const OUTER: &str = "192.0.2.1";
/// The pods that come and go behind `web`, and the one that stays behind `shift`.
const COMING_AND_GOING: [u8; 4] = [1, 2, 3, 4];
const STAYING: u8 = 5;
/// How often each client asks in each state before the next.
const ROUNDS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ClusterIp,
    Headless,
    NodePort,
    ExternalName,
}

/// What the Service behind `http://shift.test/` is. Each state has a cluster IP of its own.
#[derive(Clone, Debug)]
struct State {
    number: usize,
    name: String,
    kind: Kind,
}

/// All states so far: the last one was written to the objects, or is being written.
struct Shift {
    states: Vec<State>,
    /// The number of the newest state that was seen to be in force.
    in_force: usize,
}

#[test]
fn nothing_is_lost_while_endpoints_types_and_names_change() {
    let mut cluster = Cluster::new(5);
    let shift = Arc::new(Mutex::new(Shift { states: vec![State::first()], in_force: 0 }));
    let mut behind_web: Vec<u8> = COMING_AND_GOING.to_vec();
    write_web(&cluster, &behind_web);
    write_shift(&cluster, &State::first());
    let agent = cluster.agent();
    until("all is in force", || resolve(&cluster, "web-ready").filter(|it| it.addresses.len() == 4));

    let mut load = Load::default();
    ask_for_web(&mut load, &cluster);
    ask_for_shift(&mut load, &cluster, &shift);

    let mut random = Random::new();
    let mut leaving: Vec<u8> = Vec::new();
    for n in 0..times(60, 1_000) {
        if n % 2 == 0 {
            let can: Vec<u8> = COMING_AND_GOING.into_iter().filter(|pod| !leaving.contains(pod)).collect();
            behind_web = random.some_of(&can);
            write_web(&cluster, &behind_web);
            let want: Vec<Ipv4Addr> = behind_web.iter().map(|n| address(&ip(*n))).collect();
            until("the endpoints are in force", || resolve(&cluster, "web-ready").filter(|it| it.addresses == want));
            // As kubelet does: out of the objects first, then told to end.
            let gone = can.iter().find(|pod| !behind_web.contains(pod));
            if let Some(pod) = gone.filter(|_| leaving.is_empty()) {
                cluster.pod(*pod).stop();
                leaving.push(*pod);
            }
        } else {
            let next = lock(&shift).begin(&mut random);
            write_shift(&cluster, &next);
            until("the Service is in force", || resolve(&cluster, &next.name).filter(|it| *it == next.answer()));
            lock(&shift).in_force = next.number;
        }
        load.goes_on_for(ROUNDS);
        if let Some(at) = leaving.iter().position(|pod| cluster.pod(*pod).has_ended()) {
            cluster.pod(leaving.remove(at)).start();
        }
    }
    load.end();
    assert_eq!(cluster.dropped("pick") + cluster.dropped("nodeport-pick"), 0, "a rule led to an endpoint that was not there");
    drop(agent);
}

fn ask_for_web(load: &mut Load, cluster: &Cluster) {
    let from_outside = |to: &'static str| move |_| ask::who(to).map(drop);
    load.add("connections to the cluster IP", &cluster.outside, from_outside("10.96.0.80:80"));
    load.add("connections to the node port", &cluster.outside, from_outside("192.0.2.1:30080"));
    load.add("connections from the node", &cluster.node, from_outside("10.96.0.80:80"));
    load.add("requests, one to a connection", &cluster.outside, |_| {
        let answer = ask::get(&format!("{OUTER}:80"), "web.test", "/").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{}", answer.status)) }
    });
    let mut kept = None;
    load.add("requests, many to a connection", &cluster.outside, move |n| {
        let mut ask = || -> std::io::Result<u16> {
            let mut http = match kept.take() {
                Some(http) => http,
                None => Http::connect(&format!("{OUTER}:80"))?,
            };
            let status = http.get("web.test", &format!("/{n}"))?.status;
            kept = Some(http).filter(|_| n % 100 != 99);
            Ok(status)
        };
        match ask() {
            Ok(200) => Ok(()),
            Ok(other) => Err(format!("{other}")),
            Err(error) => Err(error.to_string()),
        }
    });
    load.add("queries for web", &cluster.outside, |_| match ask::resolve(DNS, "web.default.svc.cluster.local") {
        Ok(names) if names.addresses == [address("10.96.0.80")] => Ok(()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    });
}

fn ask_for_shift(load: &mut Load, cluster: &Cluster, shift: &Arc<Mutex<Shift>>) {
    let known = shift.clone();
    load.add("queries for shift and connections to the answer", &cluster.outside, move |_| {
        let (before, sure) = lock(&known).now();
        let answer = ask::resolve(DNS, &before.host()).map_err(|error| format!("{before:?}: {error}"))?;
        let virtual_ip = answer.addresses.iter().find(|address| address.octets()[1] == 97);
        let connected = virtual_ip.map_or(Ok(String::new()), |address| ask::who(&format!("{address}:80")));
        let (after, _) = lock(&known).now();
        // An address may go away once its state was left.
        let must_lead = virtual_ip.is_some_and(|address| *address == after.cluster_ip());
        if let (Err(error), true) = (connected, must_lead) {
            return Err(format!("the name was answered with {answer:?}, but the rules lack it: {error}"));
        }
        let same = before.number == after.number;
        if sure && same && answer != before.answer() { Err(format!("{before:?}: {answer:?}")) } else { Ok(()) }
    });
    let known = shift.clone();
    load.add("connections to shift's node port", &cluster.outside, move |_| {
        let (before, sure) = lock(&known).now();
        if before.kind != Kind::NodePort || !sure {
            return Ok(());
        }
        let connected = ask::who(&format!("{OUTER}:30090"));
        let (after, _) = lock(&known).now();
        connected.map(drop).or_else(|error| if before.number == after.number { Err(format!("{before:?}: {error}")) } else { Ok(()) })
    });
    let known = shift.clone();
    load.add("requests to shift", &cluster.outside, move |_| {
        // What is in force may be the state before the one being written.
        let first = lock(&known).states.len().saturating_sub(2);
        if lock(&known).lead_elsewhere_since(first) {
            return Ok(());
        }
        let answer = ask::get(&format!("{OUTER}:80"), "shift.test", "/");
        let leads_elsewhere = lock(&known).lead_elsewhere_since(first);
        match answer {
            Ok(answer) if answer.status == 200 || leads_elsewhere => Ok(()),
            Ok(answer) => Err(format!("{} at {:?}", answer.status, lock(&known).now())),
            Err(error) => Err(error.to_string()),
        }
    });
}

fn write_web(cluster: &Cluster, pods: &[u8]) {
    let mut objects = web("10.96.0.80", pods);
    // The same pods under a headless name, to see from outside when they are in force.
    objects.extend([service("web-ready", json!({"clusterIP": "None"})), slice("web-ready", pods)]);
    cluster.objects("web.json", objects);
}

fn write_shift(cluster: &Cluster, state: &State) {
    let spec = match state.kind {
        Kind::ClusterIp => json!({"type": "ClusterIP", "clusterIP": state.cluster_ip()}),
        Kind::Headless => json!({"type": "ClusterIP", "clusterIP": "None"}),
        Kind::NodePort => json!({"type": "NodePort", "clusterIP": state.cluster_ip(),
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80, "nodePort": 30090}]}),
        Kind::ExternalName => json!({"type": "ExternalName", "externalName": "elsewhere.test"}),
    };
    let objects = vec![service(&state.name, spec), slice(&state.name, &[STAYING]), ingress("shift.test", &state.name)];
    cluster.objects("shift.json", objects);
}

fn resolve(cluster: &Cluster, service: &str) -> Option<Names> {
    let ask = || ask::resolve(DNS, &format!("{service}.default.svc.cluster.local"));
    Netns::run(&cluster.node, ask).ok()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn lock(shift: &Mutex<Shift>) -> MutexGuard<'_, Shift> {
    shift.lock().expect("nobody panicked with it")
}

// === impl Shift ===

impl Shift {
    /// The newest state, and whether it is in force.
    fn now(&self) -> (State, bool) {
        let newest = self.states.last().expect("a first state").clone();
        let sure = newest.number == self.in_force;
        (newest, sure)
    }

    /// Whether a name of no use to anybody stood behind the URL in one of the states from `first` on.
    fn lead_elsewhere_since(&self, first: usize) -> bool {
        self.states[first..].iter().any(|state| state.kind == Kind::ExternalName)
    }

    /// The next state: another type, and now and then another name with it.
    fn begin(&mut self, random: &mut Random) -> State {
        let (last, _) = self.now();
        let number = last.number + 1;
        let kinds = [Kind::ClusterIp, Kind::Headless, Kind::NodePort, Kind::ExternalName];
        let kind = kinds[random.below(kinds.len())];
        let name = if random.below(4) == 0 { format!("shift-{number}") } else { last.name };
        let next = State { number, name, kind };
        self.states.push(next.clone());
        next
    }
}

// === impl State ===

impl State {
    fn first() -> Self {
        Self { number: 0, name: "shift".to_string(), kind: Kind::ClusterIp }
    }

    fn host(&self) -> String {
        format!("{}.default.svc.cluster.local", self.name)
    }

    fn cluster_ip(&self) -> Ipv4Addr {
        let [.., high, low] = u32::try_from(self.number + 1).expect("few states").to_be_bytes();
        Ipv4Addr::new(10, 97, high, low)
    }

    /// What its name has to be answered with.
    fn answer(&self) -> Names {
        let (code, addresses, aliases) = match self.kind {
            Kind::ClusterIp | Kind::NodePort => (0, vec![self.cluster_ip()], 0),
            Kind::Headless => (0, vec![address(&ip(STAYING))], 0),
            // The alias alone, since no server here knows where it leads.
            Kind::ExternalName => (0, Vec::new(), 1),
        };
        Names { code, addresses, aliases }
    }
}
