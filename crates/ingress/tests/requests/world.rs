//! A running ingress on one thread, the view it follows, backends that echo, and clients that speak bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::facts::PathMatch;
use model::facts::{BackendPort, Secret};
use model::options::Canary;
use model::options::RouteOptions;
use model::route::{Action, CanaryBackend, Host, HostKey, HostPattern, Listener, Origin, Route, Upstream, UpstreamKey, WeightedBackend};
use model::{ObjectKind, ObjectRef, Revision, RouteView, SecretName, ServiceName};
use runtime::{Registry, drain};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::watch;

/// How long anything may take before the test says that it never happens.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct World {
    pub http: SocketAddr,
    https: SocketAddr,
    view: RouteView,
    routes: watch::Sender<Arc<RouteView>>,
    running: ingress::Running,
    trigger: drain::Trigger,
    runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
pub struct Rule {
    host: &'static str,
    path: PathMatch,
    service: &'static str,
    options: RouteOptions,
    tls: bool,
    secret: Option<&'static str>,
    canary: Option<(&'static str, Canary)>,
}

/// A certificate's Secret, key by key.
pub type Data = Vec<(&'static str, Vec<u8>)>;

// === impl Rule ===

impl Rule {
    pub fn prefix(host: &'static str, path: &'static str, service: &'static str) -> Self {
        Self {
            host,
            path: PathMatch::Prefix(path.into()),
            service,
            options: RouteOptions::default(),
            tls: false,
            secret: None,
            canary: None,
        }
    }

    pub fn regex(host: &'static str, path: &'static str, service: &'static str) -> Self {
        Self { path: PathMatch::Regex(path.into()), ..Self::prefix(host, path, service) }
    }

    pub fn with(self, options: RouteOptions) -> Self {
        Self { options, ..self }
    }

    pub fn canary(self, service: &'static str, terms: Canary) -> Self {
        Self { canary: Some((service, terms)), ..self }
    }

    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    pub fn secret(self, name: &'static str) -> Self {
        Self { secret: Some(name), ..self.tls() }
    }
}

// === impl World ===

impl World {
    pub fn start(rules: &[Rule], services: &[(&str, &[SocketAddr])]) -> Self {
        let mut view = RouteView { revision: Revision(1), ..RouteView::default() };
        for (service, endpoints) in services {
            view.upstreams.insert(Revision(1), upstream(service), Arc::new(Upstream::Endpoints((*endpoints).into())));
        }
        for rule in rules {
            let same: Vec<Rule> = rules.iter().filter(|other| other.host == rule.host).cloned().collect();
            view.hosts.insert(Revision(1), key(rule.host), Arc::new(host(&same)));
        }
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = ingress::Config {
            http: vec![any],
            https: vec![any],
            threads: Some(1.try_into().unwrap()),
            // Every server of a test is on this machine.
            names: ingress::Names::Anywhere,
            ..ingress::Config::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (trigger, drain) = drain::channel();
        let (routes, following) = watch::channel(Arc::new(view.clone()));
        let running = ingress::start(config, following, drain, &Registry::default()).unwrap();
        let (http, https) = (running.http[0], running.https[0]);
        let mut world = Self { http, https, view, routes, running, trigger, runtime };
        world.wait_for(Revision(1));
        world
    }

    pub fn endpoints(&mut self, service: &str, endpoints: &[SocketAddr]) {
        self.change(|view, at| view.upstreams.insert(at, upstream(service), Arc::new(Upstream::Endpoints(endpoints.into()))));
    }

    pub fn host(&mut self, name: &str, rules: &[Rule]) {
        let now = (!rules.is_empty()).then(|| Arc::new(host(rules)));
        self.change(|view, at| view.hosts.put(at, key(name), now));
    }

    pub fn secret(&mut self, name: &str, data: Option<Data>) {
        let secret = data.map(|data| Arc::new(Secret { data: data.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }));
        self.change(|view, at| view.secrets.put(at, SecretName::new("default", name), secret));
    }

    /// Changes the view and waits until requests are answered by it.
    fn change(&mut self, change: impl FnOnce(&mut RouteView, Revision)) {
        let revision = Revision(self.view.revision.0 + 1);
        change(&mut self.view, revision);
        self.view.revision = revision;
        self.routes.send_replace(Arc::new(self.view.clone()));
        self.wait_for(revision);
    }

    /// Until requests are answered by the view of this revision.
    fn wait_for(&mut self, revision: Revision) {
        let applied = &mut self.running.applied;
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, applied.wait_for(|at| *at == Some(revision))).await.map(|at| at.is_ok()) });
        assert_eq!(waited, Ok(true), "the view is applied");
    }

