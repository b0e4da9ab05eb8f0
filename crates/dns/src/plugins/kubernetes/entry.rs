//! One Service compiled: every name it has, each with its record sets ready to be written out.
//!
//! A Service's names all end in `<service>.<namespace>`, so it is one entry, found by one look-up, and replaced as a whole when it
//! changes. Must not know messages or zones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::Protocol;
use model::name::{NamedEndpoint, NamedImport, NamedKind, NamedService};

use super::Options;
use super::short::Short;
use crate::name::{Name, label};

/// The names of one Service, without their namespace and zone.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `<service>.<namespace>` in wire form and lower case, by which it is found. In the first cache line, as what follows.
    pub(crate) key: Short,
    pub(crate) kind: Kind,
    /// The records at the Service's own name.
    pub(crate) own: Sets,
    /// The names below it, by the labels in front of it (lower case, wire form).
    pub(crate) below: Box<[Below]>,
    /// What it was compiled from; imports have none.
    pub(crate) service: Option<Arc<NamedService>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its own addresses.
    Virtual,
    /// Those of its endpoints.
    Headless,
    /// An ExternalName.
    Alias(Name),
    /// Known, but it has no name: a headless Service without endpoints, an ExternalName that is an address.
    Nameless,
}

#[derive(Debug)]
pub(crate) struct Below {
    pub(crate) labels: Short,
    pub(crate) sets: Sets,
}

/// The A, AAAA and SRV records of one name, packed: IPv4 addresses, then IPv6 addresses, then SRV rows.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    n_v4: u32,
    n_v6: u32,
    packed: Short,
}

/// One SRV record but for its target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Srv {
    pub(crate) target: Target,
    pub(crate) port: u16,
    pub(crate) weight: u16,
}

/// Where an SRV record of this Service points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// `Entry::below` at this place.
    Below(u32),
    Own,
    /// The name that was asked for.
    Asked,
}

const SRV_ROW: usize = 8;
/// Targets that are no place, as rows have them.
const OWN: u32 = u32::MAX;
const ASKED: u32 = u32::MAX - 1;

/// Endpoints of one name while an entry is compiled.
#[derive(Default)]
struct Draft<'a> {
    addresses: BTreeSet<IpAddr>,
    /// Labels of the target and port of each (address, port), equal ones included: weights count them all.
    rows: Vec<(&'a [u8], Option<u16>)>,
}

// === impl Entry ===

impl Entry {
    pub(crate) fn of_service(key: &[u8], service: &Arc<NamedService>, options: &Options) -> Self {
        let entry = match &service.kind {
            NamedKind::ExternalName(name) => {
                let alias = Name::parse(name).ok().filter(|_| name.parse::<IpAddr>().is_err());
                Self::bare(alias.map_or(Kind::Nameless, Kind::Alias))
            }
            NamedKind::ClusterIp(_) if options.ignore_empty_service && is_empty(service, options) => Self::bare(Kind::Nameless),
            // Its endpoints have names as well, for which few ask: see `of_endpoint`.
            NamedKind::ClusterIp(ips) => Self::compile(Some((ips, &service.ports)), &[]),
            NamedKind::Headless if options.no_endpoints => Self::bare(Kind::Nameless),
            NamedKind::Headless => {
                let labelled = service.sorted_endpoints().into_iter().map(|endpoint| (endpoint_labels(&endpoint, options), endpoint));
                Self::compile(None, &labelled.collect::<Vec<_>>())
            }
        };
        Self { key: key.into(), service: Some(service.clone()), ..entry }
    }

    pub(crate) fn of_import(key: &[u8], import: &NamedImport, options: &Options) -> Self {
        // `noendpoints` means those of this cluster.
        let endpoints: Vec<_> = import
            .sorted_endpoints()
            .into_iter()
            .filter_map(|(cluster, endpoint)| Some(([endpoint_labels(&endpoint, options), label(cluster)?].concat(), endpoint)))
            .collect();
        let ips = (!import.import.headless).then_some((&import.import.ips, &import.import.ports));
        if options.ignore_empty_service && ips.is_some() && endpoints.is_empty() {
            return Self { key: key.into(), ..Self::bare(Kind::Nameless) };
        }
        Self { key: key.into(), ..Self::compile(ips, &endpoints) }
    }

