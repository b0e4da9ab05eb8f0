//! `transfer [ZONE...] { to HOST... }`: who may ask for a zone as a whole (AXFR, IXFR), and what it then holds.
//!
//! Everything is read from one snapshot, so a transfer is one state of the zone however long the client takes. Source: RFC 5936,
//! RFC 1995, and CoreDNS for which records a cluster's zone consists of (no PTR, pod, TXT or zonal records).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::name::{NamedKind, NamedService};

use crate::config::directive::{Directive, Mistakes};
use crate::name::{Name, label};
use crate::plugins::kubernetes::{Kubernetes, Snapshot, endpoint_labels, name_servers};
use crate::server::chain::Request;
use crate::wire::message::{Message, Record};
use crate::wire::{flag, rcode, rtype};

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
        if property.name != "to" {
            mistakes.unknown(property, "transfer", &["to"]);
            continue;
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

/// The plugin at work. No question passes through it: the server comes here for AXFR and IXFR instead of to the plugins.
pub(crate) struct Transfer {
    options: Options,
    kubernetes: Arc<Kubernetes>,
}

/// Records of one message. 200 records of a cluster's names stay far below its 64 kB.
const BATCH: usize = 200;

impl Transfer {
    pub(crate) fn new(options: Options, kubernetes: Arc<Kubernetes>) -> Self {
        Self { options, kubernetes }
    }

    /// The messages of a transfer; one that refuses where it is not allowed.
    pub(crate) fn answer(&self, request: &Request) -> Vec<Message> {
        let zones = &self.kubernetes.zones;
        let name = request.question.name.folded();
        let listed = self.options.zones.is_empty() || self.options.zones.contains(&name);
        let ours = zones.options.zones.iter().any(|zone| zone.folded() == name) && !name.is_reverse();
        let client = request.client.ip().to_canonical();
        let allowed = self.options.to.iter().any(|to| match to {
            To::Anyone => true,
            To::Address(address) => *address == client,
        });
        let snapshot = self.kubernetes.current.load();
        if !listed || !ours || !allowed {
            return vec![request.failed(rcode::REFUSED)];
        }
        if !snapshot.synced {
            return vec![request.failed(rcode::SERVFAIL)];
        }
        let Some(soa) = self.soa(request) else { return vec![request.failed(rcode::SERVFAIL)] };
        let mut answer = Message::answer(request.question.clone(), rcode::NOERROR);
        let incremental = request.question.qtype == rtype::IXFR;
        if incremental && (request.serial == Some(snapshot.serial) || !request.tcp) {
            // Up to date; by UDP the one record says: come by TCP if you are not (RFC 1995 section 2).
            answer.answers.push(soa);
            return vec![answer];
        }
        if !request.tcp {
            return vec![request.failed(rcode::REFUSED)];
        }
        let mut records = vec![soa.clone()];
        self.name_servers(&request.question.name, &snapshot, &mut records);
        let mut services: Vec<_> = snapshot
            .services
            .iter()
            .filter(|entry| snapshot.has_namespace(&entry.key[1 + usize::from(entry.key[0])..], &zones.options))
            .filter_map(|entry| Some((&*entry.key, entry.service.as_ref()?)))
            .collect();
        // In a fixed order, and an alias before what it leads to.
        services.sort_by_key(|(key, service)| (!matches!(service.kind, NamedKind::ExternalName(_)), *key));
        for (key, service) in services {
            self.service(&request.question.name, key, service, &mut records);
        }
        records.push(soa);
        records.chunks(BATCH).map(|chunk| Message { answers: chunk.to_vec(), flags: flag::QR | flag::AA, ..answer.clone() }).collect()
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

    fn service(&self, zone: &Name, key: &[u8], service: &NamedService, out: &mut Vec<Record>) {
        let options = &self.kubernetes.zones.options;
        let ttl = options.ttl_secs;
        let Some(name) = zone.prefixed(&[key, &b"\x03svc"[..]].concat()) else { return };
        let port_name = |port: &str, protocol: model::Protocol| {
            let labels = [label(&format!("_{port}"))?, label(&format!("_{}", protocol.lower()))?].concat();
            name.prefixed(&labels).filter(|_| !port.is_empty())
        };
        match &service.kind {
            NamedKind::ExternalName(target) => {
                if let Ok(target) = Name::parse(target)
                    && target.to_string().trim_end_matches('.').parse::<IpAddr>().is_err()
                {
                    out.push(Record::new(name.clone(), rtype::CNAME, ttl, target.wire().to_vec()));
                }
            }
            NamedKind::ClusterIp(ips) => {
                out.extend(ips.iter().map(|ip| Record::address(name.clone(), ttl, *ip)));
                for port in &service.ports {
                    out.push(Record::srv(name.clone(), ttl, 100, port.port, &name));
                    out.extend(port_name(&port.name, port.protocol).map(|owner| Record::srv(owner, ttl, 100, port.port, &name)));
                }
            }
            NamedKind::Headless => {
                let endpoints = service.sorted_endpoints();
                for endpoint in endpoints.iter().filter(|_| !options.no_endpoints) {
                    let Some(host) = name.prefixed(&endpoint_labels(endpoint, options)) else { continue };
                    out.push(Record::address(name.clone(), ttl, endpoint.address));
                    out.push(Record::address(host.clone(), ttl, endpoint.address));
                    let alike = |other: &&model::name::NamedEndpoint<'_>| other.address.is_ipv4() == endpoint.address.is_ipv4();
                    let weight = (100 / endpoints.iter().filter(alike).count().max(1)).max(1) as u16;
                    for port in endpoint.ports.iter() {
                        out.extend(port_name(&port.name, port.protocol).map(|owner| Record::srv(owner, ttl, weight, port.port, &host)));
                    }
                }
            }
        }
    }
}
