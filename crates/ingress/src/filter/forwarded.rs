//! What an upstream is told about the client: X-Forwarded-*, X-Real-IP, X-Request-ID, as ingress-nginx sets them.

use std::net::IpAddr;

use hyper::http::HeaderMap;
use hyper::http::header::{EXPECT, HOST, HeaderName, HeaderValue};

use crate::config::ForwardedHeaders;
use crate::listen::Scheme;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
static X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
static FORWARDED: HeaderName = HeaderName::from_static("forwarded");
static PROXY: HeaderName = HeaderName::from_static("proxy");

/// The client as the peers before us describe it, where they are believed, else as its connection shows it.
pub(crate) struct Client {
    pub address: IpAddr,
    /// `http` or `https`.
    pub proto: &'static str,
    pub port: u16,
}

/// What one connection always says, made into header values once.
pub(crate) struct Peer {
    pub address: IpAddr,
    pub scheme: Scheme,
    pub local_port: u16,
    address_text: HeaderValue,
    port_text: HeaderValue,
}

// === impl Peer ===

impl Peer {
    pub(crate) fn new(address: IpAddr, scheme: Scheme, local_port: u16) -> Self {
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        let address = address.to_canonical();
        Self { address, scheme, local_port, address_text: text(address), port_text: text(local_port) }
    }

    /// Whether this peer's word about the client counts.
    fn believed(&self, config: &ForwardedHeaders) -> bool {
        config.believe && (config.trusted.is_empty() || config.trusted.iter().any(|net| net.contains(&self.address)))
    }

    /// Who the client is.
    pub(crate) fn client(&self, headers: &HeaderMap, config: &ForwardedHeaders) -> Client {
        let own = Client { address: self.address, proto: self.scheme.as_str(), port: self.local_port };
        if !self.believed(config) {
            return own;
        }
        let get = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let proto = match get(&X_FORWARDED_PROTO) {
            Some(proto) if proto.eq_ignore_ascii_case("https") => "https",
            Some(proto) if proto.eq_ignore_ascii_case("http") => "http",
            _ => own.proto,
        };
        let address = get(&X_FORWARDED_FOR).and_then(|list| last_untrusted(list, &config.trusted)).unwrap_or(own.address);
        Client { address, proto, port: get(&X_FORWARDED_PORT).and_then(|port| port.parse().ok()).unwrap_or(own.port) }
    }

    /// Writes what the upstream is to know; gives the request's ID. `host` is the host as the client wrote it.
    ///
    /// Source: ingress-nginx's `nginx.tmpl` (the proxy_set_header lines of a location).
    pub(crate) fn tell(
        &self,
        headers: &mut HeaderMap,
        client: &Client,
        host: &HeaderValue,
        config: &ForwardedHeaders,
        new_id: impl FnOnce() -> HeaderValue,
    ) -> HeaderValue {
        // A field name with `_` and one with `-` are the same variable to a CGI program: nginx drops the former.
        drop_underscores(headers);
        // "Proxy" becomes the variable HTTP_PROXY there (httpoxy).
        headers.remove(&PROXY);
        headers.remove(&FORWARDED);
        headers.remove(EXPECT);
        let id = headers.get(&X_REQUEST_ID).filter(|id| !id.is_empty()).cloned().unwrap_or_else(new_id);
        let proto = HeaderValue::from_static(client.proto);
        let same = client.address == self.address;
        let address = if same { self.address_text.clone() } else { text(client.address) };
        let port = if client.port == self.local_port { self.port_text.clone() } else { text(client.port) };
        let before = headers.remove(&X_FORWARDED_FOR);
        let chain = match &before {
            Some(before) if config.append => joined(before, &self.address_text),
            _ => address.clone(),
        };
        if let Some(before) = before {
            headers.insert(&X_ORIGINAL_FORWARDED_FOR, before);
        }
        headers.insert(HOST, host.clone());
        headers.insert(&X_REQUEST_ID, id.clone());
        headers.insert(&X_REAL_IP, address);
        headers.insert(&X_FORWARDED_FOR, chain);
        headers.insert(&X_FORWARDED_HOST, host.clone());
        headers.insert(&X_FORWARDED_PORT, port);
        headers.insert(&X_FORWARDED_PROTO, proto.clone());
        headers.insert(&X_FORWARDED_SCHEME, proto.clone());
        headers.insert(&X_SCHEME, proto);
        id
    }
}

/// The rightmost address that is no proxy of ours (`real_ip_recursive on`); with nobody in particular trusted, the leftmost.
fn last_untrusted(list: &str, trusted: &[ipnet::IpNet]) -> Option<IpAddr> {
    let mut addresses = list.split(',').filter_map(|address| address.trim().parse::<IpAddr>().ok());
    if trusted.is_empty() {
        return addresses.next();
    }
    let addresses: Vec<_> = addresses.collect();
    let ours = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    addresses.iter().rev().find(|address| !ours(address)).or(addresses.first()).copied()
}

fn drop_underscores(headers: &mut HeaderMap) {
    if headers.keys().any(|name| name.as_str().contains('_')) {
        let names: Vec<_> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn joined(before: &HeaderValue, address: &HeaderValue) -> HeaderValue {
    let joined = [before.as_bytes(), b", ", address.as_bytes()].concat();
    HeaderValue::from_bytes(&joined).unwrap_or_else(|_| address.clone())
}

fn text(value: impl std::fmt::Display) -> HeaderValue {
    // Addresses and numbers are made of what a header value may hold.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value.to_string())).unwrap_or_else(|_| HeaderValue::from_static(""))
}
