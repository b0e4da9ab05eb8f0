use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use kernel::udp::Inbox;
use runtime::Registry;
use tokio::sync::mpsc::error::TrySendError;

use super::*;
use crate::name::Name;
use crate::server::Block;
use crate::server::chain::{Answering, NOWHERE, Plugin};
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, MAX_UDP};

/// An upstream that never answers, from the point of view of a task.
struct Silent(Arc<AtomicUsize>);

impl Plugin for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn answer<'a>(&'a self, _request: &'a Request, _next: Next<'a>) -> Answering<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }
}

/// A mistake of ours.
struct Broken;

impl Plugin for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn answer<'a>(&'a self, _request: &'a Request, _next: Next<'a>) -> Answering<'a> {
        Box::pin(async { panic!("a mistake, on purpose") })
    }
}

/// One block for all names.
fn routes(plugin: impl Plugin + 'static) -> Vec<Route> {
    let plugins: Vec<Box<dyn Plugin>> = vec![Box::new(plugin)];
    let block = Block { plugins, fast: None, logs: Vec::new(), metadata: None, max_udp: None, empty: false, all_classes: false };
    vec![Route { zone: Name::root(), n_labels: 0, label: ".".into(), server: "dns://:53".into(), block: Arc::new(block) }]
}

/// A question as it arrives, and the socket that it arrived at.
fn received() -> (Box<[u8]>, Peer, Arc<UdpSocket>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let question = Question { name: Name::parse("www.example.com").expect("a name"), qtype: rtype::A, qclass: CLASS_IN };
    let message = Message { id: 7, flags: flag::RD, ..Message::answer(question, crate::wire::rcode::NOERROR) }.encode(MAX_UDP, None);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.send_to(&message, socket.local_addr().expect("bound")).expect("sent");
    let mut inbox = Inbox::new(1, MAX_UDP);
    inbox.receive(&socket).expect("received");
    let (packet, peer) = inbox.iter().next().expect("one");
    (packet.into(), peer, Arc::new(socket))
}

#[tokio::test]
async fn a_flood_of_questions_that_nobody_answers_has_so_many_tasks_and_no_more() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let routes: Routes = Arc::new(ArcSwap::from_pointee(routes(Silent(n_asked.clone()))));
    let (later, jobs) = mpsc::channel(MAX_WAITING);
    let running = tokio::spawn(run(jobs, Metrics::new(&Registry::default())));

    let (packet, peer, socket) = received();
    let mut n_taken = 0;
    loop {
        match later.try_send(Job { packet: packet.clone(), peer, local: NOWHERE, socket: socket.clone(), routes: routes.clone() }) {
            Ok(()) => n_taken += 1,
            // One more is in the hand of whoever waits for a task to end.
            Err(TrySendError::Full(_)) if n_taken == MAX_TASKS + MAX_WAITING + 1 => break,
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Closed(_)) => panic!("the slow path has ended"),
        }
        tokio::task::yield_now().await;
    }
    // However long one goes on.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        assert!(
            later.try_send(Job { packet: packet.clone(), peer, local: NOWHERE, socket: socket.clone(), routes: routes.clone() }).is_err()
        );
    }
    assert_eq!(n_asked.load(Ordering::Relaxed), MAX_TASKS);
    running.abort();
}

#[tokio::test]
async fn a_mistake_of_ours_fails_one_question_and_is_counted() {
    let (packet, ..) = received();
    let metrics = Metrics::new(&Registry::default());
    let replies = answer(&routes(Broken), &mut Query::parse(&packet).expect("a query"), (NOWHERE, NOWHERE), false, &metrics).await;
    assert_eq!(replies.iter().map(|reply| reply[3] & 15).collect::<Vec<_>>(), [crate::wire::rcode::SERVFAIL]);
    assert_eq!(metrics.panics.get(), 1);
}

#[test]
fn why_an_answer_is_what_it_is_is_told_to_those_who_speak_edns() {
    let question = Question { name: Name::parse("www.example.com").expect("a name"), qtype: rtype::A, qclass: CLASS_IN };
    let mut opt = [0; OPT];
    opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    let why = Some(crate::wire::message::ExtendedError { code: 15, text: "no".to_owned() });
    let answer = Message { why, ..Message::answer(question.clone(), 5) };
    let reply = |opt: Option<&[u8]>| {
        let packet = Message { flags: 0, ..Message::answer(question.clone(), 0) }.encode(MAX_UDP, opt);
        finish(answer.clone(), &Query::parse(&packet).expect("a query"), 512)
    };
    assert!(reply(Some(&opt)).ends_with(&[0, 8, 0, 15, 0, 4, 0, 15, b'n', b'o']), "length, option, code and text");
    assert_eq!(reply(None).len(), reply(Some(&opt)).len() - OPT - 8);
}
