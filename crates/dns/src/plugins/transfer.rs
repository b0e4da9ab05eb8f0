//! `transfer [ZONE...] { to HOST... }`: who may ask for a zone as a whole (AXFR, IXFR), and what it then holds.
//!
//! Everything is read from one snapshot, so a transfer is one state of the zone however long the client takes. Source: RFC 5936,
//! RFC 1995, and CoreDNS for which records a cluster's zone consists of (no PTR, pod, TXT or zonal records). The zones of `k8s_external`
//! it has from there.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::facts::{ServicePort, Slice};
use model::name::{NamedImport, NamedKind, NamedService, cluster, ready_endpoints};

use crate::config::directive::{Directive, Mistakes};
use crate::name::{Name, label};
use crate::plugins::k8s_external::External;
use crate::plugins::kubernetes::{self, Kubernetes, Snapshot, endpoint_labels, name_servers};
use crate::plugins::scope::{longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Query, rcode, rtype};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub to: Vec<To>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Anyone,
    Address(IpAddr),
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let mut options = Options { zones: directive.zones(mistakes), to: Vec::new() };
    for property in &directive.body {
        match property.name.as_str() {
            "to" => {}
            // Of notifications, which are not sent of names that change all the time.
            "source" => {
                property.parsed::<IpAddr>("an address", mistakes);
                continue;
            }
            _ => {
                mistakes.unknown(property, "transfer", &["to", "source"]);
                continue;
            }
        }
        for arg in &property.args {
            let address = arg.parse().or_else(|_| arg.parse::<SocketAddr>().map(|address| address.ip()));
            match address {
                _ if arg == "*" => options.to.push(To::Anyone),
                Ok(address) => options.to.push(To::Address(address)),
                Err(_) => mistakes.add(property.line, format!("`to {arg}`: neither `*` nor an address")),
            }
        }
    }
    if options.to.is_empty() {
        mistakes.add(directive.line, "`transfer` needs `to` with at least one address or `*`");
    }
    Some(options)
}

// === impl Options ===

impl Options {
    fn allows(&self, request: &Request) -> bool {
        let client = request.client.ip().to_canonical();
        self.to.iter().any(|to| match to {
            To::Anyone => true,
            To::Address(address) => *address == client,
        })
    }
}

/// The plugin at work: its one answer is the whole zone, which goes out in as many messages as it takes.
pub(crate) struct Transfer {
    /// With the zones that each is about.
    rules: Vec<(Vec<Name>, Options)>,
    kubernetes: Arc<Kubernetes>,
    /// Of the same block, if there is one.
    external: Option<Arc<External>>,
}

/// Records of one message. 200 records of a cluster's names stay far below its 64 kB.
const BATCH: usize = 200;

/// The messages that a transfer goes out in.
pub(crate) fn messages(mut whole: Message) -> impl Iterator<Item = Message> {
    let records = std::mem::take(&mut whole.answers);
    let n = records.len().div_ceil(BATCH).max(1);
    (0..n).map(move |at| {
        let part = records.iter().skip(at * BATCH).take(BATCH).cloned().collect();
        Message { answers: part, ..whole.clone() }
    })
}

impl Transfer {
    pub(crate) fn new(rules: Vec<Options>, block: &[Name], kubernetes: Arc<Kubernetes>, external: Option<Arc<External>>) -> Self {
        let rules = rules.into_iter().map(|options| (zones_or(&options.zones, block), options)).collect();
        Self { rules, kubernetes, external }
    }

