//! `k8s_external ZONE...`: Services by the addresses that they have outside of the cluster (`<service>.<namespace>.<zone>`).
//!
//! Reads the snapshot that `kubernetes` of the same block keeps; which namespaces and Services exist is its options' business. Source:
//! CoreDNS's `k8s_external`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::facts::LoadBalancerName;
use model::name::{NamedKind, NamedService};

use crate::config::directive::{Directive, Mistakes};
use crate::name::{Name, label, labels};
use crate::plugins::kubernetes::{Kubernetes, Snapshot, endpoint_labels, reversed};
use crate::plugins::scope::{Fallthrough, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Question, Record};
use crate::wire::{CLASS_IN, Query, rcode, rtype};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    /// The label under the zone that holds the name server's and the mailbox's names, in wire form.
    pub apex: Vec<u8>,
    pub ttl_secs: u32,
    /// Headless Services are shown with their endpoints.
    pub headless: bool,
    pub fallthrough: Fallthrough,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    const KNOWN: &[&str] = &["apex", "ttl", "headless", "fallthrough"];
    let mut options = Options {
        zones: directive.zones(mistakes),
        apex: b"\x03dns".to_vec(),
        ttl_secs: 5,
        headless: false,
        fallthrough: Fallthrough::Never,
    };
    for property in &directive.body {
        match property.name.as_str() {
            "apex" => match property.one(mistakes).map(crate::name::label) {
                Some(Some(label)) => options.apex = label,
                Some(None) => mistakes.add(property.line, "`apex` is one label of a name"),
                None => {}
            },
            "ttl" => options.ttl_secs = crate::plugins::kubernetes::ttl(property, mistakes).unwrap_or(options.ttl_secs),
            "headless" => {
                property.bare(mistakes);
                options.headless = true;
            }
            "fallthrough" => options.fallthrough = Fallthrough::parse(property, mistakes),
            _ => mistakes.unknown(property, "k8s_external", KNOWN),
        }
    }
    Some(options)
}

/// The plugin at work.
pub(crate) struct External {
    options: Options,
    kubernetes: Arc<Kubernetes>,
}

/// One address (or another server's name) with one port of a Service.
struct Row {
    host: Host,
    port: Option<u16>,
    /// Labels of the endpoint; empty for the Service's own name.
    endpoint: Vec<u8>,
}

#[derive(Clone)]
enum Host {
    Ip(IpAddr),
    Name(Name),
}

/// What a name below a zone is.
enum Found {
    Rows(Vec<Row>, Vec<u8>),
    Pointers(Vec<Name>),
    NameServer,
    Empty,
    Nothing,
    /// Below the label of the name server, where nobody else has a say.
    Denied,
}

// === impl External ===

impl External {
    /// `block`: the zones of a directive that names none.
    pub(crate) fn new(mut options: Options, block: &[Name], kubernetes: Arc<Kubernetes>) -> Self {
        options.zones = zones_or(&options.zones, block);
        Self { options, kubernetes }
    }

    /// The zone of a name in the letter case of the question, and the labels in front of it.
    fn zone_of(&self, name: &Name) -> Option<(Name, Vec<u8>)> {
        let inside = |zone: &Name| name.split(zone).map(<[u8]>::to_vec);
        let front = self.options.zones.iter().filter_map(inside).min_by_key(Vec::len)?;
        Some((Name::from_wire(&name.wire()[front.len()..]), front))
    }

    fn find(&self, snapshot: &Snapshot, zone: &Name, front: &[u8], name: &Name) -> Found {
        if zone.is_reverse() && !front.is_empty() {
            return self.reverse(snapshot, name);
        }
        let folded = front.to_ascii_lowercase();
        let front: Vec<&[u8]> = labels(&folded).collect();
        let wire = |labels: &[&[u8]]| labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect::<Vec<u8>>();
        let apex = &self.options.apex[1..];
        match front.as_slice() {
            [] => Found::Empty,
            [only] if *only == apex => Found::Empty,
            [server, last] if *last == apex && *server == b"ns1" => Found::NameServer,
            [.., last] if *last == apex => Found::Denied,
            [.., namespace] if !snapshot.has_namespace(&wire(&[namespace]), &self.kubernetes.zones.options) => Found::Nothing,
            [_] => Found::Empty,
            [below @ .., service, namespace] => {
                let key = wire(&[service, namespace]);
                let entry = snapshot.services.get(key.as_slice()).and_then(|entry| entry.service.as_ref());
                let rows = entry.map(|service| self.rows(service, below)).unwrap_or_default();
                if rows.is_empty() { Found::Nothing } else { Found::Rows(rows, key) }
            }
        }
    }

