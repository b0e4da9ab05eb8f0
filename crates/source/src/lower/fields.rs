//! Reading single fields: addresses, networks, ports, texts; what cannot be read becomes an issue.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::facts::{EndpointNames, Labels, Topology};
use model::{Issue, Protocol, Reason, Text};

/// Texts that many objects repeat, each held once.
#[derive(Default)]
pub(crate) struct Interner {
    texts: HashSet<Text>,
    topologies: HashSet<Arc<Topology>>,
    no_labels: Option<Arc<Labels>>,
    /// Nobody answers names: what an endpoint is called, which only names show, is not kept.
    no_names: bool,
}

/// Reads the fields of one object and collects what is wrong.
pub(crate) struct Fields<'a> {
    texts: &'a mut Interner,
    issues: Vec<Issue>,
}

/// When to look for what nobody holds any more.
const SWEEP_AT: usize = 100_000;

fn sweep<T: Hash + Eq + ?Sized>(held: &mut HashSet<Arc<T>>) {
    if held.len() >= SWEEP_AT && held.len().is_power_of_two() {
        held.retain(|one| Arc::strong_count(one) > 1);
    }
}

// === impl Interner ===

impl Interner {
    pub(crate) fn without_names() -> Self {
        Self { no_names: true, ..Self::default() }
    }

    pub(crate) fn text(&mut self, text: &str) -> Text {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        sweep(&mut self.texts);
        let text: Text = text.into();
        self.texts.insert(text.clone());
        text
    }

    pub(crate) fn topology(&mut self, topology: Topology) -> Arc<Topology> {
        if let Some(known) = self.topologies.get(&topology) {
            return known.clone();
        }
        sweep(&mut self.topologies);
        let topology = Arc::new(topology);
        self.topologies.insert(topology.clone());
        topology
    }

    pub(crate) fn labels(&mut self, map: &api::Map) -> Arc<Labels> {
        if map.0.is_empty() {
            return self.no_labels.get_or_insert_default().clone();
        }
        Arc::new(map.0.iter().map(|(key, value)| (self.text(key), self.text(value))).collect())
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(crate) fn new(texts: &'a mut Interner) -> Self {
        Self { texts, issues: Vec::new() }
    }

    pub(crate) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    pub(crate) fn texts(&mut self) -> &mut Interner {
        self.texts
    }

    pub(crate) fn text(&mut self, text: &str) -> Text {
        self.texts.text(text)
    }

    /// What the endpoints of a slice are called, each a host name and a pod; `None` also where nobody wants to know.
    pub(crate) fn names<'t>(
        &self,
        endpoints: impl Iterator<Item = (Option<&'t str>, Option<&'t str>)> + Clone,
    ) -> Option<Box<EndpointNames>> {
        if self.texts.no_names {
            return None;
        }
        let hostnames = endpoints.clone().map(|(hostname, _)| hostname).collect();
        let names = EndpointNames { hostnames, pods: endpoints.map(|(_, pod)| pod).collect() };
        (names != EndpointNames::default()).then(|| Box::new(names))
    }

    /// `None` for an unset (or empty) field.
    pub(crate) fn some_text(&mut self, text: Option<&str>) -> Option<Text> {
        text.filter(|text| !text.is_empty()).map(|text| self.texts.text(text))
    }

    pub(crate) fn invalid(&mut self, field: impl FnOnce() -> String, message: impl Into<Text>) {
        self.issues.push(Issue::new(field(), Reason::InvalidValue, message));
    }

    pub(crate) fn conflict(&mut self, field: impl FnOnce() -> String, message: impl Into<Text>) {
        self.issues.push(Issue::new(field(), Reason::Conflict, message));
    }

    pub(crate) fn unsupported(&mut self, field: impl FnOnce() -> String, message: impl Into<Text>) {
        self.issues.push(Issue::new(field(), Reason::Unsupported, message));
    }

    pub(crate) fn address(&mut self, text: &str, field: impl FnOnce() -> String) -> Option<IpAddr> {
        let address = address(text);
        if address.is_none() {
            self.invalid(field, format!("`{text}` is no IP address"));
        }
        address
    }

    /// Every readable address of a list.
    pub(crate) fn addresses<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>, field: &str) -> Vec<IpAddr> {
        let texts = texts.into_iter().enumerate();
        texts.filter_map(|(index, text)| self.address(text, || format!("{field}[{index}]"))).collect()
    }

    pub(crate) fn net(&mut self, text: &str, field: impl FnOnce() -> String) -> Option<IpNet> {
        let net = net(text);
        if net.is_none() {
            self.invalid(field, format!("`{text}` is no CIDR"));
        }
        net
    }

    pub(crate) fn nets<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>, field: &str) -> Vec<IpNet> {
        let texts = texts.into_iter().enumerate();
        texts.filter_map(|(index, text)| self.net(text, || format!("{field}[{index}]"))).collect()
    }

    /// A port from 1 to 65535.
    pub(crate) fn port(&mut self, port: i32, field: impl FnOnce() -> String) -> Option<u16> {
        let read = u16::try_from(port).ok().filter(|port| *port != 0);
        if read.is_none() {
            self.invalid(field, format!("{port} is no port from 1 to 65535"));
        }
        read
    }

    /// Unset is TCP.
    pub(crate) fn protocol(&mut self, text: &str, field: impl FnOnce() -> String) -> Option<Protocol> {
        match text {
            "" | "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => {
                self.invalid(field, format!("`{text}` is none of TCP, UDP, SCTP"));
                None
            }
        }
    }
}

/// An address as Kubernetes reads it: IPv4 parts with leading zeros are decimal (`netutils.ParseIPSloppy`), IPv4 mapped into IPv6 is
/// IPv4, white space around it does not count.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.contains(':') {
        return text.parse().ok().map(|address: IpAddr| address.to_canonical());
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = part.trim_start_matches('0');
        if part.is_empty() || part.len() > 8 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// A network, its host bits cut off, as Go's ParseCIDR gives it.
fn net(text: &str) -> Option<IpNet> {
    let (network, prefix) = text.trim().split_once('/')?;
    let prefix = Some(prefix).filter(|prefix| prefix.bytes().all(|byte| byte.is_ascii_digit()))?;
    let net = IpNet::new(address(network)?, prefix.parse().ok()?).ok()?;
    Some(net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        let read = |text| address(text).map(|address| address.to_string());
        assert_eq!(read("10.020.030.040").as_deref(), Some("10.20.30.40"));
        assert_eq!(read(" 192.0.2.1 ").as_deref(), Some("192.0.2.1"));
        assert_eq!(read("2001:DB8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(read("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        for wrong in ["", "None", "10.0.0", "10.0.0.0.1", "10.0.0.256", "10.0.0.-1", "a.b.c.d", "10.0.0.1/32", "1.2.3.0000000004"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn networks_lose_their_host_bits() {
        let read = |text| net(text).map(|net| net.to_string());
        assert_eq!(read(" 203.0.113.9/25 ").as_deref(), Some("203.0.113.0/25"));
        assert_eq!(read("fd00::1/8").as_deref(), Some("fd00::/8"));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "/8", "x/8"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