    /// The whole zone; a refusal where that is not allowed. `None`: it is no zone of these.
    fn zone(&self, request: &Request) -> Option<Message> {
        let zones = &self.kubernetes.zones;
        let name = request.question.name.folded();
        let external = self.external.as_ref().filter(|external| external.has_zone(&name));
        let ours = external.is_some() || zones.options.zones.iter().any(|zone| zone.folded() == name) && !name.is_reverse();
        let snapshot = self.kubernetes.current.load();
        match self.rule(request) {
            Some(rule) if !rule.allows(request) => return Some(request.failed(rcode::REFUSED)),
            Some(_) if ours => {}
            // No datagram has room for a zone, whoever else may know it.
            _ => return (!request.tcp).then(|| request.failed(rcode::REFUSED)),
        }
        if !snapshot.synced {
            return Some(request.failed(rcode::SERVFAIL));
        }
        let soa = external.map_or_else(|| self.soa(request), |external| external.soa(&request.question.name, &snapshot));
        let Some(soa) = soa else { return Some(request.failed(rcode::SERVFAIL)) };
        let mut answer = Message::answer(request.question.clone(), rcode::NOERROR);
        let incremental = request.question.qtype == rtype::IXFR;
        if incremental && (request.serial == Some(snapshot.serial) || !request.tcp) {
            // Up to date; by UDP the one record says: come by TCP if you are not (RFC 1995 section 2).
            answer.answers.push(soa);
            return Some(answer);
        }
        if !request.tcp {
            return Some(request.failed(rcode::REFUSED));
        }
        let records = match external {
            Some(external) => external.records_of(&request.question.name, &snapshot),
            None => self.records_of(&request.question.name, &snapshot),
        };
        answer.answers = std::iter::once(soa.clone()).chain(records).chain([soa]).collect();
        Some(answer)
    }

    /// The directive whose zone is the longest around the name.
    fn rule(&self, request: &Request) -> Option<&Options> {
        let n_labels = |zones: &[Name]| longest(zones, &request.question.name).map(Name::n_labels);
        let rules = self.rules.iter().filter_map(|(zones, options)| Some((n_labels(zones)?, options)));
        rules.max_by_key(|(n_labels, _)| *n_labels).map(|(_, options)| options)
    }

    /// The records of one of the cluster's zones but for its SOA.
    fn records_of(&self, zone: &Name, snapshot: &Snapshot) -> Vec<Record> {
        let options = &self.kubernetes.zones.options;
        let mut records = Vec::new();
        self.name_servers(zone, snapshot, &mut records);
        let exposed = |key: &[u8]| snapshot.has_namespace(&key[1 + usize::from(key[0])..], options);
        let mut holds: Vec<Held> = if options.multicluster.contains(&zone.folded()) {
            snapshot.named_imports(options).map(|(key, import)| Held::of_import(key, &import)).collect()
        } else {
            let services = snapshot.services.iter().filter_map(|entry| Some((&*entry.key, entry.service.as_ref()?)));
            services.map(|(key, service)| Held::of_service(key.into(), service)).collect()
        };
        holds.retain(|held| exposed(&held.key));
        // In a fixed order, and an alias before what it leads to.
        holds.sort_by(|one, other| (!one.is_alias(), &one.key).cmp(&(!other.is_alias(), &other.key)));
        for held in &holds {
            held.records(zone, options, &mut records);
        }
        records
    }

    fn soa(&self, request: &Request) -> Option<Record> {
        let mut asked = request.clone();
        asked.question.qtype = rtype::SOA;
        let answer = asked.written(|query, buffer| {
            let limit = buffer.len();
            match self.kubernetes.answer(query, buffer, limit, 0) {
                crate::plugins::kubernetes::Outcome::Written(length, _) => Some(length),
                _ => None,
            }
        })?;
        answer.answers.into_iter().next()
    }

    fn name_servers(&self, zone: &Name, snapshot: &Snapshot, out: &mut Vec<Record>) {
        let ttl = self.kubernetes.zones.options.ttl_secs;
        for (labels, addresses) in name_servers(&self.kubernetes.zones, snapshot) {
            let Some(server) = zone.prefixed(&labels) else { continue };
            out.push(Record::new(zone.clone(), rtype::NS, ttl, server.wire().to_vec()));
            // 0: glue is not for keeping.
            out.extend(addresses.into_iter().map(|address| Record::address(server.clone(), 0, address)));
        }
    }
}

/// What a zone holds of one Service, of this cluster or of others.
struct Held {
    key: Arc<[u8]>,
    kind: NamedKind,
    ports: Vec<ServicePort>,
    slices: Box<[Arc<Slice>]>,
    /// Its endpoints' names tell which cluster they live in.
    imported: bool,
}

impl Held {
    fn of_service(key: Arc<[u8]>, service: &NamedService) -> Self {
        Self { key, kind: service.kind.clone(), ports: service.ports.clone(), slices: service.slices.clone(), imported: false }
    }

    fn of_import(key: Arc<[u8]>, NamedImport { import, slices }: &NamedImport) -> Self {
        let kind = if import.headless { NamedKind::Headless } else { NamedKind::ClusterIp(import.ips.clone()) };
        Self { key, kind, ports: import.ports.clone(), slices: slices.clone(), imported: true }
    }