    /// The records below the Service's name.
    pub(crate) fn below(&self, labels: &[u8]) -> Option<&Below> {
        self.below.binary_search_by(|below| (*below.labels).cmp(labels)).ok().map(|at| &self.below[at])
    }

    /// Whether the Service has this address as its own.
    pub(crate) fn has_virtual_ip(&self, ip: IpAddr) -> bool {
        match (&self.kind, &self.service) {
            (Kind::Virtual, _) => self.own.addresses().any(|own| own == ip),
            // It has no name for the while, and its address does.
            (Kind::Nameless, Some(service)) => matches!(&service.kind, NamedKind::ClusterIp(ips) if ips.contains(&ip)),
            _ => false,
        }
    }

    /// The endpoints of this label of a Service that has addresses of its own, as a record set made for one question: a cluster has ten
    /// times as many of them as Services, and hardly anyone asks for one.
    pub(crate) fn of_endpoint(&self, label: &[u8], options: &Options) -> Option<Sets> {
        let service = self.service.as_ref().filter(|service| matches!(service.kind, NamedKind::ClusterIp(_)) && !options.no_endpoints)?;
        let address = undashed(&label[1..]);
        let is_called = |endpoint: &NamedEndpoint<'_>| match own_name(endpoint, options) {
            Some(name) => name.as_bytes().eq_ignore_ascii_case(&label[1..]),
            // The address first: it is compared without being written out.
            None => address == Some(endpoint.address) && dashed(endpoint.address) == *label,
        };
        let mut called: Vec<_> = service.endpoints().filter(is_called).collect();
        called.sort_by_key(|endpoint| endpoint.address);
        let mut draft = Draft::default();
        called.iter().for_each(|endpoint| draft.endpoint(label, endpoint, |_| true));
        (!draft.addresses.is_empty()).then(|| draft.pack(|_| Target::Asked))
    }

    /// The endpoints of a zone of the cluster, as a record set of their own (CoreDNS's `zonal`). `prefer`: all, where it has none.
    pub(crate) fn of_zone(&self, zone: &str, prefer: bool, options: &Options) -> Sets {
        let endpoints = self.service.iter().flat_map(|service| service.sorted_endpoints());
        let all: Vec<_> = endpoints.map(|endpoint| (endpoint_labels(&endpoint, options), endpoint)).collect();
        let is_here = |endpoint: &NamedEndpoint<'_>| endpoint.zone.is_some_and(|its| its.eq_ignore_ascii_case(zone));
        let here = all.iter().any(|(_, endpoint)| is_here(endpoint));
        let chosen = all.iter().filter(|(_, endpoint)| is_here(endpoint) || !here && prefer);
        let mut draft = Draft::default();
        for (labels, endpoint) in chosen {
            draft.endpoint(labels, endpoint, |_| true);
        }
        draft.pack(|labels| self.place(labels))
    }

    #[cfg(test)]
    pub(super) fn nameless(key: &[u8]) -> Self {
        Self { key: key.into(), ..Self::bare(Kind::Nameless) }
    }

    fn place(&self, labels: &[u8]) -> Target {
        let found = self.below.binary_search_by(|below| (*below.labels).cmp(labels));
        found.map_or(Target::Own, |at| Target::Below(at as u32))
    }

    fn bare(kind: Kind) -> Self {
        Self { key: Short::default(), kind, own: Sets::default(), below: Box::default(), service: None }
    }

    /// `virtual_ips`: the addresses and ports of a Service that has its own; without them its name stands for its endpoints.
    fn compile(virtual_ips: Option<(&Vec<IpAddr>, &Vec<model::facts::ServicePort>)>, endpoints: &[(Vec<u8>, NamedEndpoint<'_>)]) -> Self {
        let mut own = Draft::default();
        let mut below: BTreeMap<Vec<u8>, Draft<'_>> = BTreeMap::new();
        for (labels, endpoint) in endpoints {
            below.entry(labels.clone()).or_default().endpoint(labels, endpoint, |_| true);
            // Names between an endpoint of another cluster and the Service exist as well, without records (RFC 8020).
            let first = 1 + usize::from(labels[0]);
            if first < labels.len() {
                below.entry(labels[first..].to_vec()).or_default();
            }
        }
        match virtual_ips {
            Some((ips, ports)) => {
                for ip in ips {
                    own.virtual_ip(*ip, ports.iter().map(|port| port.port));
                }
                for port in ports {
                    if let Some([name, protocol]) = port_labels(&port.name, port.protocol) {
                        let draft = below.entry([name, protocol.clone()].concat()).or_default();
                        for ip in ips {
                            draft.virtual_ip(*ip, std::iter::once(port.port));
                        }
                        below.entry(protocol).or_default();
                    }
                }
            }
            None => {
                for (labels, endpoint) in endpoints {
                    own.endpoint(labels, endpoint, |_| true);
                    for port in endpoint.ports.iter() {
                        if let Some([name, protocol]) = port_labels(&port.name, port.protocol) {
                            let draft = below.entry([name, protocol.clone()].concat()).or_default();
                            draft.endpoint(labels, endpoint, |other| other.name == port.name && other.protocol == port.protocol);
                            below.entry(protocol).or_default();
                        }
                    }
                }
            }
        }
        if own.addresses.is_empty() {
            return Self::bare(Kind::Nameless);
        }
        let places: BTreeMap<&[u8], u32> = below.keys().zip(0..).map(|(labels, at)| (labels.as_slice(), at)).collect();
        let place = |labels: &[u8]| places.get(labels).map_or(Target::Own, |at| Target::Below(*at));
        let own = own.pack(place);
        let below = below.iter().map(|(labels, draft)| Below { labels: labels.as_slice().into(), sets: draft.pack(place) }).collect();
        let kind = if virtual_ips.is_some() { Kind::Virtual } else { Kind::Headless };
        Self { key: Short::default(), kind, own, below, service: None }
    }
}

/// Whether no endpoint is known; without endpoints none of any Service is.
fn is_empty(service: &NamedService, options: &Options) -> bool {
    options.no_endpoints || service.endpoints().next().is_none()
}

/// The label of an endpoint: its hostname, else (if so configured) its pod's name, else its address with dashes.
pub(crate) fn endpoint_labels(endpoint: &NamedEndpoint<'_>, options: &Options) -> Vec<u8> {
    own_name(endpoint, options).and_then(label).unwrap_or_else(|| dashed(endpoint.address))
}

/// The label that is not its address.
fn own_name<'a>(endpoint: &'a NamedEndpoint, options: &Options) -> Option<&'a str> {
    let pod = if options.endpoint_pod_names { endpoint.pod } else { None };
    [endpoint.hostname, pod].into_iter().flatten().find(|name| (1..=63).contains(&name.len()))
}

