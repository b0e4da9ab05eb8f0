//! What the tests over sockets share: a cluster of one Service, questions, and the patience to ask until an answer is right.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use model::facts::{Change, Namespace, Service, ServicePort, TargetPort};
use model::resolve::{Model, Want};
use model::{NameView, Protocol, ServiceName};

/// Long enough for any machine; nothing waits that long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The view of one Service, `default/web` at 10.96.0.1.
pub(crate) fn view() -> Arc<NameView> {
    let port = ServicePort {
        at: 0,
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        app_protocol: None,
        target_port: TargetPort::Number(80),
    };
    let service = Service { cluster_ips: vec!["10.96.0.1".parse().expect("address")], ports: vec![port], ..Service::default() };
    let want = Want { names: true, ..Want::default() };
    let mut model = Model::new(model::Config { want, ..model::Config::default() });
    let changes = [
        Change::Namespace("default".into(), Some(Arc::new(Namespace::default()))),
        Change::Service(ServiceName::new("default", "web"), Some(Arc::new(service))),
    ];
    model.update(changes).names
}

pub(crate) fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new();
    message.set_id(7).set_recursion_desired(true).add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

pub(crate) fn over_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.send_to(&question(name, RecordType::A).to_vec().expect("encoded"), server).expect("sent");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a reply in time");
    Message::from_vec(&buffer[..length]).expect("a message")
}

pub(crate) fn addresses(message: &Message) -> Vec<String> {
    message.answers().iter().map(|record| record.data().to_string()).collect()
}

/// Asks until the answer is `expected` or patience ends.
pub(crate) async fn until(server: SocketAddr, name: &'static str, expected: &[&str]) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let reply = tokio::task::spawn_blocking(move || over_udp(server, name)).await.expect("no panic");
        if addresses(&reply) == expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{name}: {:?} instead of {expected:?}", addresses(&reply));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