    /// The last report that waits, as one line.
    pub fn report(&mut self) -> String {
        let reports = &mut self.running.reports;
        let mut report = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, reports.recv()).await })
            .expect("a report in time")
            .expect("somebody who reports");
        while let Ok(later) = reports.try_recv() {
            report = later;
        }
        let issues: Vec<String> = report.issues.iter().map(ToString::to_string).collect();
        format!("{}: {}", report.object, if issues.is_empty() { "well".to_owned() } else { issues.join("; ") })
    }

    /// Sends the bytes on a connection of their own and reads until the ingress closes it.
    pub fn ask(&self, request: &str) -> String {
        let mut client = self.connect();
        client.write(request);
        client.read_to_end()
    }

    pub fn connect(&self) -> Client {
        Client(Stream::Plain(connect(self.http)))
    }

    pub fn connect_tls(&self, name: &'static str) -> Client {
        Client(Stream::Tls(Box::new(tls(self.https, name))))
    }

    /// The common name of the certificate that a client gets who asks for this name.
    pub fn certificate(&self, name: &'static str) -> String {
        let stream = tls(self.https, name);
        let der = &stream.conn.peer_certificates().expect("a certificate")[0];
        let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
        certificate.subject().iter_common_name().next().expect("a common name").as_str().unwrap().to_owned()
    }

    /// Starts draining; gives the address and who tells the end.
    pub fn drain(self) -> (SocketAddr, Receiver<()>) {
        let Self { http, routes, running, trigger, runtime, .. } = self;
        let (tell, ended) = channel();
        trigger.start();
        std::thread::spawn(move || {
            runtime.block_on(trigger.drain());
            drop((routes, running));
            let _ = tell.send(());
        });
        (http, ended)
    }
}

/// Starts on an address that may not work; gives the error's text.
pub fn start_on(http: SocketAddr) -> Result<(), String> {
    let (_trigger, drain) = drain::channel();
    let (_routes, following) = watch::channel(Arc::new(RouteView::default()));
    let config = ingress::Config { http: vec![http], ..ingress::Config::default() };
    ingress::start(config, following, drain, &Registry::default()).map(|_| ()).map_err(|error| error.to_string())
}

pub fn is_refused(address: SocketAddr) -> bool {
    let end = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < end {
        match TcpStream::connect(address) {
            Err(_) => return true,
            Ok(stream) => drop(stream),
        }
    }
    false
}

/// An address where nobody listens.
pub fn dead_endpoint() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A self-signed certificate and its key.
pub fn certificate(common_name: &str, names: &[&str]) -> Data {
    let mut request = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    request.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = request.self_signed(&key).unwrap();
    vec![("tls.crt", certificate.pem().into_bytes()), ("tls.key", key.serialize_pem().into_bytes())]
}

fn upstream(service: &str) -> UpstreamKey {
    UpstreamKey { service: ServiceName::new("default", service), port: BackendPort::Number(80) }
}

fn key(host: &str) -> HostKey {
    let host = match host.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(host.into()),
    };
    HostKey { listener: Listener::Ingress, host }
}

fn host(rules: &[Rule]) -> Host {
    Host {
        routes: rules
            .iter()
            .map(|rule| Route {
                path: rule.path.clone(),
                method: None,
                headers: Vec::new(),
                query: Vec::new(),
                options: Arc::new(rule.options.clone()),
                action: Action::Forward(vec![WeightedBackend { upstream: upstream(rule.service), weight: 1 }]),
                canary: rule.canary.clone().map(|(service, terms)| Arc::new(CanaryBackend { upstream: upstream(service), terms })),
                origin: Origin {
                    object: ObjectRef { kind: ObjectKind::Ingress, namespace: "default".into(), name: "a".into() },
                    field: "spec".into(),
                },
            })
            .collect(),
        certificates: rules.iter().filter_map(|rule| rule.secret).map(|name| SecretName::new("default", name)).collect(),
        tls: rules.iter().any(|rule| rule.tls),
        default_backend: None,
        aliases: rules.iter().flat_map(|rule| rule.options.aliases.clone()).collect(),
        from_to_www: rules.iter().any(|rule| rule.options.from_to_www),
    }
}

/// A client's connection.
pub struct Client(Stream);

enum Stream {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

// === impl Client ===

impl Client {
    pub fn write(&mut self, bytes: &str) {
        // A server that refuses may close before it has read everything.
        let _ = match &mut self.0 {
            Stream::Plain(stream) => stream.write_all(bytes.as_bytes()),
            Stream::Tls(stream) => stream.write_all(bytes.as_bytes()),
        };
    }

    pub fn ask(&mut self, request: &str) -> String {
        self.write(request);
        self.read_to_end()
    }

    pub fn read_to_end(&mut self) -> String {
        self.read_while(|_| true)
    }

    pub fn read_until(&mut self, end: &str) -> String {
        self.read_while(|read| !read.ends_with(end.as_bytes()))
    }

    /// One answer with a Content-Length.
    pub fn read_answer(&mut self) -> String {
        let head = self.read_until("\r\n\r\n");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length").parse::<usize>().unwrap();
        let body = self.read_while(|read| read.len() < length);
        head + &body
    }