    fn rows(&self, service: &NamedService, below: &[&[u8]]) -> Vec<Row> {
        let (endpoint, wanted) = match below {
            [] => (None, None),
            [endpoint] => (Some(*endpoint), None),
            [port, protocol] => (None, Some((plain(port), plain(protocol)))),
            _ => return Vec::new(),
        };
        let fits = |name: &str, protocol: model::Protocol| {
            wanted.is_none_or(|(port, proto)| {
                port.eq_ignore_ascii_case(name.as_bytes()) && proto.eq_ignore_ascii_case(protocol.lower().as_bytes())
            })
        };
        let balanced = service.load_balancer.iter().filter_map(|name| match name {
            LoadBalancerName::Ip(ip) => Some(Host::Ip(*ip)),
            LoadBalancerName::Hostname(name) => Name::parse(name).ok().map(Host::Name),
        });
        let hosts: Vec<Host> = service.external_ips.iter().map(|ip| Host::Ip(*ip)).chain(balanced).collect();
        // A headless Service that has addresses outside is found at those, whatever stands behind it.
        if endpoint.is_some() || service.kind == NamedKind::Headless && hosts.is_empty() {
            if self.kubernetes.zones.options.no_endpoints || !hosts.is_empty() {
                return Vec::new();
            }
            let named = service.sorted_endpoints().into_iter().map(|each| (endpoint_labels(&each, &self.kubernetes.zones.options), each));
            return named
                .filter(|(labels, _)| self.options.headless && endpoint.is_none_or(|wanted| &labels[1..] == wanted))
                .flat_map(|(labels, each)| {
                    let fitting = each.ports.iter().filter(|port| fits(&port.name, port.protocol));
                    let mut ports: Vec<_> = fitting.map(|port| Some(port.port)).collect();
                    if each.ports.is_empty() && wanted.is_none() {
                        ports.push(None);
                    }
                    ports.into_iter().map(move |port| Row { host: Host::Ip(each.address), port, endpoint: labels.clone() })
                })
                .collect();
        }
        let with_ports = |host: Host| {
            let fitting = service.ports.iter().filter(|port| fits(&port.name, port.protocol));
            let mut ports: Vec<_> = fitting.map(|port| Some(port.port)).collect();
            if service.ports.is_empty() && wanted.is_none() {
                ports.push(None);
            }
            ports.into_iter().map(move |port| Row { host: host.clone(), port, endpoint: Vec::new() })
        };
        hosts.into_iter().flat_map(with_ports).collect()
    }

    /// The records of a zone but for its SOA, for `transfer`: what questions for each of its names are answered with.
    pub(crate) fn records_of(&self, zone: &Name, snapshot: &Snapshot) -> Vec<Record> {
        let mut found = Vec::new();
        if let Some(server) = self.server(zone) {
            found.push(Record::new(zone.clone(), rtype::NS, self.options.ttl_secs, server.wire().into()));
            found.extend(self.servers(snapshot, &server, rtype::NS));
        }
        let exposed = |key: &[u8]| snapshot.has_namespace(&key[1 + usize::from(key[0])..], &self.kubernetes.zones.options);
        let mut entries: Vec<_> = snapshot.services.iter().filter(|entry| exposed(&entry.key)).collect();
        // In a fixed order.
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        for (entry, service) in entries.iter().filter_map(|entry| Some((entry, entry.service.as_ref()?))) {
            let mut put = |front: &[u8], qtypes: &[u16]| {
                let rows = self.rows(service, &labels(front).collect::<Vec<_>>());
                let Some(name) = zone.prefixed(&[front, &entry.key].concat()) else { return };
                let start = found.len();
                for qtype in qtypes {
                    let question = Question { name: name.clone(), qtype: *qtype, qclass: CLASS_IN };
                    let mut answer = Message::answer(question, rcode::NOERROR);
                    self.records(&rows, zone, &entry.key, &mut answer);
                    found.extend(answer.answers);
                }
                // An alias stands alone, else whoever takes the zone refuses it.
                if let Some(alias) = found[start..].iter().find(|record| record.rtype == rtype::CNAME).cloned() {
                    found.truncate(start);
                    found.push(alias);
                }
            };
            const OF_HOSTS: &[u16] = &[rtype::A, rtype::AAAA, rtype::SRV];
            put(&[], OF_HOSTS);
            let endpoints = service.sorted_endpoints();
            endpoints.iter().for_each(|each| put(&endpoint_labels(each, &self.kubernetes.zones.options), OF_HOSTS));
            let own = service.ports.iter().map(|port| (&port.name, port.protocol));
            let theirs = endpoints.iter().flat_map(|each| each.ports.iter().map(|port| (&port.name, port.protocol)));
            for (port, protocol) in own.chain(theirs).filter(|(port, _)| !port.is_empty()) {
                if let (Some(port), Some(protocol)) = (label(&format!("_{port}")), label(&format!("_{}", protocol.lower()))) {
                    put(&[port, protocol].concat(), &[rtype::SRV]);
                }
            }
        }
        let mut seen = HashSet::new();
        found.retain(|record| seen.insert(record.clone()));
        found
    }

