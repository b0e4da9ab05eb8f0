//! One question about the cluster's zones, answered from a snapshot into a buffer: no allocation, no wait.
//!
//! Owns what each name means and how NXDOMAIN and NODATA part (RFC 2308, RFC 8020). Called by the UDP threads and by the slow path
//! alike, so both agree. Source: the Kubernetes DNS specification 1.1.0 and, beyond it, CoreDNS's `kubernetes` plugin.

use std::net::IpAddr;

use model::name::{NamedEndpoint, NamedKind};

use super::entry::{Entry, Kind, Sets, Srv, Target, endpoint_labels, undashed};
use super::snapshot::Snapshot;
use super::{Pods, Zone, Zones};
use crate::name::Name;
use crate::wire::{HEADER, Query, Reply, Section, flag, rcode, rtype};

const QUESTION: u16 = 0xc000 | HEADER as u16;
/// CoreDNS's TTL of `dns-version`.
const VERSION_TTL: u32 = 28_800;
/// CoreDNS's upper bound for how long a denial is kept.
const MAX_SOA_TTL: u32 = 300;

pub(crate) enum Outcome {
    /// A whole reply of so many octets with this return code.
    Written(usize, u8),
    /// Not ours to answer: the next plugin's.
    Next,
    /// An alias whose target has to be looked up before the answer is whole.
    Alias(Name),
}

