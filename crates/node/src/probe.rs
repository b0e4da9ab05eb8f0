//! Probes: is a container alive, ready, started? One asks, [`Tally`] counts what the answers add up to.
//!
//! Source: kubelet's `prober/worker.go`: thresholds count answers in a row; a readiness probe starts false, a liveness probe true.

pub(crate) mod listening;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::shim;
use crate::spec::{ContainerPort, HttpGet, Probe};

/// As much of an HTTP answer as decides it.
const MAX_STATUS_LINE_BYTES: usize = 1024;

/// Where the probed container is.
#[derive(Clone, Debug)]
pub struct Probed {
    pub pod_ip: IpAddr,
    pub ports: Vec<ContainerPort>,
    /// The shim's folder, for probes that run a command.
    pub shim: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Success,
    /// What an Event says of it.
    Failure(String),
}

/// Answers in a row.
#[derive(Clone, Debug)]
pub struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    successes: u32,
    failures: u32,
}

/// Asks once. Never takes longer than the probe's time-out.
pub async fn ask(probe: &Probe, probed: &Probed) -> Answer {
    let timeout = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1));
    let asked = async {
        if let Some(get) = &probe.http_get {
            http(get, probed).await
        } else if let Some(tcp) = &probe.tcp_socket {
            let port = tcp.port.number(&probed.ports).ok_or("no such port")?;
            let host = address(&tcp.host, probed)?;
            TcpStream::connect((host, port)).await.map(|_| ()).map_err(|error| format!("dial tcp {host}:{port}: {error}"))
        } else if let Some(exec) = &probe.exec {
            command(exec.command.clone(), probed, timeout).await
        } else {
            // A kind of probe that we do not have (gRPC) must not keep a pod from serving.
            Ok(())
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(())) => Answer::Success,
        Ok(Err(why)) => Answer::Failure(why),
        Err(_) => Answer::Failure(format!("no answer within {} s", timeout.as_secs())),
    }
}