    fn is_alias(&self) -> bool {
        matches!(self.kind, NamedKind::ExternalName(_))
    }

    fn records(&self, zone: &Name, options: &kubernetes::Options, out: &mut Vec<Record>) {
        let ttl = options.ttl_secs;
        let Some(name) = zone.prefixed(&[&self.key, &b"\x03svc"[..]].concat()) else { return };
        let port_name = |port: &str, protocol: model::Protocol| {
            let labels = [label(&format!("_{port}"))?, label(&format!("_{}", protocol.lower()))?].concat();
            name.prefixed(&labels).filter(|_| !port.is_empty())
        };
        match &self.kind {
            NamedKind::ExternalName(target) => {
                if let Ok(target) = Name::parse(target)
                    && target.to_string().trim_end_matches('.').parse::<IpAddr>().is_err()
                {
                    out.push(Record::new(name.clone(), rtype::CNAME, ttl, target.wire().to_vec()));
                }
            }
            NamedKind::ClusterIp(ips) => {
                out.extend(ips.iter().map(|ip| Record::address(name.clone(), ttl, *ip)));
                for port in &self.ports {
                    out.push(Record::srv(name.clone(), ttl, 100, port.port, &name));
                    out.extend(port_name(&port.name, port.protocol).map(|owner| Record::srv(owner, ttl, 100, port.port, &name)));
                }
            }
            // `noendpoints` means those of this cluster.
            NamedKind::Headless if options.no_endpoints && !self.imported => {}
            NamedKind::Headless => {
                let mut found = Vec::new();
                for slice in &self.slices {
                    // CoreDNS's weight: of the endpoints of one slice.
                    let weight = (100 / ready_endpoints(slice).count().max(1)).max(1) as u16;
                    for endpoint in ready_endpoints(slice) {
                        let mut labels = endpoint_labels(&endpoint, options);
                        if self.imported {
                            labels.extend(label(cluster(slice)).unwrap_or_default());
                        }
                        let Some(host) = name.prefixed(&labels) else { continue };
                        found.push(Record::address(name.clone(), ttl, endpoint.address));
                        found.push(Record::address(host.clone(), ttl, endpoint.address));
                        for port in endpoint.ports {
                            found.extend(
                                port_name(&port.name, port.protocol).map(|owner| Record::srv(owner, ttl, weight, port.port, &host)),
                            );
                        }
                    }
                }
                // An endpoint on its way from one slice to another is in both; a record is in a zone once.
                let mut seen = HashSet::new();
                out.extend(found.into_iter().filter(|record| seen.insert(record.clone())));
            }
        }
    }
}

impl Plugin for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        match rtype::is_transfer(request.question.qtype).then(|| self.zone(request)).flatten() {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => next.run(request),
        }
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        !rtype::is_transfer(query.qtype)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::Corefile;
    use crate::plugins::kubernetes::tests::routes_of;
    use crate::plugins::tests::{request, shown};

    const OBJECTS: &str = "
ns default
svc default/web 10.96.0.1 http:80/tcp :81/tcp
headless default/db
  ep 10.1.0.2 pg:5432/tcp host=db-0
  ep 10.1.0.2 pg:5432/tcp host=db-0
external default/search web.default.svc.cluster.local
import default/far
  far east 10.5.0.1 http:80/tcp