/// What a name turned out to be.
enum Found<'a> {
    /// It exists, with these records (perhaps none) of this entry.
    Sets(&'a Sets, &'a Entry, &'a [u8]),
    /// As above, made for this question.
    Made(Sets, &'a Entry, &'a [u8]),
    Alias(&'a Name),
    /// A pod's address.
    Address(IpAddr),
    /// It exists without records.
    Empty,
    Apex,
    NameServer,
    Version,
    /// The address of this Service.
    VirtualIp(&'a [u8]),
    /// The address of endpoints.
    Reverse(IpAddr),
    Nothing,
}

/// One question being answered.
struct Asking<'q, 'b> {
    zones: &'q Zones,
    snapshot: &'q Snapshot,
    query: &'q Query<'q>,
    /// Labels in front of the zone.
    above: usize,
    reply: Reply<'b>,
    /// Which address of a set comes first.
    turn: u32,
    limited: bool,
}

impl Zones {
    /// Answers `query` with at most `limit` octets. `turn` moves the first address on from one call to the next.
    pub(crate) fn answer(&self, snapshot: &Snapshot, query: &Query<'_>, buffer: &mut [u8], limit: usize, turn: u32) -> Outcome {
        let Some((zone, above)) = self.zone_of(query) else { return Outcome::Next };
        let found = self.find(zone, snapshot, query, above);
        if let Found::Nothing = found
            && zone.falls_through(query)
        {
            return Outcome::Next;
        }
        let reply = Reply::new(buffer, query, limit);
        let mut asking = Asking { zones: self, snapshot, query, above, reply, turn, limited: false };
        let code = match &found {
            Found::Alias(target) => match query.qtype {
                rtype::CNAME => asking.alias(target),
                rtype::A | rtype::AAAA => return Outcome::Alias((*target).clone()),
                _ => rcode::NOERROR,
            },
            Found::Nothing if !snapshot.synced => rcode::SERVFAIL,
            Found::Nothing => rcode::NXDOMAIN,
            _ => {
                asking.records(&found);
                rcode::NOERROR
            }
        };
        let empty = asking.reply.answers() == 0 && !asking.limited;
        if empty {
            // What lets a denial be remembered (RFC 2308).
            asking.soa(Section::Authority);
        }
        // Of a Service with addresses of its own it is known which it has.
        let whole = matches!(&found, Found::Sets(_, entry, _) if entry.kind == Kind::Virtual);
        let unsure = empty && !snapshot.synced && !whole && code == rcode::NOERROR;
        let code = if unsure { rcode::SERVFAIL } else { code };
        Outcome::Written(asking.reply.finish(query, code, flag::AA), code)
    }

    /// Answers that the name exists and has no such records; `None` outside of the zones.
    pub(crate) fn nodata(&self, snapshot: &Snapshot, query: &Query<'_>, buffer: &mut [u8]) -> Option<usize> {
        let (_, above) = self.zone_of(query)?;
        let limit = buffer.len();
        let reply = Reply::new(buffer, query, limit);
        let mut asking = Asking { zones: self, snapshot, query, above, reply, turn: 0, limited: false };
        asking.soa(Section::Authority);
        Some(asking.reply.finish(query, rcode::NOERROR, flag::AA))
    }

    fn find<'a>(&'a self, zone: &'a Zone, snapshot: &'a Snapshot, query: &'a Query<'_>, above: usize) -> Found<'a> {
        let name = &query.name;
        if above == 0 {
            return Found::Apex;
        }
        if zone.reverse {
            return match reverse(name.wire()) {
                Some(Reversed::Whole(ip)) => self.find_pointer(snapshot, ip),
                // A part of an address is a node on the way to others.
                Some(Reversed::Part) if !zone.falls_through(query) => Found::Empty,
                _ => Found::Nothing,
            };
        }
        match (name.label(above - 1), above) {
            (b"svc" | b"pod", 1) | (b"dns", 1) => Found::Empty,
            (b"dns", 2) if name.label(0) == b"ns" => Found::NameServer,
            (b"dns-version", 1) => Found::Version,
            (b"svc", _) => self.find_service(zone, snapshot, query, above),
            (b"pod", _) => self.find_pod(snapshot, query, above),
            _ => Found::Nothing,
        }
    }

    /// The Service whose ClusterIP it is, else those with a ready endpoint there.
    fn find_pointer<'a>(&self, snapshot: &'a Snapshot, ip: IpAddr) -> Found<'a> {
        let exposed = |key: &[u8]| exposed(self, snapshot, key);
        // The first by name, so that equal facts give equal answers.
        if let Some(key) = snapshot.with_virtual_ip(ip).filter(|key| exposed(key)).min() {
            return Found::VirtualIp(key);
        }
        let endpoint = !self.options.no_endpoints && snapshot.with_endpoint(ip).iter().any(|entry| exposed(&entry.key));
        if endpoint { Found::Reverse(ip) } else { Found::Nothing }
    }

    fn find_service<'a>(&'a self, zone: &Zone, snapshot: &'a Snapshot, query: &'a Query<'_>, above: usize) -> Found<'a> {
        let name = &query.name;
        let namespace = name.between(above - 2, above - 1);
        if above == 2 {
            return if snapshot.has_namespace(namespace, &self.options) { Found::Empty } else { Found::Nothing };
        }
        let key = name.between(above - 3, above - 1);
        let table = if zone.multicluster { &snapshot.imports } else { &snapshot.services };
        let Some(entry) = table.get(key) else { return Found::Nothing };
        if !exposed(self, snapshot, key) {
            return Found::Nothing;
        }
        match (&entry.kind, above) {
            // Zonal names are there for a headless Service without endpoints as well: which zones it may have is not known.
            (Kind::Nameless, 6..) if self.options.zonal && !zone.multicluster => return self.find_zonal(query, above, entry, key),
            (Kind::Nameless, _) => return Found::Nothing,
            (Kind::Alias(target), 3) => return Found::Alias(target),
            (Kind::Alias(_), _) => return Found::Nothing,
            (Kind::Virtual | Kind::Headless, 3) => return Found::Sets(&entry.own, entry, key),
            (Kind::Virtual | Kind::Headless, _) => {}
        }
        let labels = name.between(0, above - 3);
        if let Some(below) = entry.below(labels) {
            return Found::Sets(&below.sets, entry, key);
        }
        if above == 4
            && !zone.multicluster
            && let Some(sets) = entry.of_endpoint(labels, &self.options)
        {
            return Found::Made(sets, entry, key);
        }
        if above == 5 && (!zone.multicluster || [0, 1].iter().any(|at| name.label(*at).starts_with(b"_"))) {
            // Each underscore of `_http._tcp` may be missing, as CoreDNS takes it; among imports one of them has to be there.
            let mut underscored = [0; 2 * 64 + 2];
            let below = underscore(name.label(0), name.label(1), &mut underscored).and_then(|labels| entry.below(labels));
            if let Some(below) = below {
                return Found::Sets(&below.sets, entry, key);
            }
        }
        if self.options.zonal && !zone.multicluster {
            return self.find_zonal(query, above, entry, key);
        }
        Found::Nothing
    }

    /// `<zone of the cluster>.pin|prefer._zone.<headless service>`.
    fn find_zonal<'a>(&self, query: &Query<'_>, above: usize, entry: &'a Entry, key: &'a [u8]) -> Found<'a> {
        let name = &query.name;
        let headless = entry.service.as_ref().is_some_and(|service| service.kind == NamedKind::Headless);
        if !headless || name.label(above - 4) != b"_zone" {
            return Found::Nothing;
        }
        if above == 4 {
            return Found::Empty;
        }
        let prefer = match name.label(above - 5) {
            b"pin" => false,
            b"prefer" => true,
            _ => return Found::Nothing,
        };
        if above == 5 {
            return Found::Empty;
        }
        let labels: Vec<_> = (0..above - 5).map(|at| String::from_utf8_lossy(name.label(at))).collect();
        Found::Made(entry.of_zone(&labels.join("."), prefer, &self.options), entry, key)
    }

    /// `a-b-c-d.<namespace>.pod`.
    fn find_pod<'a>(&self, snapshot: &Snapshot, query: &Query<'_>, above: usize) -> Found<'a> {
        let name = &query.name;
        let namespace = name.between(above - 2, above - 1);
        if self.options.pods == Pods::Disabled || !snapshot.has_namespace(namespace, &self.options) {
            return Found::Nothing;
        }
        match above {
            2 => Found::Empty,
            3 => match undashed(name.label(0)) {
                Some(ip) if self.options.pods == Pods::Insecure || snapshot.has_pod(ip, namespace) => Found::Address(ip),
                _ => Found::Nothing,
            },
            _ => Found::Nothing,
        }
    }
}