/// 200 to 399 is success; a redirect is not followed. Over TLS nobody's certificate is looked at.
pub(crate) async fn http(get: &HttpGet, probed: &Probed) -> Result<(), String> {
    let port = get.port.number(&probed.ports).ok_or("no such port")?;
    let host = SocketAddr::new(address(&get.host, probed)?, port);
    let path = if get.path.is_empty() { "/" } else { &get.path };
    let mut request = format!("GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n");
    let mut has_host = false;
    for header in &get.http_headers {
        has_host |= header.name.eq_ignore_ascii_case("host");
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    if !has_host {
        request.push_str(&format!("Host: {host}\r\n"));
    }
    request.push_str("\r\n");
    let is_tls = get.scheme.eq_ignore_ascii_case("https");
    let asked = async {
        let stream = TcpStream::connect(host).await?;
        if is_tls {
            status(tls::connect(stream, host.ip()).await?, request.as_bytes()).await
        } else {
            status(stream, request.as_bytes()).await
        }
    };
    let scheme = if is_tls { "https" } else { "http" };
    match asked.await.map_err(|error| format!("Get \"{scheme}://{host}{path}\": {error}"))? {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn status(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < MAX_STATUS_LINE_BYTES {
        let mut part = [0; 256];
        match stream.read(&mut part).await? {
            0 => break,
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let status = line.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1)).and_then(|status| status.trim().parse().ok());
    status.ok_or_else(|| std::io::Error::other("malformed HTTP response"))
}

pub(crate) async fn command(argv: Vec<String>, probed: &Probed, timeout: Duration) -> Result<(), String> {
    let request = shim::Request::Exec { argv, timeout_ms: timeout.as_millis() as u64 };
    let shim = probed.shim.clone();
    let answer = tokio::task::spawn_blocking(move || shim::ask(&shim, &request)).await;
    match answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())? {
        shim::Answer::Done | shim::Answer::Exited { exit_code: 0, .. } => Ok(()),
        shim::Answer::Exited { output, .. } => Err(output),
        shim::Answer::TimedOut => Err("command timed out".to_string()),
        shim::Answer::Failed(why) => Err(why),
    }
}

fn address(host: &str, probed: &Probed) -> Result<IpAddr, String> {
    if host.is_empty() { Ok(probed.pod_ip) } else { host.parse().map_err(|_| format!("host {host} is no address")) }
}

// === impl Tally ===

impl Tally {
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            successes: 0,
            failures: 0,
        }
    }

    /// Counts one answer; gives the verdict where it is reached (each further answer of the same kind gives it again).
    pub fn count(&mut self, answer: &Answer) -> Option<bool> {
        match answer {
            Answer::Success => {
                self.failures = 0;
                self.successes += 1;
                (self.successes >= self.success_threshold).then_some(true)
            }
            Answer::Failure(_) => {
                self.successes = 0;
                self.failures += 1;
                (self.failures >= self.failure_threshold).then_some(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::spec::Port;

    #[test]
    fn only_answers_in_a_row_count() {
        let mut tally = Tally::new(&Probe { success_threshold: Some(2), failure_threshold: Some(2), ..Probe::default() });
        let no = Answer::Failure(String::new());
        let verdicts: Vec<_> = [&Answer::Success, &no, &no, &Answer::Success, &Answer::Success].map(|answer| tally.count(answer)).into();
        assert_eq!(verdicts, [None, None, Some(false), None, Some(true)]);
    }

    /// Asks a server that answers `response` whatever comes.
    async fn check(response: &'static str) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.expect("a request");
            stream.write_all(response.as_bytes()).await.expect("sent");
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let get = HttpGet { path: "/healthz".to_string(), port: Port::Name("web".to_string()), ..HttpGet::default() };
        let ports = vec![ContainerPort { name: "web".to_string(), container_port: address.port(), protocol: String::new() }];
        let probed = Probed { pod_ip: address.ip(), ports, shim: PathBuf::new() };
        let answer = ask(&Probe { http_get: Some(get), ..Probe::default() }, &probed).await;
        assert!(server.await.expect("a request").starts_with("GET /healthz HTTP/1.1\r\n"));
        answer
    }

    #[tokio::test]
    async fn an_http_answer_below_400_is_success() {
        assert_eq!(check("HTTP/1.1 204 No Content\r\n\r\n").await, Answer::Success);
        assert_eq!(check("HTTP/1.0 302 Found\r\n\r\n").await, Answer::Success);
        assert_eq!(check("HTTP/1.1 503 No\r\n\r\n").await, Answer::Failure("HTTP probe failed with statuscode: 503".to_string()));
        assert!(matches!(check("SSH-2.0\r\n").await, Answer::Failure(why) if why.ends_with("malformed HTTP response")));
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
        let tcp = crate::spec::TcpSocket { port: Port::Number(closed.port()), host: String::new() };
        let probed = Probed { pod_ip: closed.ip(), ports: Vec::new(), shim: PathBuf::new() };
        let answer = ask(&Probe { tcp_socket: Some(tcp), ..Probe::default() }, &probed).await;
        assert!(matches!(answer, Answer::Failure(why) if why.starts_with("dial tcp")));
    }

    #[tokio::test]
    async fn https_is_spoken_with_whatever_certificate() {
        let key = rcgen::generate_simple_self_signed(["elsewhere.test".to_string()]).expect("a certificate");
        let certificate = vec![key.cert.der().clone()];
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = config.with_no_client_auth().with_single_cert(certificate, private).expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            assert_ne!(stream.read(&mut [0; 1024]).await.expect("a request"), 0);
            stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await.expect("sent");
            stream.shutdown().await.expect("ended");
        });
        let get = HttpGet { scheme: "HTTPS".to_string(), port: Port::Number(address.port()), ..HttpGet::default() };
        let probed = Probed { pod_ip: address.ip(), ports: Vec::new(), shim: PathBuf::new() };
        let answer = ask(&Probe { http_get: Some(get), timeout_seconds: Some(5), ..Probe::default() }, &probed).await;
        assert_eq!(answer, Answer::Failure("HTTP probe failed with statuscode: 500".to_string()));
    }
}
