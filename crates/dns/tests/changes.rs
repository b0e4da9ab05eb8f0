//! What changes around a running server: its Corefile's addresses and pods, how fresh the names are, who asks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dns::config::Needs;
use dns::plugins::kubernetes::Api;
use dns::{Feed, Feeding};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use model::facts::{Pod, PodName};
use model::{NameView, Revision};
use runtime::{Registry, Trigger};
use tokio::sync::watch;

use crate::asking::{PATIENCE, addresses, over_udp, question, until, view};

#[path = "support/asking.rs"]
mod asking;

/// A server of a Corefile in a file, which is looked at every second or two.
struct Subject {
    folder: PathBuf,
    registry: Registry,
    running: dns::Running,
    fresh: watch::Sender<bool>,
    feed: Arc<Source>,
    trigger: Trigger,
}

/// Names as a source has them that is told what to follow.
struct Source {
    names: watch::Sender<Arc<NameView>>,
    answer: watch::Sender<Answer>,
    asked: Mutex<Needs>,
}

#[derive(Clone)]
enum Answer {
    With(Arc<NameView>),
    Refused(&'static str),
    Late,
}

impl Source {
    fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    fn asked(&self) -> Needs {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

impl Feed for Source {
    fn feed(&self, needs: Needs) -> Feeding<'_> {
        Box::pin(async move {
            let asks_for_more = needs.pods || needs.names && self.names.borrow().revision == Revision(0);
            *self.asked.lock().expect("nobody panicked") = needs;
            let answer = self.answer.borrow().clone();
            match answer {
                Answer::With(view) => _ = self.names.send_replace(view),
                Answer::Refused(why) if asks_for_more => return Err(why.to_owned()),
                Answer::Late if asks_for_more => std::future::pending().await,
                Answer::Refused(_) | Answer::Late => {}
            }
            Ok(())
        })
    }
}

impl Subject {
    fn start(name: &str, corefile: &str, view: Arc<NameView>) -> Self {
        let folder = std::env::temp_dir().join(format!("rutter-dns-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("Corefile"), corefile).expect("written");
        let corefile = dns::config::Corefile::read(&folder.join("Corefile")).expect("a Corefile");
        let answer = watch::channel(Answer::With(view.clone())).0;
        let (names, views) = watch::channel(view);
        let feed = Arc::new(Source { names, answer, asked: Mutex::default() });
        let (fresh, freshness) = watch::channel(true);
        let (trigger, drain) = runtime::drain::channel();
        let registry = Registry::default();
        let inputs = dns::Inputs { names: views, early: None, applied: None, fresh: Some(freshness), feed: Some(feed.clone()) };
        let running = dns::start_with(dns::Config { corefile, listen: Vec::new() }, inputs, drain, registry.clone()).expect("started");
        Self { folder, registry, running, fresh, feed, trigger }
    }

    /// Replaced as kubelet replaces it: by a rename.
    fn write(&self, corefile: &str) {
        std::fs::write(self.folder.join("next"), corefile).expect("written");
        std::fs::rename(self.folder.join("next"), self.folder.join("Corefile")).expect("renamed");
    }

    async fn stop(self) {
        tokio::time::timeout(PATIENCE, self.trigger.drain()).await.expect("everything ends");
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

/// A port that is free on every address of this machine.
fn free_port() -> u16 {
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a port");
    probe.local_addr().expect("bound").port()
}

/// Tries until it holds or patience ends.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !tokio::task::block_in_place(&mut holds) {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Status code of a page.
fn status(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a reply");
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// One question from one of this machine's addresses; `None` where nobody listens or nobody answers.
fn from(client: [u8; 4], server: SocketAddr, name: &str) -> Option<Message> {
    let socket = UdpSocket::bind(SocketAddr::from((client, 0))).expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("set");
    socket.connect(server).expect("connected");
    socket.send(&question(name, RecordType::A).to_vec().expect("encoded")).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..length]).expect("a message"))
}

const WEB: &str = "web.default.svc.cluster.local.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_opens_new_addresses_closes_old_ones_and_leaves_the_rest() {
    let port = free_port();
    let corefile = |addresses: &str| format!(".:{port} {{\n bind {addresses}\n kubernetes cluster.local\n reload 2s 1s\n}}");
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    let subject = Subject::start("addresses", &corefile("127.0.0.1 127.0.0.2"), view());
    until(at(1), WEB, &["10.96.0.1"]).await;
    subject.write(&corefile("127.0.0.1 127.0.0.3"));
    eventually("the new address answers", || from([127, 0, 0, 1], at(3), WEB).is_some()).await;
    eventually("the old address is closed", || UdpSocket::bind(at(2)).is_ok() && std::net::TcpListener::bind(at(2)).is_ok()).await;
    until(at(1), WEB, &["10.96.0.1"]).await;
    // One that somebody else has: the last Corefile goes on as a whole.
    let stranger = std::net::TcpListener::bind(at(4)).expect("a port");
    subject.write(&corefile("127.0.0.4"));
    eventually("the refusal is counted", || subject.registry.render().contains("coredns_reload_failed_total 1")).await;
    until(at(3), WEB, &["10.96.0.1"]).await;
    drop(stranger);
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_has_what_it_needs_followed_first_and_gives_up_the_rest() {
    let port = free_port();
    let corefile = |pods: &str| format!(".:{port} {{\n bind 127.0.0.1\n kubernetes cluster.local {{\n pods {pods}\n }}\n reload 2s 1s\n}}");
    let mut names = NameView::clone(&view());
    let pod = Pod { ips: vec![Ipv4Addr::new(10, 2, 0, 1).into()], host_network: false, labels: Arc::default() };
    names.pods.insert(names.revision, PodName { namespace: "default".into(), name: "tool".into() }, Arc::new(pod));
    let names = Arc::new(names);
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (there, gone) = ("10-2-0-1.default.pod.cluster.local.", "10-2-0-9.default.pod.cluster.local.");

    let subject = Subject::start("needs", &corefile("insecure"), view());
    let feed = subject.feed.clone();
    until(server, gone, &["10.2.0.9"]).await;
    feed.answer(Answer::Refused("pods is forbidden"));
    subject.write(&corefile("verified"));
    eventually("the refusal is counted", || subject.registry.render().contains("coredns_reload_failed_total 1")).await;
    until(server, gone, &["10.2.0.9"]).await;
    assert!(!feed.asked().pods, "what was refused is not asked for any longer");

    // The same text is not tried again by itself; one that is late is.
    feed.answer(Answer::Late);
    subject.write(&corefile("verified\n startup_timeout 10ms"));
    eventually("that it is late is counted", || subject.registry.render().contains("coredns_reload_failed_total 2")).await;
    until(server, gone, &["10.2.0.9"]).await;
    assert!(feed.asked().pods, "it is waited for still");
    feed.answer(Answer::With(names));
    until(server, gone, &[]).await;
    until(server, there, &["10.2.0.1"]).await;

    feed.answer(Answer::With(view()));
    subject.write(&corefile("insecure"));
    until(server, gone, &["10.2.0.9"]).await;
    eventually("pods are given up", || !feed.asked().pods).await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corefile_that_begins_to_have_names_of_the_cluster_waits_for_them() {
    let port = free_port();
    let corefile = |plugins: &str| format!(".:{port} {{\n bind 127.0.0.1\n reload 2s 1s\n {plugins}\n}}");
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let subject = Subject::start("begins", &corefile("hosts /nowhere {\n 192.0.2.1 who.test\n }"), Arc::default());
    until(server, "who.test.", &["192.0.2.1"]).await;
    assert_eq!(subject.feed.asked(), Needs::default());
    subject.feed.answer(Answer::With(view()));
    subject.write(&corefile("kubernetes cluster.local mesh.local {\n multicluster mesh.local\n kubeconfig /nowhere/else\n }"));
    until(server, WEB, &["10.96.0.1"]).await;
    let api = Some(Api::Kubeconfig { path: "/nowhere/else".into(), context: None });
    assert_eq!(subject.feed.asked(), Needs { names: true, service_imports: true, api, ..Needs::default() });
    assert_eq!(subject.running.corefile.borrow().needs(), subject.feed.asked());
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_says_no_while_the_names_are_stale_and_they_are_answered_all_the_same() {
    let port = free_port();
    let corefile = format!(".:{port} {{\n bind 127.0.0.1\n ready 127.0.0.1:0\n kubernetes cluster.local\n}}");
    let subject = Subject::start("stale", &corefile, view());
    let (server, pages) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), subject.running.status[0]);
    eventually("it is ready", || status(pages, "/ready") == "200").await;
    subject.fresh.send_replace(false);
    assert_eq!(status(pages, "/ready"), "503");
    until(server, WEB, &["10.96.0.1"]).await;
    subject.fresh.send_replace(true);
    assert_eq!(status(pages, "/ready"), "200");
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acl_goes_by_the_address_that_asks() {
    let port = free_port();
    let corefile = format!(
        ".:{port} {{
    bind 127.0.0.1
    acl {{
        block net 127.0.0.2/32
        filter net 127.0.0.3/32
        drop net 127.0.0.4/32
    }}
    kubernetes cluster.local
}}"
    );
    let subject = Subject::start("acl", &corefile, view());
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    until(server, WEB, &["10.96.0.1"]).await;
    let asked = tokio::task::spawn_blocking(move || {
        let answer = |last| from([127, 0, 0, last], server, WEB).map(|reply| (reply.response_code(), addresses(&reply)));
        assert_eq!(answer(1), Some((ResponseCode::NoError, vec!["10.96.0.1".to_owned()])));
        assert_eq!(answer(2), Some((ResponseCode::Refused, Vec::new())));
        assert_eq!(answer(3), Some((ResponseCode::NoError, Vec::new())));
        assert_eq!(answer(4), None);
        // Whoever was dropped has not stopped the others.
        assert_eq!(over_udp(server, WEB).response_code(), ResponseCode::NoError);
    });
    asked.await.expect("no panic");
    subject.stop().await;
}