// === impl Asking ===

impl Asking<'_, '_> {
    fn records(&mut self, found: &Found<'_>) {
        let ttl = self.zones.options.ttl_secs;
        match (found, self.query.qtype) {
            (Found::Sets(sets, ..), rtype::A) => self.addresses(sets.v4().map(IpAddr::V4), sets.v4().len()),
            (Found::Sets(sets, ..), rtype::AAAA) => self.addresses(sets.v6().map(IpAddr::V6), sets.v6().len()),
            (Found::Sets(sets, entry, key), rtype::SRV) => self.services(sets, entry, key),
            (Found::Made(sets, ..), rtype::A) => self.addresses(sets.v4().map(IpAddr::V4), sets.v4().len()),
            (Found::Made(sets, ..), rtype::AAAA) => self.addresses(sets.v6().map(IpAddr::V6), sets.v6().len()),
            (Found::Made(sets, entry, key), rtype::SRV) => self.services(sets, entry, key),
            (Found::Address(ip), rtype::A) if ip.is_ipv4() => self.addresses(std::iter::once(*ip), 1),
            (Found::Address(ip), rtype::AAAA) if ip.is_ipv6() => self.addresses(std::iter::once(*ip), 1),
            (Found::Version, rtype::TXT) => self.answer(rtype::TXT, VERSION_TTL, &[b"\x051.1.0"]),
            (Found::Apex, rtype::SOA) => self.soa(Section::Answer),
            (Found::Apex, rtype::NS) => self.name_servers(ttl),
            (Found::NameServer, qtype @ (rtype::A | rtype::AAAA)) => {
                let mut fitting: Vec<IpAddr> = Vec::new();
                // Services of this server may share an address.
                for ip in name_servers(self.zones, self.snapshot).into_iter().flat_map(|(_, addresses)| addresses) {
                    if ip.is_ipv4() == (qtype == rtype::A) && !fitting.contains(&ip) {
                        fitting.push(ip);
                    }
                }
                self.addresses(fitting.iter().copied(), fitting.len());
            }
            (Found::VirtualIp(key), rtype::PTR) => self.answer(rtype::PTR, ttl, &[key, b"\x03svc", self.zones.primary.wire()]),
            (Found::Reverse(ip), rtype::PTR) => self.pointers(*ip, ttl),
            _ => {}
        }
    }

    fn alias(&mut self, target: &Name) -> u8 {
        self.answer(rtype::CNAME, self.zones.options.ttl_secs, &[target.wire()]);
        rcode::NOERROR
    }

    /// One answer, owned by the name asked for.
    fn answer(&mut self, kind: u16, ttl: u32, data: &[&[u8]]) {
        if !self.reply.record(Section::Answer, QUESTION, kind, ttl, data) {
            self.limited = true;
            self.reply.truncate();
        }
    }

    /// Address records from the one whose turn it is on. If not all fit, those that do are sent and TC tells of the rest.
    fn addresses(&mut self, addresses: impl Iterator<Item = IpAddr> + Clone, n: usize) {
        // An address record of the name asked for: pointer, type, class, TTL, length, address.
        let record = 12 + if self.query.qtype == rtype::A { 4 } else { 16 };
        let all_fit = self.reply.len() + n * record <= self.reply.limit();
        let first = if n > 1 && (self.zones.rotate || !all_fit) { self.turn as usize % n } else { 0 };
        for address in addresses.clone().skip(first).chain(addresses.take(first)) {
            if !self.reply.address(Section::Answer, QUESTION, self.zones.options.ttl_secs, address) {
                self.limited = true;
                self.reply.truncate();
                return;
            }
        }
    }

