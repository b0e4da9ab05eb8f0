//! The access log: one line per request in ingress-nginx's format, written by a thread of its own.
//!
//! A request never waits for the log: what finds the queue full is dropped and counted.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use runtime::Drain;
use runtime::metrics::IntCounter;
use runtime::time::CommonLog;

/// Lines that wait for the writer: some 2 MB.
const QUEUE: usize = 8_192;

#[derive(Clone)]
pub(crate) struct Log {
    lines: SyncSender<String>,
    dropped: IntCounter,
}

/// How long lines gather. The queue holds what 400,000 requests a second write in that time.
const GATHER: Duration = Duration::from_millis(20);

/// What a line says. Texts come from the client: they are escaped.
pub(crate) struct Entry<'a> {
    pub client: IpAddr,
    pub method: &'a str,
    pub target: &'a str,
    pub version: &'static str,
    pub status: u16,
    pub sent_bytes: u64,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    pub request_bytes: u64,
    pub took: Duration,
    pub upstream_name: &'a str,
    pub tries: &'a [Try],
    pub id: &'a [u8],
}

/// One attempt at an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub endpoint: SocketAddr,
    pub received_bytes: u64,
    pub took: Duration,
    pub status: u16,
}

// === impl Log ===

impl Log {
    /// Starts the writer, which ends when the last `Log` is dropped and every line is written; until then it holds `drain`.
    pub(crate) fn start(dropped: IntCounter, drain: Drain) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        // Locked for each write and no longer: others have something to print as well, such as that all is ready.
        std::thread::Builder::new().name("ingress-log".into()).spawn(move || {
            write(&queue, &mut io::stdout());
            drop(drain);
        })?;
        Ok(Self { lines, dropped })
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        if self.lines.try_send(entry.line()).is_err() {
            self.dropped.inc();
        }
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// ingress-nginx's `upstreaminfo`:
    /// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length
    /// $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length
    /// $upstream_response_time $upstream_status $req_id`.
    fn line(&self) -> String {
        let mut line = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = write!(line, "{} - - [{}] \"", self.client, CommonLog(SystemTime::now()));
        escape(&mut line, self.method.as_bytes());
        line.push(' ');
        escape(&mut line, self.target.as_bytes());
        let _ = write!(line, " {}\" {} {} \"", self.version, self.status, self.sent_bytes);
        escape(&mut line, self.referer);
        line.push_str("\" \"");
        escape(&mut line, self.user_agent);
        let _ = write!(line, "\" {} {} [{}] [] ", self.request_bytes, Secs(self.took), self.upstream_name);
        self.list(&mut line, |line, tried| write!(line, "{}", tried.endpoint));
        self.list(&mut line, |line, tried| write!(line, "{}", tried.received_bytes));
        self.list(&mut line, |line, tried| write!(line, "{}", Secs(tried.took)));
        self.list(&mut line, |line, tried| write!(line, "{}", tried.status));
        escape(&mut line, self.id);
        line.push('\n');
        line
    }

    /// One value for each try, or `-`.
    fn list(&self, line: &mut String, value: impl Fn(&mut String, &Try) -> std::fmt::Result) {
        for (at, tried) in self.tries.iter().enumerate() {
            line.push_str(if at == 0 { "" } else { ", " });
            let _ = value(line, tried);
        }
        line.push_str(if self.tries.is_empty() { "- " } else { " " });
    }
}

/// Seconds with milliseconds, as nginx writes times.
struct Secs(Duration);

impl std::fmt::Display for Secs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// As nginx's `escape=default`: `"`, `\` and what is not printable ASCII become `\xXX`; nothing becomes `-`.
fn escape(line: &mut String, text: &[u8]) {
    if text.is_empty() {
        line.push('-');
    }
    for &byte in text {
        if matches!(byte, b'"' | b'\\') || !(b' '..=b'~').contains(&byte) {
            let _ = write!(line, "\\x{byte:02X}");
        } else {
            line.push(char::from(byte));
        }
    }
}

/// Writes what has gathered and lets more gather: to wake this thread for each line costs a request more than the line itself.
fn write(queue: &Receiver<String>, out: &mut impl io::Write) {
    while let Ok(mut lines) = queue.recv() {
        while lines.len() < 64 * 1024
            && let Ok(more) = queue.try_recv()
        {
            lines.push_str(&more);
        }
        // Nobody to tell: the log itself is what broke.
        let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        std::thread::sleep(GATHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_ingress_nginx_writes_it() {
        let tried = |status, millis| Try {
            endpoint: "10.0.1.2:8080".parse().expect("an address"),
            received_bytes: 12,
            took: Duration::from_millis(millis),
            status,
        };
        let entry = Entry {
            client: "192.0.2.7".parse().expect("an address"),
            method: "GET",
            target: "/a?b=\"c",
            version: "HTTP/1.1",
            status: 200,
            sent_bytes: 12,
            referer: b"",
            user_agent: b"curl/8\n",
            request_bytes: 80,
            took: Duration::from_millis(1_204),
            upstream_name: "default-web-80",
            tries: &[tried(502, 1_000), tried(200, 204)],
            id: b"0123",
        };
        let line = entry.line();
        let (before, rest) = line.split_once('[').expect("a time");
        let (_, after) = rest.split_once("] ").expect("a time");
        assert_eq!(before, "192.0.2.7 - - ");
        assert_eq!(
            after,
            "\"GET /a?b=\\x22c HTTP/1.1\" 200 12 \"-\" \"curl/8\\x0A\" 80 1.204 [default-web-80] [] 10.0.1.2:8080, 10.0.1.2:8080 12, 12 1.000, 0.204 502, 200 0123\n"
        );
    }

    #[test]
    fn without_an_upstream_its_fields_are_dashes() {
        let entry = Entry {
            client: "::1".parse().expect("an address"),
            method: "GET",
            target: "/",
            version: "HTTP/1.0",
            status: 404,
            sent_bytes: 21,
            referer: b"",
            user_agent: b"",
            request_bytes: 20,
            took: Duration::ZERO,
            upstream_name: "",
            tries: &[],
            id: b"x",
        };
        assert!(entry.line().ends_with("\"GET / HTTP/1.0\" 404 21 \"-\" \"-\" 20 0.000 [] [] - - - - x\n"), "{}", entry.line());
    }
}
