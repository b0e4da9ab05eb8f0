//! Who asks: connections, requests and queries from the namespace of the calling thread.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A lost SYN is sent again after a second: whoever is connected within that lost none.
const CONNECT: Duration = Duration::from_millis(900);

/// What must come, comes within this.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection that is reset when dropped, so that no port waits in TIME_WAIT.
pub fn connect(to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.connect_timeout(&to.into(), CONNECT)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(ANSWER))?;
    Ok(socket.into())
}

// --- HTTP ---

/// An HTTP/1.1 connection that is kept.
pub struct Http(BufReader<TcpStream>);

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub closes: bool,
    pub body: String,
}

/// One request on a connection of its own.
pub fn get(to: &str, host: &str, path: &str) -> io::Result<Response> {
    Http::connect(to)?.get(host, path)
}

impl Http {
    pub fn connect(to: &str) -> io::Result<Self> {
        connect(to).map(|stream| Self(BufReader::new(stream)))
    }

    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Response> {
        self.send(host, path)?;
        self.receive()
    }

    pub fn send(&mut self, host: &str, path: &str) -> io::Result<()> {
        // In one piece: what is sent in several waits for the other side's acknowledgement.
        self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
    }

    pub fn receive(&mut self) -> io::Result<Response> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut body = vec![0; header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(Response {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            closes: header("connection") == Some("close"),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

impl Response {
    /// A field of what `rutter echo` says.
    pub fn echo(&self, field: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        value[field].as_str().unwrap_or_default().to_string()
    }
}

/// The pod that a new connection to an HTTP port reaches.
pub fn who(to: &str) -> Result<String, String> {
    let answer = get(to, "anyone.test", "/").map_err(|error| format!("{to}: {error}"))?;
    Ok(answer.echo("pod"))
}

// --- plain lines ---

/// A connection to port `lines` of a pod, which answers each line.
pub struct Lines(BufReader<TcpStream>);

impl Lines {
    pub fn connect(to: &str) -> io::Result<Self> {
        connect(to).map(|stream| Self(BufReader::new(stream)))
    }

    /// The pod that answers a line.
    pub fn ask(&mut self) -> io::Result<String> {
        self.0.get_mut().write_all(b"who\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        Ok(said["pod"].as_str().unwrap_or_default().to_string())
    }
}

// --- DNS ---

#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    pub code: u8,
    /// Sorted.
    pub addresses: Vec<Ipv4Addr>,
    pub aliases: usize,
}

/// Asks `server` for the A records of `name` over UDP, once.
pub fn resolve(server: &str, name: &str) -> io::Result<Names> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER))?;
    // RFC 1035 section 4.1: ID, flags, counts; then the question. The port is the socket's own: the ID need not be random.
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    let mut answer = [0; 4096];
    let n = socket.recv(&mut answer)?;
    Names::read(&answer[..n], query.len()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Names {
    /// `at`: where the question ends.
    fn read(message: &[u8], mut at: usize) -> Option<Self> {
        let mut names = Self { code: message.get(3)? & 0xf, addresses: Vec::new(), aliases: 0 };
        for _ in 0..u16::from_be_bytes([*message.get(6)?, *message.get(7)?]) {
            // The owner: labels until the root or a pointer.
            loop {
                match *message.get(at)? {
                    0 => break at += 1,
                    pointer if pointer >= 0xc0 => break at += 2,
                    length => at += usize::from(length) + 1,
                }
            }
            let [kind, length] = [message.get(at..at + 2)?, message.get(at + 8..at + 10)?].map(|two| u16::from_be_bytes([two[0], two[1]]));
            let data = message.get(at + 10..at + 10 + usize::from(length))?;
            match (kind, data) {
                (1, [a, b, c, d]) => names.addresses.push(Ipv4Addr::new(*a, *b, *c, *d)),
                (5, _) => names.aliases += 1,
                _ => {}
            }
            at += 10 + usize::from(length);
        }
        names.addresses.sort_unstable();
        Some(names)
    }

    pub fn has(&self, address: &str) -> bool {
        address.parse::<IpAddr>().is_ok_and(|address| self.addresses.iter().any(|it| IpAddr::V4(*it) == address))
    }
}