    /// SRV records, and the addresses of their targets as far as they fit. Targets are written out (RFC 2782), in the letter case of
    /// the objects and, for the zone, of the question.
    fn services(&mut self, sets: &Sets, entry: &Entry, key: &[u8]) {
        let ttl = self.zones.options.ttl_secs;
        let zone = &self.query.name_as_sent()[self.query.name.start(self.above)..];
        let query = self.query;
        let asked = query.name.between(0, self.above.saturating_sub(3));
        let labels = |srv: &Srv| match srv.target {
            Target::Own => &[][..],
            Target::Asked => asked,
            Target::Below(at) => &*entry.below[at as usize].labels,
        };
        let first = self.reply.len();
        for srv in sets.srv() {
            let fixed = [[0, 0], srv.weight.to_be_bytes(), srv.port.to_be_bytes()];
            self.answer(rtype::SRV, ttl, &[fixed.as_flattened(), labels(&srv), key, b"\x03svc", zone]);
            if self.limited {
                return;
            }
        }
        let mut record = first;
        let mut last = None;
        for srv in sets.srv() {
            let target = record + 12 + 6;
            record = target + labels(&srv).len() + key.len() + 4 + zone.len();
            if last.replace(srv.target) == Some(srv.target) {
                continue;
            }
            let of_target = match srv.target {
                Target::Own => &entry.own,
                Target::Asked => sets,
                Target::Below(at) => &entry.below[at as usize].sets,
            };
            let Some(owner) = Reply::pointer(target) else { return };
            for address in of_target.addresses() {
                if !self.reply.address(Section::Additional, owner, ttl, address) {
                    return;
                }
            }
        }
    }

    fn name_servers(&mut self, ttl: u32) {
        let zone = Reply::pointer(HEADER + self.query.name.start(self.above)).unwrap_or(QUESTION).to_be_bytes();
        let servers = name_servers(self.zones, self.snapshot);
        let mut owners = Vec::new();
        for (labels, _) in &servers {
            owners.push(self.reply.len() + 12);
            self.answer(rtype::NS, ttl, &[labels, &zone]);
            if self.limited {
                return;
            }
        }
        for (owner, (_, addresses)) in owners.into_iter().zip(&servers) {
            let Some(owner) = Reply::pointer(owner) else { return };
            for address in addresses {
                if !self.reply.address(Section::Additional, owner, ttl, *address) {
                    return;
                }
            }
        }
    }

    /// PTR records of every Service with a ready endpoint there.
    fn pointers(&mut self, ip: IpAddr, ttl: u32) {
        let (zones, snapshot) = (self.zones, self.snapshot);
        let exposed = |key: &[u8]| exposed(zones, snapshot, key);
        let primary = zones.primary.wire();
        for entry in snapshot.with_endpoint(ip).into_iter().filter(|entry| exposed(&entry.key)) {
            let mut seen: Vec<Vec<u8>> = Vec::new();
            let endpoints = entry.service.iter().flat_map(|service| service.endpoints());
            for endpoint in endpoints.filter(|endpoint| endpoint.address == ip) {
                let labels = endpoint_labels(&endpoint, &zones.options);
                if !seen.contains(&labels) {
                    self.answer(rtype::PTR, ttl, &[&labels, &entry.key, b"\x03svc", primary]);
                    seen.push(labels);
                }
            }
        }
    }

    fn soa(&mut self, section: Section) {
        let zone = Reply::pointer(HEADER + self.query.name.start(self.above)).unwrap_or(QUESTION);
        let ttl = self.zones.options.ttl_secs;
        let pointer = zone.to_be_bytes();
        // Refresh, retry and expiry: CoreDNS's.
        let numbers = [self.snapshot.serial, 7_200, 1_800, 86_400, ttl].map(u32::to_be_bytes);
        let data: [&[u8]; 5] = [b"\x02ns\x03dns", &pointer, b"\x0ahostmaster", &pointer, numbers.as_flattened()];
        self.reply.record(section, zone, rtype::SOA, ttl.min(MAX_SOA_TTL), &data);
    }
}

