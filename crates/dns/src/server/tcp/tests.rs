//! What clients may hold of a server by TCP, with bounds small enough to be met.

use std::collections::HashSet;
use std::net::UdpSocket;

use arc_swap::ArcSwap;
use runtime::{Registry, Trigger};

use super::*;
use crate::config::Corefile;
use crate::plugins::kubernetes::tests::{CLUSTER, filled_routes};
use crate::wire::message::{Message, Question};
use crate::wire::{CLASS_IN, flag, type_named};

const PATIENCE: Duration = Duration::from_secs(5);

struct Subject {
    address: SocketAddr,
    bounds: Bounds,
    _trigger: Trigger,
}

impl Subject {
    async fn start(corefile: &str, bounds: Bounds) -> Self {
        // 1,000 addresses: an answer of 16 kB.
        let many: String = (0..1_000).map(|n| format!("  ep 10.3.{}.{} http:80/tcp\n", n / 250, n % 250)).collect();
        let objects = format!("{CLUSTER}headless default/many\n{many}");
        let routes = filled_routes(&Corefile::parse(corefile).expect("a Corefile"), &objects);
        let routes = Arc::new(ArcSwap::from_pointee(routes));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (trigger, drain) = runtime::drain::channel();
        tokio::spawn(serve(Arc::new(listener), routes, bounds.clone(), Metrics::new(&Registry::default()), drain));
        Self { address, bounds, _trigger: trigger }
    }

    async fn connect(&self) -> TcpStream {
        self.connect_from([127, 0, 0, 1]).await
    }

    async fn connect_from(&self, client: [u8; 4]) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((client, 0).into()).expect("bound");
        socket.connect(self.address).await.expect("connected")
    }
}

fn framed(name: &str, kind: &str) -> Vec<u8> {
    let name = crate::name::Name::parse(name).expect("a name");
    let question = Question { name, qtype: type_named(kind).expect("a type"), qclass: CLASS_IN };
    let message = Message { id: 7, flags: flag::RD, ..Message::answer(question, 0) }.encode(MAX_TCP, None);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

async fn reply(stream: &mut TcpStream) -> Message {
    let read = async {
        let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("a reply");
    Message::parse(&bytes).expect("a message")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn answers_that_are_not_taken_fill_the_room_and_no_more() {
    let max_room = 16 * MAX_TCP;
    let subject = Subject::start(".:53 {\n kubernetes cluster.local\n}", Bounds::new(1, max_room)).await;
    let greedy = |mut stream: TcpStream| {
        tokio::spawn(async move {
            // Far more than the sockets between hold; it ends when the test does.
            let question = framed("many.default.svc.cluster.local", "A");
            while stream.write_all(&question).await.is_ok() {}
        })
    };
    let room = || subject.bounds.all.room.available_permits();
    // However many connections a client has, it has no more than its part.
    let mut asking = Vec::new();
    for _ in 0..4 {
        asking.push(greedy(subject.connect_from([127, 0, 0, 2]).await));
    }
    until("the client has its part", || room() < max_room - 2 * MAX_TCP).await;
    let mut modest = subject.connect().await;
    modest.write_all(&framed("web.default.svc.cluster.local", "A")).await.expect("sent");
    assert_eq!(reply(&mut modest).await.answers.len(), 1);
    assert!(room() >= max_room - 5 * MAX_TCP);
    for client in 3..9 {
        asking.push(greedy(subject.connect_from([127, 0, 0, client]).await));
    }
    until("there is no room for another answer", || room() < MAX_TCP).await;
    for asking in asking {
        asking.abort();
        let _ = asking.await;
    }
    // With the clients their answers are gone, and what was known of them.
    until("the room is free", || room() == max_room).await;
    drop(modest);
    until("they are forgotten", || subject.bounds.clients.lock().expect("whole").is_empty()).await;
}

#[tokio::test]
async fn questions_that_wait_for_others_have_no_more_tasks_than_there_are() {
    let upstream = UdpSocket::bind("127.0.0.1:0").expect("a port");
    upstream.set_nonblocking(true).expect("set");
    let address = upstream.local_addr().expect("bound");
    let corefile = format!(".:53 {{\n kubernetes cluster.local {{\n fallthrough\n }}\n forward . {address} {{\n prefer_udp\n }}\n}}");
    let subject = Subject::start(&corefile, Bounds::new(4, 4 * MAX_TCP)).await;
    let mut clients = Vec::new();
    for client in 0..6 {
        let mut stream = subject.connect_from([127, 0, 0, 2 + client]).await;
        for n in 0..4 {
            stream.write_all(&framed(&format!("n{n}.c{client}.example"), "A")).await.expect("sent");
        }
        clients.push(stream);
    }
    let mut asked = HashSet::new();
    let mut buffer = [0; 512];
    until("all tasks ask", || {
        while let Ok(length) = upstream.recv(&mut buffer) {
            asked.extend(Message::parse(&buffer[..length]).map(|message| message.question.name.to_string()));
        }
        asked.len() == 4
    })
    .await;
    assert_eq!(subject.bounds.all.tasks.available_permits(), 0);
    // The cluster's names need none.
    let mut other = subject.connect().await;
    other.write_all(&framed("web.default.svc.cluster.local", "A")).await.expect("sent");
    assert_eq!(reply(&mut other).await.answers.len(), 1);
    while let Ok(length) = upstream.recv(&mut buffer) {
        asked.extend(Message::parse(&buffer[..length]).map(|message| message.question.name.to_string()));
    }
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[tokio::test]
async fn a_query_longer_than_any_is_not_read() {
    let subject = Subject::start(".:53 {\n kubernetes cluster.local\n}", Bounds::default()).await;
    let mut stream = subject.connect().await;
    stream.write_all(&(MAX_QUERY + 1).to_be_bytes()).await.expect("sent");
    let closed = tokio::time::timeout(PATIENCE, stream.read_u16()).await.expect("in time");
    assert!(closed.is_err(), "{closed:?}");
}