    /// Whether this is one of its zones, and no reverse one.
    pub(crate) fn has_zone(&self, name: &Name) -> bool {
        !name.is_reverse() && self.options.zones.iter().any(|zone| zone.folded() == name.folded())
    }

    fn server(&self, zone: &Name) -> Option<Name> {
        zone.prefixed(&[b"\x03ns1", &self.options.apex[..]].concat())
    }

    fn reverse(&self, snapshot: &Snapshot, name: &Name) -> Found {
        let (Some(ip), Some(zone)) = (reversed(name), self.options.zones.iter().find(|zone| !zone.is_reverse())) else {
            return Found::Nothing;
        };
        let options = &self.kubernetes.zones.options;
        let exposed = |key: &[u8]| snapshot.has_namespace(&key[1 + usize::from(key[0])..], options);
        let mut found: Vec<Name> = snapshot
            .with_external_ip(ip)
            .iter()
            .filter(|entry| exposed(&entry.key))
            .filter_map(|entry| zone.prefixed(&entry.key))
            .collect();
        found.dedup();
        if found.is_empty() { Found::Nothing } else { Found::Pointers(found) }
    }

    pub(crate) fn soa(&self, zone: &Name, snapshot: &Snapshot) -> Option<Record> {
        let apex = zone.prefixed(&self.options.apex)?;
        let mut data = apex.prefixed(b"\x03ns1")?.wire().to_vec();
        data.extend(apex.prefixed(b"\x0ahostmaster")?.wire());
        for number in [snapshot.serial, 7_200, 1_800, 86_400, self.options.ttl_secs] {
            data.extend(number.to_be_bytes());
        }
        Some(Record::new(zone.clone(), rtype::SOA, self.options.ttl_secs, data))
    }

    /// Puts the records of `rows` into `answer`; gives an alias that has to be followed.
    fn records(&self, rows: &[Row], zone: &Name, key: &[u8], answer: &mut Message) -> Option<Name> {
        let (ttl, qtype, name) = (self.options.ttl_secs, answer.question.qtype, answer.question.name.clone());
        let put = |section: &mut Vec<Record>, record: Record| {
            if !section.contains(&record) {
                section.push(record);
            }
        };
        match qtype {
            rtype::A | rtype::AAAA => {
                for row in rows {
                    match &row.host {
                        Host::Ip(ip) if ip.is_ipv4() == (qtype == rtype::A) => {
                            put(&mut answer.answers, Record::address(name.clone(), ttl, *ip));
                        }
                        Host::Ip(_) => {}
                        // An alias stands alone (RFC 1034 section 3.6.2).
                        Host::Name(target) if answer.answers.is_empty() => {
                            put(&mut answer.answers, Record::new(name, rtype::CNAME, ttl, target.wire().to_vec()));
                            return Some(target.clone());
                        }
                        Host::Name(_) => {}
                    }
                }
            }
            rtype::CNAME => {
                if let [Row { host: Host::Name(target), .. }, ..] = rows {
                    put(&mut answer.answers, Record::new(name, rtype::CNAME, ttl, target.wire().to_vec()));
                }
            }
            rtype::SRV => {
                let weight = (100 / rows.len().max(1)).max(1) as u16;
                for row in rows {
                    let Some(port) = row.port else { continue };
                    let own = || zone.prefixed(&[&row.endpoint, key].concat());
                    let target = match &row.host {
                        Host::Name(target) => Some(target.clone()),
                        Host::Ip(_) => own(),
                    };
                    let Some(target) = target else { continue };
                    put(&mut answer.answers, Record::srv(name.clone(), ttl, weight, port, &target));
                    if let Host::Ip(ip) = row.host {
                        put(&mut answer.additionals, Record::address(target, ttl, ip));
                    }
                }
            }
            _ => {}
        }
        None
    }