";

    /// What comes of a question for a zone by TCP (or UDP), but for the SOA's serial.
    fn check(to: &str, question: &str, tcp: bool, expected: &Expect) {
        let corefile = format!(
            ". {{\n kubernetes cluster.local cluster.set {{\n multicluster cluster.set\n }}\n rewrite ttl regex set 7\n transfer {{\n to {to}\n }}\n}}"
        );
        let routes = routes_of(&Corefile::parse(&corefile).expect("a Corefile"), OBJECTS, false);
        let request = Request { tcp, ..request(question) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answer = runtime.block_on(Next::start(&routes).whole(&request));
        let serial = answer.answers.first().and_then(Record::serial).unwrap_or_default().to_string();
        expected.assert_eq(&shown(&answer).replace(&format!(" {serial} "), " SERIAL "));
    }

    #[test]
    fn a_zone_holds_each_record_once_between_two_soas() {
        check(
            "*",
            "cluster.local. AXFR",
            true,
            &expect![[r#"
            NOERROR
            cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
            cluster.local. 5 NS ns.dns.cluster.local.
            ns.dns.cluster.local. 0 A 10.1.0.1
            search.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
            db.default.svc.cluster.local. 5 A 10.1.0.2
            db-0.db.default.svc.cluster.local. 5 A 10.1.0.2
            _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 100 5432 db-0.db.default.svc.cluster.local.
            web.default.svc.cluster.local. 5 A 10.96.0.1
            web.default.svc.cluster.local. 5 SRV 0 100 80 web.default.svc.cluster.local.
            _http._tcp.web.default.svc.cluster.local. 5 SRV 0 100 80 web.default.svc.cluster.local.
            web.default.svc.cluster.local. 5 SRV 0 100 81 web.default.svc.cluster.local.
            cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5
        "#]],
        );
        // What rewrite does to answers it does to these as well.
        check(
            "10.2.0.1",
            "cluster.set. AXFR",
            true,
            &expect![[r#"
            NOERROR
            cluster.set. 7 SOA ns.dns.cluster.set. hostmaster.cluster.set. SERIAL 7200 1800 86400 5
            cluster.set. 7 NS ns.dns.cluster.set.
            ns.dns.cluster.set. 7 A 10.1.0.1
            far.default.svc.cluster.set. 7 A 10.5.0.1
            10-5-0-1.east.far.default.svc.cluster.set. 7 A 10.5.0.1
            _http._tcp.far.default.svc.cluster.set. 7 SRV 0 100 80 10-5-0-1.east.far.default.svc.cluster.set.
            cluster.set. 7 SOA ns.dns.cluster.set. hostmaster.cluster.set. SERIAL 7200 1800 86400 5
        "#]],
        );
    }

    #[test]
    fn what_is_outside_is_a_zone_as_well() {
        let corefile = ". {\n kubernetes cluster.local\n k8s_external example.org {\n headless\n }\n transfer cluster.local {\n to 10.9.9.9\n }\n transfer {\n to *\n }\n}";
        let routes = routes_of(&Corefile::parse(corefile).expect("a Corefile"), OBJECTS, false);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ask = |question: &str| runtime.block_on(Next::start(&routes).whole(&Request { tcp: true, ..request(question) }));
        let answer = ask("example.org. AXFR");
        let serial = answer.answers.first().and_then(Record::serial).unwrap_or_default().to_string();
        expect![[r#"
            NOERROR
            example.org. 5 SOA ns1.dns.example.org. hostmaster.dns.example.org. SERIAL 7200 1800 86400 5
            example.org. 5 NS ns1.dns.example.org.
            ns1.dns.example.org. 5 A 10.1.0.1
            db.default.example.org. 5 A 10.1.0.2
            db.default.example.org. 5 SRV 0 50 5432 db-0.db.default.example.org.
            db-0.db.default.example.org. 5 A 10.1.0.2
            db-0.db.default.example.org. 5 SRV 0 50 5432 db-0.db.default.example.org.
            _pg._tcp.db.default.example.org. 5 SRV 0 50 5432 db-0.db.default.example.org.
            example.org. 5 SOA ns1.dns.example.org. hostmaster.dns.example.org. SERIAL 7200 1800 86400 5
        "#]]
        .assert_eq(&shown(&answer).replace(&format!(" {serial} "), " SERIAL "));
        assert_eq!(ask("cluster.local. AXFR").rcode, rcode::REFUSED, "it has a rule of its own");
    }

    #[test]
    fn who_may_not_have_it_is_refused() {
        let refused = expect![[r#"
            REFUSED
        "#]];
        check("10.2.0.2", "cluster.local. AXFR", true, &refused);
        check("*", "cluster.local. AXFR", false, &refused);
        check("*", "svc.cluster.local. AXFR", true, &refused);
    }

    #[test]
    fn a_long_zone_takes_several_messages() {
        let mut whole = request("cluster.local. AXFR").failed(rcode::NOERROR);
        whole.answers = vec![Record::address(Name::root(), 5, [10, 0, 0, 1].into()); 2 * BATCH + 1];
        assert_eq!(messages(whole).map(|message| message.answers.len()).collect::<Vec<_>>(), [BATCH, BATCH, 1]);
        assert_eq!(messages(request("cluster.local. AXFR").failed(rcode::REFUSED)).count(), 1);
    }
}
