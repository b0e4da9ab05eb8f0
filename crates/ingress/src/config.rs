//! What an operator can set, with ingress-nginx's defaults.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;
use model::SecretName;

use crate::upstream::Names;

/// How many reports wait for their reader. Certificates change seldom; what finds no room is sent with the next change.
pub(crate) const REPORT_QUEUE: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Plain HTTP listeners (`--http-port`).
    pub http: Vec<SocketAddr>,
    /// TLS listeners (`--https-port`).
    pub https: Vec<SocketAddr>,
    /// `None`: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Lets another process of this user that shares too have the same ports: for an upgrade, while old and new overlap.
    pub share_ports: bool,
    /// `--default-ssl-certificate`: for names that no certificate covers. `None`: one of our own making.
    pub default_certificate: Option<SecretName>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub forwarded: ForwardedHeaders,
    pub access_log: AccessLog,
    /// Where ExternalName Services and `auth-url` may lead.
    pub names: Names,
}

/// Where a limit is met the answer is stated.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections per thread; beyond it no more are accepted and they wait in the backlog (`max-worker-connections`).
    pub connections: usize,
    /// Bytes of a request's head: 431.
    pub header_bytes: usize,
    /// Header fields of a request: 431.
    pub headers: usize,
    /// Bytes of a request's body where a route says nothing else (`proxy-body-size`): 413. 0: no limit.
    pub body_bytes: u64,
    /// Idle upstream connections kept per thread (`upstream-keepalive-connections`); the oldest is closed for a new one.
    pub idle_upstream: usize,
}

#[derive(Clone, Debug)]
pub struct Timeouts {
    /// The TLS handshake of a client: closed.
    pub handshake: Duration,
    /// A client's whole request head, and the pause between two requests (`keep-alive`): closed.
    pub header: Duration,
    /// A client that takes nothing, or sends nothing of a body it promised: closed, or 408.
    pub client: Duration,
    /// `proxy-connect-timeout`: the next endpoint, at last 504.
    pub connect: Duration,
    /// `proxy-read-timeout`, between two reads of an upstream's answer: 504, or cut.
    pub read: Duration,
    /// `proxy-send-timeout`, between two writes to an upstream: 504.
    pub send: Duration,
    /// `upstream-keepalive-timeout`.
    pub idle_upstream: Duration,
    /// `worker-shutdown-timeout`.
    pub drain: Duration,
}

/// Whom to believe about the client.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders {
    /// `use-forwarded-headers`: X-Forwarded-* of the peers in `trusted` are passed on and believed.
    pub believe: bool,
    /// `compute-full-forwarded-for`: add to X-Forwarded-For instead of replacing it.
    pub append: bool,
    /// `proxy-real-ip-cidr`; empty: everyone.
    pub trusted: Vec<IpNet>,
}

/// Where a line per request goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Off,
    Stdout,
}

impl Default for Limits {
    /// ingress-nginx's: 16,384 connections a worker, `large-client-header-buffers 4 8k`, `proxy-body-size 1m`, 320 idle upstreams.
    /// 100 fields: nginx has no such limit, but nobody sends more.
    fn default() -> Self {
        Self { connections: 16_384, header_bytes: 32 * 1024, headers: 100, body_bytes: 1024 * 1024, idle_upstream: 320 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            handshake: secs(10),
            header: secs(60),
            client: secs(60),
            connect: secs(5),
            read: secs(60),
            send: secs(60),
            idle_upstream: secs(60),
            drain: secs(240),
        }
    }
}