/// `10.1.2.3` -> `10-1-2-3`. A label may not end in a dash, so `fd00::` gets a 0 behind it, as CoreDNS's.
fn dashed(address: IpAddr) -> Vec<u8> {
    let mut text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0');
    }
    label(&text).expect("BUG: the longest address has 45 characters")
}

/// `10-1-2-3` -> 10.1.2.3, `fd00--1` -> fd00::1.
pub(super) fn undashed(label: &[u8]) -> Option<IpAddr> {
    let mut text = [0; 64];
    let text = text.get_mut(..label.len())?;
    let dashes = label.iter().filter(|byte| **byte == b'-').count();
    let separator = if dashes == 3 && !label.windows(2).any(|pair| pair == b"--") { b'.' } else { b':' };
    for (to, from) in text.iter_mut().zip(label) {
        *to = if *from == b'-' { separator } else { *from };
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `_http` and `_tcp`; `None` for a port without a name, which has no SRV record.
fn port_labels(name: &str, protocol: Protocol) -> Option<[Vec<u8>; 2]> {
    let underscored = |text: &str| label(&format!("_{text}"));
    Some([underscored(name).filter(|_| !name.is_empty())?, underscored(protocol.lower())?])
}

// === impl Draft ===

impl<'a> Draft<'a> {
    fn virtual_ip(&mut self, ip: IpAddr, ports: impl Iterator<Item = u16>) {
        self.addresses.insert(ip);
        self.rows.extend(ports.map(|port| (&[][..], Some(port))));
    }

    fn endpoint(&mut self, labels: &'a [u8], endpoint: &NamedEndpoint<'_>, wanted: impl Fn(&model::facts::SlicePort) -> bool) {
        self.addresses.insert(endpoint.address);
        if endpoint.ports.is_empty() {
            self.rows.push((labels, None));
        }
        self.rows.extend(endpoint.ports.iter().filter(|port| wanted(port)).map(|port| (labels, Some(port.port))));
    }

    /// Weights: 100 shared among all rows, equal ones counted, at least 1 (CoreDNS's `plugin.SRV`).
    fn pack(&self, place: impl Fn(&[u8]) -> Target) -> Sets {
        let weight = (100 / self.rows.len().max(1)).max(1) as u16;
        let mut srv: Vec<_> = self
            .rows
            .iter()
            .filter_map(|&(labels, port)| {
                Some(Srv { target: if labels.is_empty() { Target::Own } else { place(labels) }, port: port?, weight })
            })
            .collect();
        srv.sort_unstable();
        srv.dedup();
        Sets::pack(self.addresses.iter().copied(), &srv)
    }
}

// === impl Sets ===

impl Sets {
    /// `addresses` sorted: IPv4 first, as `IpAddr` sorts.
    fn pack(addresses: impl Iterator<Item = IpAddr>, srv: &[Srv]) -> Self {
        let (mut n_v4, mut n_v6, mut packed) = (0, 0, Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(v4) => {
                    n_v4 += 1;
                    packed.extend(v4.octets());
                }
                IpAddr::V6(v6) => {
                    n_v6 += 1;
                    packed.extend(v6.octets());
                }
            }
        }
        for srv in srv {
            let target = match srv.target {
                Target::Below(at) => at,
                Target::Own => OWN,
                Target::Asked => ASKED,
            };
            packed.extend(target.to_ne_bytes());
            packed.extend(srv.port.to_ne_bytes());
            packed.extend(srv.weight.to_ne_bytes());
        }
        Self { n_v4, n_v6, packed: packed.as_slice().into() }
    }

    pub(crate) fn v4(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> + Clone {
        let (addresses, _) = self.packed[..self.n_v4 as usize * 4].as_chunks::<4>();
        addresses.iter().map(|octets| Ipv4Addr::from(*octets))
    }

    pub(crate) fn v6(&self) -> impl ExactSizeIterator<Item = Ipv6Addr> + Clone {
        let (addresses, _) = self.packed[self.n_v4 as usize * 4..][..self.n_v6 as usize * 16].as_chunks::<16>();
        addresses.iter().map(|octets| Ipv6Addr::from(*octets))
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4().map(IpAddr::V4).chain(self.v6().map(IpAddr::V6))
    }

    /// Sorted by target and port.
    pub(crate) fn srv(&self) -> impl ExactSizeIterator<Item = Srv> {
        let (rows, _) = self.packed[self.n_v4 as usize * 4 + self.n_v6 as usize * 16..].as_chunks::<SRV_ROW>();
        rows.iter().map(|row| {
            let target = u32::from_ne_bytes([row[0], row[1], row[2], row[3]]);
            Srv {
                target: match target {
                    OWN => Target::Own,
                    ASKED => Target::Asked,
                    at => Target::Below(at),
                },
                port: u16::from_ne_bytes([row[4], row[5]]),
                weight: u16::from_ne_bytes([row[6], row[7]]),
            }
        })
    }
}
