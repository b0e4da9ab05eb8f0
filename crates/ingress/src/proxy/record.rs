//! What is known of one request for the log, the metrics and the pool, from its head to the last byte of its answer.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Body as _, Incoming};
use hyper::http::header::{HeaderValue, REFERER, USER_AGENT};
use hyper::http::{HeaderMap, Method, Request, Response, Uri, Version};

use crate::access_log::{Entry, Try};
use crate::body::{Done, Progress, ResponseBody, State};
use crate::core::Core;
use crate::filter::limit::InFlight;
use crate::table::route::Labels;
use crate::upstream::connection::{Connection, Peer};

/// Counted and logged when it is dropped: after the answer's last byte, or when somebody gave up.
pub(super) struct Record {
    core: Rc<Core>,
    client: IpAddr,
    method: Method,
    started: Instant,
    status: u16,
    sent_bytes: u64,
    pub labels: Option<Arc<Labels>>,
    pub id: Option<HeaderValue>,
    pub tries: Vec<Try>,
    /// The connection that the answer comes over; it goes back to the pool once both bodies are through.
    pub lease: Option<Lease>,
    /// Counted among the client's requests at once.
    pub in_flight: Option<InFlight>,
    /// Only where there is a log.
    head: Option<Box<Head>>,
}

pub(super) struct Lease {
    pub peer: Peer,
    pub connection: Connection,
    pub progress: Progress,
    pub started: Instant,
}

struct Head {
    uri: Uri,
    version: Version,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    bytes: u64,
}

// === impl Record ===

impl Record {
    pub(super) fn new(core: Rc<Core>, client: IpAddr, request: &Request<Incoming>) -> Self {
        let head = core.shared.log.is_some().then(|| Box::new(Head::of(request)));
        Self {
            core,
            client,
            method: request.method().clone(),
            started: Instant::now(),
            // nginx's word for a client that left before it was answered.
            status: 499,
            sent_bytes: 0,
            labels: None,
            id: None,
            tries: Vec::new(),
            lease: None,
            in_flight: None,
            head,
        }
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Answers with a page of our own.
    pub(super) fn page(mut self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.status = response.status().as_u16();
        self.sent_bytes = response.body().size_hint().lower();
        response
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Notes an attempt that led to no answer.
    pub(super) fn failed(&mut self, endpoint: SocketAddr, started: Instant, status: u16) {
        self.tries.push(Try { endpoint, received_bytes: 0, took: started.elapsed(), status });
    }
}

impl Done for Record {
    fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    fn finished(&mut self) {
        let Some(Lease { peer, connection, progress, started }) = self.lease.take() else { return };
        self.tries.push(Try { endpoint: peer.endpoint, received_bytes: self.sent_bytes, took: started.elapsed(), status: self.status });
        // An upstream that answered before it took the whole request will not read another from the middle of this one.
        if progress.get() == State::Done && !self.core.connections.are_draining() {
            self.core.pool.put(peer, connection);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(Lease { peer, started, .. }) = self.lease.take() {
            self.tries.push(Try { endpoint: peer.endpoint, received_bytes: self.sent_bytes, took: started.elapsed(), status: self.status });
        }
        let took = self.started.elapsed();
        if let Some(labels) = &self.labels {
            let upstream = self.tries.last().map(|last| last.took);
            self.core.counters.count(labels, self.status, &self.method, took, upstream, self.sent_bytes);
        }
        let (Some(log), Some(head)) = (&self.core.shared.log, &self.head) else { return };
        let text = |value: &'_ Option<HeaderValue>| value.clone().map_or_else(Vec::new, |value| value.as_bytes().to_vec());
        log.write(&Entry {
            client: self.client,
            method: self.method.as_str(),
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
            version: if head.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            status: self.status,
            sent_bytes: self.sent_bytes,
            referer: &text(&head.referer),
            user_agent: &text(&head.user_agent),
            request_bytes: head.bytes,
            took,
            upstream_name: self.labels.as_ref().map_or("", |labels| &labels.upstream),
            tries: &self.tries,
            id: &text(&self.id),
        });
    }
}

// === impl Head ===

impl Head {
    fn of(request: &Request<Incoming>) -> Self {
        let headers = request.headers();
        let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
        // "GET /x HTTP/1.1\r\n" and the empty line at the end; a chunked body is not counted, as its length is unknown by now.
        let line = request.method().as_str().len() + target + " ".len() + " HTTP/1.1\r\n\r\n".len();
        Self {
            uri: request.uri().clone(),
            version: request.version(),
            referer: headers.get(REFERER).cloned(),
            user_agent: headers.get(USER_AGENT).cloned(),
            bytes: (line + bytes_of(headers)) as u64 + request.body().size_hint().exact().unwrap_or(0),
        }
    }
}

fn bytes_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}