/// The name servers of a zone: Services that have one of this server's own addresses as an endpoint, else `ns.dns`. Labels in front
/// of the zone, and addresses.
pub(crate) fn name_servers(zones: &Zones, snapshot: &Snapshot) -> Vec<(Vec<u8>, Vec<IpAddr>)> {
    let mut servers: Vec<(Vec<u8>, Vec<IpAddr>)> = Vec::new();
    for ip in zones.local.iter().filter(|_| !zones.options.no_endpoints) {
        // Also those whose namespace the zone does not show: the server's own Service is one nearly always.
        for entry in snapshot.with_endpoint(*ip) {
            let Some(service) = &entry.service else { continue };
            let found = match &service.kind {
                NamedKind::ClusterIp(ips) => vec![([&*entry.key, b"\x03svc"].concat(), ips.clone())],
                // Whoever else stands beside this one behind the Service is a server as well.
                _ => {
                    let name =
                        |endpoint: &NamedEndpoint<'_>| [&endpoint_labels(endpoint, &zones.options), &*entry.key, b"\x03svc"].concat();
                    service.endpoints_beside(*ip).iter().map(|endpoint| (name(endpoint), vec![endpoint.address])).collect()
                }
            };
            for (labels, addresses) in found {
                match servers.iter_mut().find(|(known, _)| *known == labels) {
                    Some((_, known)) => known.extend(addresses.into_iter().filter(|ip| !known.contains(ip)).collect::<Vec<_>>()),
                    None => servers.push((labels, addresses)),
                }
            }
        }
    }
    if servers.is_empty() && !zones.local.is_empty() {
        servers.push((b"\x02ns\x03dns".to_vec(), zones.local.to_vec()));
    }
    servers
}

/// Whether the namespace of a Service that exists does so under the zone: only a filter has to be asked.
fn exposed(zones: &Zones, snapshot: &Snapshot, key: &[u8]) -> bool {
    let service = 1 + usize::from(key[0]);
    !zones.options.filters_namespaces() || snapshot.has_namespace(&key[service..], &zones.options)
}

/// The address that a name of a reverse zone stands for.
pub(crate) fn reversed(name: &Name) -> Option<IpAddr> {
    reversed_wire(name.folded().wire())
}

/// The same for a name in wire form and lower case.
pub(crate) fn reversed_wire(wire: &[u8]) -> Option<IpAddr> {
    let ends = wire.ends_with(b"\x07in-addr\x04arpa\0") || wire.ends_with(b"\x03ip6\x04arpa\0");
    match ends.then(|| reverse(wire))?? {
        Reversed::Whole(ip) => Some(ip),
        Reversed::Part => None,
    }
}

enum Reversed {
    Whole(IpAddr),
    Part,
}

/// Reads a name below in-addr.arpa or ip6.arpa (lower case). `None` where its labels are no part of an address.
fn reverse(wire: &[u8]) -> Option<Reversed> {
    let labels = |n| crate::name::labels(wire).take(n);
    let n = crate::name::labels(wire).count().checked_sub(2)?;
    let part = |whole| if n < whole { Some(Reversed::Part) } else { None };
    if wire.ends_with(b"\x07in-addr\x04arpa\0") {
        let mut octets = [0; 4];
        for (label, octet) in labels(n).zip(octets.iter_mut().rev()) {
            let plain = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label[0] != b'0');
            *octet = std::str::from_utf8(label).ok()?.parse().ok().filter(|_| plain)?;
        }
        return if n == 4 { Some(Reversed::Whole(IpAddr::from(octets))) } else { part(4) };
    }
    let mut octets = [0; 16];
    for (at, label) in labels(n.min(33)).enumerate() {
        let &[digit] = label else { return None };
        let nibble = char::from(digit).to_digit(16)? as u8;
        *octets.get_mut(15usize.checked_sub(at / 2)?)? |= nibble << (4 * (at % 2));
    }
    if n == 32 { Some(Reversed::Whole(IpAddr::from(octets))) } else { part(32) }
}

/// Two labels with an underscore in front of each that has none, in wire form.
fn underscore<'b>(first: &[u8], second: &[u8], out: &'b mut [u8; 2 * 64 + 2]) -> Option<&'b [u8]> {
    let mut at = 0;
    for label in [first, second] {
        let label = label.strip_prefix(b"_").unwrap_or(label);
        if label.len() > 62 {
            return None;
        }
        out[at] = label.len() as u8 + 1;
        out[at + 1] = b'_';
        out[at + 2..at + 2 + label.len()].copy_from_slice(label);
        at += 2 + label.len();
    }
    Some(&out[..at])
}
