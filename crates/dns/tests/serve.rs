//! The server over real sockets: both transports, forwarding, a taken port, and the end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use model::NameView;
use runtime::Registry;
use tokio::sync::watch;

use crate::asking::{PATIENCE, addresses, over_udp, question, until, view};

#[path = "support/asking.rs"]
mod asking;

fn config(inside: &str) -> dns::Config {
    let corefile = format!("cluster.local {{\n kubernetes cluster.local\n}}\n. {{\n {inside}\n}}");
    dns::Config { corefile: dns::config::Corefile::parse(&corefile).expect("a Corefile"), listen: vec![([127, 0, 0, 1], 0).into()] }
}

fn over_tcp(server: SocketAddr, names: &[&str]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    for name in names {
        let bytes = question(name, RecordType::A).to_vec().expect("encoded");
        stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()).expect("sent");
    }
    let mut read = || {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a reply in time");
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).expect("the whole reply");
        Message::from_vec(&bytes).expect("a message")
    };
    names.iter().map(|_| read()).collect()
}

/// An upstream that knows `www.example.` and counts what it is asked.
fn upstream() -> (SocketAddr, std::thread::JoinHandle<usize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        for asked in 0.. {
            let (length, client) = socket.recv_from(&mut buffer).expect("received");
            let Ok(query) = Message::from_vec(&buffer[..length]) else { return asked };
            let mut reply = query.clone();
            reply.set_message_type(hickory_proto::op::MessageType::Response).set_recursion_available(true);
            let name = query.queries()[0].name().clone();
            reply.add_answer(Record::from_rdata(name, 60, RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, 1))));
            socket.send_to(&reply.to_vec().expect("encoded"), client).expect("sent");
        }
        0
    });
    (address, thread)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_transports_answer_and_the_rest_is_forwarded_once() {
    let (upstream, thread) = upstream();
    let (names, views) = watch::channel(Arc::<NameView>::default());
    let (trigger, drain) = runtime::drain::channel();
    let config = config(&format!("forward . {upstream}\n cache 30"));
    let running = dns::start(config, views, None, drain, Registry::default()).expect("started");
    let server = running.listening[0];
    names.send_replace(view());
    let asked = tokio::task::spawn_blocking(move || {
        let reply = over_udp(server, "web.default.svc.cluster.local.");
        assert_eq!((reply.id(), reply.response_code(), addresses(&reply)), (7, ResponseCode::NoError, vec!["10.96.0.1".to_owned()]));
        let replies = over_tcp(server, &["web.default.svc.cluster.local.", "nobody.default.svc.cluster.local."]);
        assert_eq!(replies.iter().map(Message::response_code).collect::<Vec<_>>(), [ResponseCode::NoError, ResponseCode::NXDomain]);
        for _ in 0..3 {
            let reply = over_udp(server, "www.example.");
            assert_eq!((addresses(&reply), reply.recursion_available()), (vec!["192.0.2.1".to_owned()], true));
        }
        // What is no message ends the upstream.
        UdpSocket::bind("127.0.0.1:0").expect("a socket").send_to(b"end", upstream).expect("sent");
        thread.join().expect("no panic")
    });
    assert_eq!(asked.await.expect("no panic"), 1, "the second and third were kept");
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
    assert!(UdpSocket::bind(server).is_ok(), "the port is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_may_be_served_apart_from_all_others() {
    let port = std::net::TcpListener::bind("0.0.0.0:0").and_then(|any| any.local_addr()).expect("a port").port();
    let block = |zone: &str, inside: &str, last: u8| {
        format!("{zone}:{port} {{\n {inside}\n hosts /nowhere {{\n 192.0.2.{last} a.b.test\n }}\n}}\n")
    };
    let start = |blocks: &[String]| {
        let corefile = dns::config::Corefile::parse(&blocks.concat()).expect("a Corefile");
        let (names, views) = watch::channel(Arc::<NameView>::default());
        let (trigger, drain) = runtime::drain::channel();
        let started = dns::start(dns::Config { corefile, listen: Vec::new() }, views, None, drain, Registry::default());
        (names, trigger, started)
    };
    let apart = [block("test", "bind 127.0.0.2", 2), block("b.test", "", 1)];
    let (_names, trigger, started) = start(&apart);
    started.expect("both are bound");
    let asked = tokio::task::spawn_blocking(move || {
        let ask = |last: u8| {
            let server = SocketAddr::from(([127, 0, 0, last], port));
            [over_udp(server, "a.b.test."), over_tcp(server, &["a.b.test."]).remove(0)].map(|reply| addresses(&reply).concat())
        };
        [ask(2), ask(1)]
    });
    assert_eq!(asked.await.expect("no panic"), [["192.0.2.2", "192.0.2.2"], ["192.0.2.1", "192.0.2.1"]]);
    for blocks in [&apart[..], &apart[1..], &apart[..1]] {
        let error = start(blocks).2.err().expect("another server is told of this one").to_string();
        assert!(error.contains(&format!("process {} (", std::process::id())), "{error}");
    }
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_connections_to_the_status_pages_keeps_no_probe_out() {
    let (_names, views) = watch::channel(Arc::<NameView>::default());
    let (_trigger, drain) = runtime::drain::channel();
    let running = dns::start(config("health 127.0.0.1:0"), views, None, drain, Registry::default()).expect("started");
    let pages = running.status[0];
    let probe = tokio::task::spawn_blocking(move || {
        let connect = || TcpStream::connect(pages).expect("connected");
        let _held: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
        let mut probe = connect();
        probe.set_read_timeout(Some(PATIENCE)).expect("set");
        probe.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut status = [0; 12];
        probe.read_exact(&mut status).expect("an answer in time");
        String::from_utf8_lossy(&status).into_owned()
    });
    assert_eq!(probe.await.expect("no panic"), "HTTP/1.1 200");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (_names, views) = watch::channel(Arc::<NameView>::default());
    let (_trigger, drain) = runtime::drain::channel();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = stranger.local_addr().expect("bound");
    let config = dns::Config { listen: vec![address], ..config("errors") };
    let error = dns::start(config, views, None, drain, Registry::default()).err().expect("refused");
    let holder = format!("cannot listen on tcp {address}: process {} (", std::process::id());
    assert!(error.to_string().starts_with(&holder), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_corefile_is_taken_up_and_a_broken_one_refused() {
    let folder = std::env::temp_dir().join(format!("rutter-dns-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("Corefile");
    let write = |inside: &str| {
        // Replaced as kubelet replaces it: by a rename.
        let next = folder.join("next");
        std::fs::write(&next, format!("cluster.local {{\n kubernetes cluster.local\n reload 2s 1s\n}}\n. {{\n {inside}\n}}"))
            .expect("written");
        std::fs::rename(&next, &file).expect("renamed");
    };
    let hosts = |address: &str| format!("hosts /nowhere {{\n {address} www.example\n }}");
    write(&hosts("192.0.2.1"));
    let corefile = dns::config::Corefile::read(&file).expect("a Corefile");
    let (_names, views) = watch::channel(view());
    let (trigger, drain) = runtime::drain::channel();
    let registry = Registry::default();
    let config = dns::Config { corefile, listen: vec![([127, 0, 0, 1], 0).into()] };
    let server = dns::start(config, views, None, drain, registry.clone()).expect("started").listening[0];
    until(server, "www.example.", &["192.0.2.1"]).await;
    write("hosts {\n  frobnicate\n }");
    let refused = || registry.render().contains("coredns_reload_failed_total 1");
    for _ in 0..500 {
        if refused() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused(), "a broken Corefile is counted");
    until(server, "www.example.", &["192.0.2.1"]).await;
    write(&hosts("192.0.2.2"));
    until(server, "www.example.", &["192.0.2.2"]).await;
    until(server, "web.default.svc.cluster.local.", &["10.96.0.1"]).await;
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_leads_back_here_is_left_out_and_the_cluster_is_answered() {
    // Stands between the server and itself, as a resolver on the node does whose own upstream is the cluster's DNS.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = relay.local_addr().expect("bound");
    let (_names, views) = watch::channel(view());
    let (trigger, drain) = runtime::drain::channel();
    let registry = Registry::default();
    let server = dns::start(config(&format!("loop\n forward . {address}")), views, None, drain, registry).expect("started").listening[0];
    let relay = Arc::new(relay);
    let relaying = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = relay.recv_from(&mut buffer).await {
            let (relay, question) = (relay.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                let onward = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
                onward.send_to(&question, server).await.expect("sent");
                let mut reply = [0; 4096];
                if let Ok(Ok(length)) = tokio::time::timeout(PATIENCE, onward.recv(&mut reply)).await {
                    let _ = relay.send_to(&reply[..length], client).await;
                }
            });
        }
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    // A loop that is not found out ends in silence, one that is in a failure at once.
    loop {
        let reply = tokio::task::spawn_blocking(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
            socket.send_to(&question("www.example.", RecordType::A).to_vec().expect("encoded"), server).expect("sent");
            let mut buffer = [0; 4096];
            socket.recv(&mut buffer).ok().map(|length| Message::from_vec(&buffer[..length]).expect("a message").response_code())
        });
        if reply.await.expect("no panic") == Some(ResponseCode::ServFail) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the loop was not found");
    }
    until(server, "web.default.svc.cluster.local.", &["10.96.0.1"]).await;
    relaying.abort();
    tokio::time::timeout(2 * PATIENCE, trigger.drain()).await.expect("everything ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_asked_over_tls_and_a_connection_serves_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    runtime::tls::install_provider();
    let issued = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).expect("a certificate");
    let authority = std::env::temp_dir().join(format!("rutter-dns-tls-{}.pem", std::process::id()));
    std::fs::write(&authority, issued.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![issued.cert.der().clone()], key).expect("fits");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let upstream = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let mut n_connections = 0;
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            n_connections += 1;
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.expect("whole");
                let mut reply = Message::from_vec(&query).expect("a query");
                let name = reply.queries()[0].name().clone();
                // The last octet tells how many connections there were.
                reply.set_message_type(hickory_proto::op::MessageType::Response);
                reply.add_answer(Record::from_rdata(name, 60, RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, n_connections))));
                let bytes = reply.to_vec().expect("encoded");
                stream.write_u16(bytes.len() as u16).await.expect("sent");
                stream.write_all(&bytes).await.expect("sent");
                stream.flush().await.expect("sent");
            }
        }
    });
    let (_names, views) = watch::channel(view());
    let (trigger, drain) = runtime::drain::channel();
    let forward = |name: &str| format!("forward . tls://{upstream} {{\n tls {}\n tls_servername {name}\n}}", authority.display());
    let server =
        dns::start(config(&forward("dns.example")), views.clone(), None, drain, Registry::default()).expect("started").listening[0];
    until(server, "a.example.", &["192.0.2.1"]).await;
    until(server, "b.example.", &["192.0.2.1"]).await;
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
    // Whoever is another than the one asked for is not believed.
    let (trigger, drain) = runtime::drain::channel();
    let server = dns::start(config(&forward("other.example")), views, None, drain, Registry::default()).expect("started").listening[0];
    let reply = tokio::task::spawn_blocking(move || over_udp(server, "a.example.")).await.expect("no panic");
    assert_eq!(reply.response_code(), ResponseCode::ServFail);
    tokio::time::timeout(PATIENCE, trigger.drain()).await.expect("everything ends");
    serving.abort();
    std::fs::remove_file(&authority).expect("removed");
}
