//! Search lists walked here: `www.example.com.<namespace>.svc.<zone>` can only be a resolver trying its list, so the answer to what it
//! will ask in the end is given at once, behind an alias.
//!
//! Decided from the name and the cluster's state alone, so that every replica and every type say the same (CoreDNS's `autopath` asks
//! who the client is, and goes wrong where addresses are used again). A name exists or not for all types together: A and AAAA are
//! asked for both, and the one that is missing is NODATA. Where nothing on the list exists the answer is NXDOMAIN, and the client
//! walks on in vain as it would have. Must not know upstreams: it asks the server itself.
//!
//! Guards: the namespace exists and no Service has the name in front of it; the client is no process of this machine's own and, where
//! pods are known (`pods verified`, and `--node-local`, which follows those of its node), a pod of that very namespace, whose search list
//! it is. A pod on its node's network is never taken for one: with the default policy it has no such list, and its address is anybody's
//! there. Where pods are not known, such a one is answered as if it had the list. The last step is taken for names of the cluster's own
//! zone, under a delegated top-level domain, or in a zone that a block of its own serves, so that a name like `redis-0.redis`, asked before
//! its Service is there, is told to nobody. The answer's own name holds the namespace, so no cache mixes two of them up.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use crate::name::Name;
use crate::plugins::kubernetes::{Key, Kubernetes, Pods};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Folded, Query, rcode, rtype};

pub(crate) struct Search {
    kubernetes: Arc<Kubernetes>,
    /// The node's own search domains.
    host: Vec<Name>,
}

/// Top-level domains as a resolver finds them in the root zone.
const DELEGATED: &str = include_str!("tlds.txt");

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

    /// What the client will ask, in its order. `has_zone`: whether a name is served by a block of its own.
    fn list(&self, name: &Name, n_labels: usize, has_zone: impl Fn(&Name) -> bool) -> Vec<Name> {
        let mut asked = Vec::new();
        for label in name.labels().take(n_labels) {
            asked.push(label.len() as u8);
            asked.extend(label);
        }
        let zone = &self.kubernetes.zones.primary;
        let services = zone.prefixed(b"\x03svc");
        let domains = services.iter().chain([zone]).chain(&self.host);
        let mut list: Vec<Name> = domains.filter_map(|domain| domain.prefixed(&asked)).collect();
        let stays = |bare: &Name| has_zone(bare) || self.kubernetes.zones.forward_zone_of(bare).is_some();
        list.extend(Name::root().prefixed(&asked).filter(|bare| is_public(bare) || stays(bare)));
        list
    }

    /// Why this client does not have the search list of the name's namespace; `None` where it does, as far as that is known.
    fn is_not_for(&self, client: IpAddr, name: &Folded) -> Option<&'static str> {
        let zones = &self.kubernetes.zones;
        if client.is_loopback() || zones.local.contains(&client) {
            return Some("it is this machine's own");
        }
        let above = name.above(zones.primary.wire(), zones.primary.n_labels()).unwrap_or_default();
        let knows_pods = zones.options.pods == Pods::Verified || zones.options.own_pods;
        let snapshot = self.kubernetes.current.load();
        let is_its = |namespace: &Key| above >= 2 && **namespace == *name.between(above - 2, above - 1);
        (knows_pods && !snapshot.namespace_of_pod(client).is_some_and(is_its)).then_some("no pod of this namespace is known there")
    }
}

/// Whether the root zone delegates the name's last label.
pub(super) fn is_public(name: &Name) -> bool {
    static SORTED: LazyLock<Vec<&str>> =
        LazyLock::new(|| DELEGATED.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect());
    let last = name.labels().last().map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
    SORTED.binary_search_by(|tld| tld.as_bytes().cmp(&last)).is_ok()
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
            let folded = Folded::of(&question.name);
            let expanded = self.expanded(&folded, question.qtype).filter(|_| request.depth == 0);
            let Some(n_labels) = expanded.filter(|_| self.is_not_for(request.client.ip().to_canonical(), &folded).is_none()) else {
                return next.run(request).await;
            };
            for name in self.list(&question.name, n_labels, |name| next.has_zone(name)) {
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

    fn why_not(&self, request: &Request) -> Option<String> {
        let (folded, client) = (Folded::of(&request.question.name), request.client.ip().to_canonical());
        self.expanded(&folded, request.question.qtype).filter(|_| request.depth == 0)?;
        self.is_not_for(client, &folded).map(|why| format!("{client} is not taken to walk a search list: {why}"))
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