    /// Byte by byte, so that nothing beyond the end is taken.
    fn read_while(&mut self, more: impl Fn(&[u8]) -> bool) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        while more(&read) {
            let n = match &mut self.0 {
                Stream::Plain(stream) => stream.read(&mut byte),
                Stream::Tls(stream) => stream.read(&mut byte),
            };
            match n {
                Ok(1) => read.push(byte[0]),
                // A reset ends what was read as well: the caller looks at that.
                _ => break,
            }
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn tls(address: SocketAddr, name: &'static str) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut stream = connect(address);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    rustls::StreamOwned::new(connection, stream)
}

#[derive(Debug)]
struct AnyCertificate;

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Answers every request with the request itself, as it came; an upgrade with an echo of bytes.
pub struct Backend {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    n_requests: AtomicUsize,
    n_connections: AtomicUsize,
    next: Mutex<Next>,
}

/// What happens to the next request.
#[derive(Default)]
enum Next {
    #[default]
    Answer,
    AnswerAndClose,
    Close,
    /// Tell that it came, then wait for leave.
    Hold(Sender<()>, Receiver<()>),
}

pub struct Hold {
    came: Receiver<()>,
    leave: Sender<()>,
}

impl Backend {
    pub fn start() -> Self {
        Self::start_with(echo)
    }

    /// One that speaks TLS, with a certificate that nobody vouches for.
    pub fn start_tls() -> Self {
        let data = certificate("backend", &["backend"]);
        let chain = CertificateDer::from_pem_slice(&data[0].1).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&data[1].1).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let config = Arc::new(config);
        Self::start_with(move |stream, state| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            echo(rustls::StreamOwned::new(connection, stream), state);
        })
    }

    /// One that says the same to everybody, whatever is asked, and echoes what was asked in its field `X-Asked`.
    pub fn saying(head: &'static str) -> Self {
        Self::start_with(move |mut stream, state| {
            let mut buffer = Vec::new();
            while let Some(end) = fill(&mut stream, &mut buffer, |buffer| find(buffer, b"\r\n\r\n").map(|at| at + 4)) {
                let asked = String::from_utf8_lossy(&buffer[..end]).trim().replace("\r\n", "|");
                buffer.drain(..end);
                state.n_requests.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(format!("{head}\r\nX-Asked: {asked}\r\nContent-Length: 2\r\n\r\nok").as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    fn start_with(serve: impl Fn(TcpStream, &State) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                state.n_connections.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn n_requests(&self) -> usize {
        self.state.n_requests.load(Ordering::SeqCst)
    }

    pub fn n_connections(&self) -> usize {
        self.state.n_connections.load(Ordering::SeqCst)
    }

    pub fn close_after_next_request(&self) {
        *self.state.next.lock().unwrap() = Next::AnswerAndClose;
    }

    pub fn close_on_next_request(&self) {
        *self.state.next.lock().unwrap() = Next::Close;
    }

    pub fn hold(&self) -> Hold {
        let ((tell, came), (leave, wait)) = (channel(), channel());
        *self.state.next.lock().unwrap() = Next::Hold(tell, wait);
        Hold { came, leave }
    }
}

impl Hold {
    pub fn wait_for_request(&self) {
        self.came.recv_timeout(PATIENCE).expect("the request reaches the backend");
    }

    pub fn release(self) {
        self.leave.send(()).expect("the backend waits");
    }
}

/// Serves one connection; anything unexpected ends it.
fn echo(mut stream: impl Read + Write, state: &State) {
    let mut buffer = Vec::new();
    loop {
        let Some(head_end) = fill(&mut stream, &mut buffer, |buffer| find(buffer, b"\r\n\r\n").map(|at| at + 4)) else { return };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let end = if field("transfer-encoding").is_some() {
            fill(&mut stream, &mut buffer, |buffer| find(&buffer[head_end..], b"0\r\n\r\n").map(|at| head_end + at + 5))
        } else {
            let length = field("content-length").map_or(0, |length| length.parse().unwrap());
            fill(&mut stream, &mut buffer, |buffer| (buffer.len() >= head_end + length).then_some(head_end + length))
        };
        let Some(end) = end else { return };
        let request: Vec<u8> = buffer.drain(..end).collect();
        state.n_requests.fetch_add(1, Ordering::SeqCst);
        let next = std::mem::take(&mut *state.next.lock().unwrap());
        match &next {
            Next::Close => return,
            Next::Hold(came, leave) => {
                let _ = came.send(());
                let _ = leave.recv_timeout(PATIENCE);
            }
            Next::Answer | Next::AnswerAndClose => {}
        }
        if field("upgrade").is_some() {
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            let mut chunk = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                let _ = stream.write_all(&chunk[..n]);
            }
            return;
        }
        let answer =
            [format!("HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: {}\r\n\r\n", request.len()).into_bytes(), request].concat();
        if stream.write_all(&answer).is_err() || matches!(next, Next::AnswerAndClose) {
            return;
        }
    }
}

/// Reads until `done` finds an end.
fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>, done: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if let Some(end) = done(buffer) {
            return Some(end);
        }
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&chunk[..n]);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
