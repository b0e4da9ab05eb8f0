//! The plugins of one block, one behind the other: each answers, or asks the next.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use super::{Route, route_of};
use crate::name::Name;
use crate::wire::message::{Message, Question};
use crate::wire::{self, CLASS_IN, Folded, MAX_TCP, MIN_UDP, Query, flag, rcode, rtype};

/// One plugin that questions pass through.
pub(crate) trait Plugin: Send + Sync {
    /// As in the Corefile: who answered, for the metrics.
    fn name(&self) -> &'static str;

    /// Answers, by itself or with what `next` answers. Failure is an answer too: SERVFAIL.
    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a>;

    /// Whether questions of this class are its business; where not, the next plugin is asked.
    fn knows_class(&self, class: u16) -> bool {
        class == CLASS_IN
    }

    /// Whether this question goes by unchanged, and its answer as well: then the fast path need not come here. Must not wait.
    fn passes(&self, _query: &Query<'_>) -> bool {
        false
    }

    /// Why it lets a question go by that it would answer others, for whoever follows one.
    fn why_not(&self, _request: &Request) -> Option<String> {
        None
    }
}

pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Message> + Send + 'a>>;

/// A question on its way through the plugins, free of the bytes that it came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) question: Question,
    pub(crate) client: SocketAddr,
    /// The address that was asked.
    pub(crate) local: SocketAddr,
    pub(crate) tcp: bool,
    /// Of the message that it came in, and how long that was.
    pub(crate) id: u16,
    pub(crate) size: usize,
    /// RD and CD as the client set them.
    pub(crate) flags: u16,
    pub(crate) dnssec_ok: bool,
    /// Octets of the reply that the client takes.
    pub(crate) limit: usize,
    /// How many times a plugin asked anew on the way here.
    pub(crate) depth: u8,
    /// Asked by the cache on its own account, to have a fresh answer in time.
    pub(crate) refresh: bool,
    /// EDNS options that an upstream is to get (code, data): those of rules, never the client's.
    pub(crate) options: Vec<(u16, Vec<u8>)>,
    /// The serial in the authority section of an IXFR question.
    pub(crate) serial: Option<u32>,
    /// Of the question that came in; there with `metadata`.
    pub(crate) metadata: Option<Arc<dyn Known>>,
}

/// What is known of one question, as it came in (`metadata`).
pub(crate) trait Known: fmt::Debug + Send + Sync {
    /// What stands behind a label such as `kubernetes/service`; `None` where nobody tells it.
    fn value(&self, label: &str) -> Option<String>;
}

/// The plugins behind the current one.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a> {
    rest: &'a [Box<dyn Plugin>],
    routes: &'a [Route],
    /// The plugin that these are behind.
    behind: &'static str,
}

/// The address of questions that came to none.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// More than one chain of aliases inside another is a loop.
const MAX_DEPTH: u8 = 4;

// === impl Request ===

impl Request {
    pub(crate) fn new(query: &Query<'_>, (client, local): (SocketAddr, SocketAddr), tcp: bool) -> Self {
        let name = Name::from_wire(query.name_as_sent());
        let serial = || Message::parse(query.bytes)?.authorities.first()?.serial();
        Self {
            question: Question { name, qtype: query.qtype, qclass: query.qclass },
            client,
            local,
            tcp,
            id: query.id(),
            size: query.bytes.len(),
            flags: query.flags() & (flag::RD | flag::CD),
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            limit: query.limit(tcp),
            depth: 0,
            refresh: false,
            options: Vec::new(),
            serial: if query.qtype == rtype::IXFR { serial() } else { None },
            metadata: None,
        }
    }

    /// A question of nobody's message, by UDP and with no flag set.
    pub(crate) fn of(question: Question, client: SocketAddr) -> Self {
        Self {
            question,
            client,
            local: NOWHERE,
            tcp: false,
            id: 0,
            size: 0,
            flags: 0,
            dnssec_ok: false,
            limit: MIN_UDP,
            depth: 0,
            refresh: false,
            options: Vec::new(),
            serial: None,
            metadata: None,
        }
    }

    /// The same question about another name.
    pub(crate) fn renamed(&self, name: Name) -> Self {
        Self { question: Question { name, ..self.question }, depth: self.depth + 1, serial: None, ..self.clone() }
    }

    /// What `write` writes to a buffer as the answer to this question, read back.
    pub(crate) fn written(&self, write: impl FnOnce(&Query<'_>, &mut [u8]) -> Option<usize>) -> Option<Message> {
        let bytes = Message { flags: self.flags, ..Message::answer(self.question.clone(), rcode::NOERROR) }.encode(MAX_TCP, None);
        let query = Query::parse(&bytes).ok()?;
        wire::with_room(|room| write(&query, room).and_then(|length| Message::parse(&room[..length])))
    }

    pub(crate) fn failed(&self, code: u8) -> Message {
        Message { flags: flag::QR, ..Message::answer(self.question.clone(), code) }
    }
}

// === impl Next ===

impl<'a> Next<'a> {
    /// The plugins of a block from one place on, without a server around them.
    pub(crate) fn of(rest: &'a [Box<dyn Plugin>]) -> Self {
        Self { rest, routes: &[], behind: "" }
    }

    /// The whole server: the block of the question's name, from its first plugin on.
    pub(crate) fn start(routes: &'a [Route]) -> Self {
        Self { rest: &[], routes, behind: "" }
    }

    /// Which plugin is asked next.
    pub(crate) fn name(&self) -> Option<&'static str> {
        self.rest.first().map(|plugin| plugin.name())
    }

    /// Whether a block serves the name that is there for a zone of its own, and not for the rest of the world.
    pub(crate) fn has_zone(self, name: &Name) -> bool {
        route_of(self.routes, &Folded::of(name)).is_some_and(|(_, route)| route.n_labels > 0)
    }

    /// Asks the next plugin. Where there is none, nobody knows the answer: SERVFAIL, as CoreDNS.
    pub(crate) fn run(self, request: &'a Request) -> Answering<'a> {
        match self.rest.split_first() {
            Some((plugin, rest)) if !plugin.knows_class(request.question.qclass) => Next { rest, ..self }.run(request),
            Some((plugin, rest)) => Box::pin(async move {
                let mut answer = plugin.answer(request, Next { rest, behind: plugin.name(), ..self }).await;
                if answer.by.is_empty() {
                    answer.by = plugin.name();
                }
                answer
            }),
            None => Box::pin(async move {
                let error = Some(format!("plugin/{}: no next plugin found", self.behind));
                Message { error, unasked: true, ..request.failed(rcode::SERVFAIL) }
            }),
        }
    }

    /// Asks the whole server about another name.
    pub(crate) fn whole(self, request: &'a Request) -> Answering<'a> {
        if request.depth > MAX_DEPTH {
            return Box::pin(async move { request.failed(rcode::SERVFAIL) });
        }
        match route_of(self.routes, &Folded::of(&request.question.name)) {
            Some((_, route)) => Next { rest: &route.block.plugins, ..self }.run(request),
            None => Box::pin(async move { Message { unasked: true, ..request.failed(rcode::REFUSED) } }),
        }
    }
}
