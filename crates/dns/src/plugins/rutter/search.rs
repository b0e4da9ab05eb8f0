//! Search lists walked here: `www.example.com.<namespace>.svc.<zone>` can only be a resolver trying its list, so the answer to what it
//! will ask in the end is given at once, behind an alias.
//!
//! Decided from the name and the cluster's state alone, so that every replica and every type say the same (CoreDNS's `autopath` asks
//! who the client is, and goes wrong where addresses are used again). A name exists or not for all types together: A and AAAA are
//! asked for both, and the one that is missing is NODATA. Where nothing on the list exists the answer is NXDOMAIN, and the client
//! walks on in vain as it would have. Must not know upstreams: it asks the server itself.
//!
//! Guards: the namespace exists and no Service has the name in front of it; the client is no process of this machine's own; the last
//! step leaves the cluster for names under a public suffix only.

use std::net::IpAddr;
use std::sync::Arc;

use crate::name::Name;
use crate::plugins::kubernetes::Kubernetes;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Folded, Query, rcode, rtype};

pub(crate) struct Search {
    kubernetes: Arc<Kubernetes>,
    /// The node's own search domains.
    host: Vec<Name>,
}

/// Last labels that are nobody's in the public tree (RFC 6761, RFC 6762, RFC 9476, ICANN's `internal`, and what routers hand out).
const NEVER_PUBLIC: &[&[u8]] = &[
    b"local",
    b"localhost",
    b"localdomain",
    b"internal",
    b"invalid",
    b"test",
    b"alt",
    b"onion",
    b"lan",
    b"home",
    b"corp",
    b"mail",
    b"svc",
    b"pod",
    b"cluster",
    b"arpa",
];

impl Search {
    pub(crate) fn new(kubernetes: Arc<Kubernetes>, host: Vec<Name>) -> Self {
        Self { kubernetes, host }
    }

    /// How many labels of a name were asked for before a resolver put its namespace's domain behind them; `None` for any other name.
    fn expanded(&self, name: &Folded, qtype: u16) -> Option<usize> {
        if ![rtype::A, rtype::AAAA].contains(&qtype) {
            return None;
        }
        let zone = &self.kubernetes.zones.primary;
        let above = name.above(zone.wire(), zone.n_labels())?;
        if above < 4 || name.label(above - 1) != b"svc" || name.label(0).first() == Some(&b'_') {
            return None;
        }
        let snapshot = self.kubernetes.current.load();
        let exists = snapshot.has_namespace(name.between(above - 2, above - 1), &self.kubernetes.zones.options);
        let service = snapshot.services.get(name.between(above - 3, above - 1)).is_some();
        (snapshot.synced && exists && !service).then_some(above - 2)
    }

    /// What the client will ask, in its order.
    fn list(&self, name: &Name, n_labels: usize) -> Vec<Name> {
        let mut asked = Vec::new();
        for label in name.labels().take(n_labels) {
            asked.push(label.len() as u8);
            asked.extend(label);
        }
        let zone = &self.kubernetes.zones.primary;
        let services = zone.prefixed(b"\x03svc");
        let domains = services.iter().chain([zone]).chain(&self.host);
        let mut list: Vec<Name> = domains.filter_map(|domain| domain.prefixed(&asked)).collect();
        let last = name.labels().nth(n_labels - 1).unwrap_or_default().to_ascii_lowercase();
        let public = last.len() > 1 && last.iter().all(|byte| byte.is_ascii_alphabetic()) || last.starts_with(b"xn--");
        if public && !NEVER_PUBLIC.contains(&last.as_slice()) {
            list.extend(Name::root().prefixed(&asked));
        }
        list
    }

    fn is_own(&self, client: IpAddr) -> bool {
        client.is_loopback() || self.kubernetes.zones.local.contains(&client)
    }
}

/// The other family.
fn sibling(qtype: u16) -> u16 {
    if qtype == rtype::A { rtype::AAAA } else { rtype::A }
}

impl Plugin for Search {
    fn name(&self) -> &'static str {
        "rutter"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            let question = &request.question;
            let expanded = self.expanded(&Folded::of(&question.name), question.qtype).filter(|_| request.depth == 0);
            let Some(n_labels) = expanded.filter(|_| !self.is_own(request.client.ip().to_canonical())) else {
                return next.run(request).await;
            };
            for name in self.list(&question.name, n_labels) {
                let asked = request.renamed(name.clone());
                let mut other = asked.clone();
                other.question.qtype = sibling(question.qtype);
                let (found, twin) = tokio::join!(next.whole(&asked), next.whole(&other));
                // What one family's answer lacks the other's may prove: that the name exists.
                if ![found.rcode, twin.rcode].contains(&rcode::NOERROR) {
                    continue;
                }
                return alias(request, name, found);
            }
            next.run(request).await
        })
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        self.expanded(&query.name, query.qtype).is_none()
    }
}

/// `found` as the answer to the name that was asked.
fn alias(request: &Request, name: Name, found: Message) -> Message {
    let mut answer = Message::answer(request.question.clone(), rcode::NOERROR);
    let ttl = found.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    answer.answers.push(Record::new(request.question.name.clone(), rtype::CNAME, ttl, name.wire().to_vec()));
    answer.answers.extend(found.answers);
    if found.rcode == rcode::NOERROR {
        answer.authorities = found.authorities;
    }
    answer
}