    /// Addresses of the zone's name server: those that Services have outside which this server stands behind, else its own. `NS` asks
    /// for both families.
    fn servers(&self, snapshot: &Snapshot, name: &Name, qtype: u16) -> Vec<Record> {
        let kubernetes = &self.kubernetes.zones;
        let own = kubernetes.local.iter().filter(|_| !kubernetes.options.no_endpoints);
        let behind: Vec<_> = own.flat_map(|ip| snapshot.with_endpoint(*ip).into_iter().map(move |entry| (*ip, entry))).collect();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (ip, service) in behind.iter().filter_map(|(ip, entry)| Some((*ip, entry.service.as_ref()?))) {
            if self.options.headless && service.kind == NamedKind::Headless {
                addresses.extend(service.endpoints_beside(ip).iter().map(|endpoint| endpoint.address));
            } else {
                addresses.extend(&service.external_ips);
                addresses.extend(service.load_balancer.iter().filter_map(|name| match name {
                    LoadBalancerName::Ip(ip) => Some(*ip),
                    LoadBalancerName::Hostname(_) => None,
                }));
            }
        }
        if behind.is_empty() {
            addresses.extend(kubernetes.local.iter());
        }
        addresses.sort();
        addresses.dedup();
        addresses.retain(|ip| qtype == rtype::NS || ip.is_ipv4() == (qtype == rtype::A));
        addresses.into_iter().map(|ip| Record::address(name.clone(), self.options.ttl_secs, ip)).collect()
    }
}

impl Plugin for External {
    fn name(&self) -> &'static str {
        "k8s_external"
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        !self.options.zones.iter().any(|zone| query.name.above(zone.folded().wire(), zone.n_labels()).is_some())
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            let question = &request.question;
            let Some((zone, front)) = self.zone_of(&question.name) else { return next.run(request).await };
            let snapshot = self.kubernetes.current.load_full();
            let found = self.find(&snapshot, &zone, &front, &question.name);
            if matches!(found, Found::Nothing) && self.options.fallthrough.holds(&question.name) {
                return next.run(request).await;
            }
            let mut answer = Message::answer(question.clone(), rcode::NOERROR);
            match &found {
                Found::Rows(rows, key) => {
                    if let Some(target) = self.records(rows, &zone, key, &mut answer) {
                        let end = next.whole(&request.renamed(target)).await;
                        // Where nobody can be asked the client has the alias to go on with.
                        if !end.unasked && end.rcode != rcode::REFUSED {
                            answer.rcode = end.rcode;
                            answer.answers.extend(end.answers);
                        }
                    }
                }
                Found::Pointers(targets) if question.qtype == rtype::PTR => {
                    let pointer =
                        |target: &Name| Record::new(question.name.clone(), rtype::PTR, self.options.ttl_secs, target.wire().into());
                    answer.answers.extend(targets.iter().map(pointer));
                }
                Found::NameServer if [rtype::A, rtype::AAAA].contains(&question.qtype) => {
                    answer.answers.extend(self.servers(&snapshot, &question.name, question.qtype));
                }
                Found::Empty if front.is_empty() && question.qtype == rtype::SOA => answer.answers.extend(self.soa(&zone, &snapshot)),
                Found::Empty if front.is_empty() && question.qtype == rtype::NS => {
                    if let Some(server) = self.server(&zone) {
                        answer.additionals.extend(self.servers(&snapshot, &server, rtype::NS));
                        answer.answers.push(Record::new(zone.clone(), rtype::NS, self.options.ttl_secs, server.wire().into()));
                    }
                }
                Found::Nothing | Found::Denied => answer.rcode = if snapshot.synced { rcode::NXDOMAIN } else { rcode::SERVFAIL },
                _ => {}
            }
            if answer.answers.is_empty() {
                answer.authorities.extend(self.soa(&zone, &snapshot));
            }
            answer
        })
    }
}

/// A label without the underscore that names of ports and protocols carry.
fn plain(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use crate::config::Corefile;

    #[test]
    fn what_is_not_there_falls_through_but_below_the_name_server() {
        let corefile = ". {\n kubernetes cluster.local\n k8s_external cluster.local {\n fallthrough\n }\n}";
        let ask = |question: &str| crate::plugins::tests::ask(corefile, question);
        assert_eq!(ask("plain.default.svc.cluster.local. A"), "NOERROR\nplain.default.svc.cluster.local. 5 A 10.96.0.3\n");
        assert!(ask("x.dns.cluster.local. A").starts_with("NXDOMAIN\nauth cluster.local. 5 SOA ns1.dns.cluster.local. "));
    }

    #[test]
    fn a_word_too_many_is_told() {
        let told = |options: &str| {
            let text = format!(". {{\n kubernetes cluster.local\n k8s_external example.org {{\n {options}\n }}\n}}");
            Corefile::parse(&text).err().unwrap_or_default().into_iter().map(|mistake| mistake.message).collect::<Vec<_>>()
        };
        assert!(told("headless\n ttl 5\n apex dns").is_empty());
        assert_eq!(told("headless all"), ["`headless` takes no argument"]);
    }
}
