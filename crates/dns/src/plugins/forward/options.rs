//! What the directive says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::resolve;
use super::tls::{self, Tls};
use crate::config::directive::{Directive, Line, Mistakes, zones};
use crate::name::Name;
use crate::wire::rcode;

#[derive(Clone, Debug)]
pub struct Options {
    pub from: Vec<Name>,
    pub to: Vec<Target>,
    pub except: Vec<Name>,
    pub transport: Transport,
    pub policy: Policy,
    /// Probes in a row that fail until an upstream is left out; 0 never leaves it out, and never probes.
    pub max_fails: u32,
    pub health_check: Duration,
    /// What a probe asks for, and whether it asks for recursion.
    pub probe: (Name, bool),
    /// For one try.
    pub read_timeout: Duration,
    /// Tries for one question. `None`: two for each upstream; 0: as many as there is time for, within reason.
    pub max_connect_attempts: Option<usize>,
    /// Where no upstream is well, none is asked.
    pub failfast: bool,
    /// Where questions leave from.
    pub source_address: Option<IpAddr>,
    /// How long an idle connection is kept.
    pub expire: Duration,
    /// After which a connection is not used again, however busy it is; 0: no end.
    pub max_age: Duration,
    /// Connections that are kept, to each upstream; 0: the server's own number.
    pub max_idle_conns: usize,
    /// For the servers behind `tls://`.
    pub tls: Option<Tls>,
    /// Queries in flight at once; more are refused. 0: no bound but the server's own.
    pub max_concurrent: usize,
    /// Return codes after which the next upstream is asked.
    pub failover: Vec<u8>,
    /// Return codes after which the next plugin is asked: another `forward`, mostly.
    pub next: Vec<u8>,
    /// The same after an answer without records.
    pub next_on_nodata: bool,
}

// === impl Options ===

impl Options {
    /// Whether names like this are for these upstreams.
    pub(crate) fn takes(&self, name: &Name) -> bool {
        self.from.iter().any(|zone| name.is_under(zone)) && !self.except.iter().any(|zone| name.is_under(zone))
    }
}

/// CoreDNS's bound.
const MAX_UPSTREAMS: usize = 15;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Address(SocketAddr),
    /// DNS over TLS; the name is the server's own, where it differs from `tls_servername`.
    Tls(SocketAddr, Option<String>),
    /// Its `nameserver` lines.
    ResolvConf(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP, and TCP where the client came by it.
    AsAsked,
    Tcp,
    /// UDP even for clients that came by TCP, and TCP for what was cut.
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Random,
    RoundRobin,
    Sequential,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    const KNOWN: &[&str] = &[
        "except",
        "force_tcp",
        "prefer_udp",
        "expire",
        "max_age",
        "read_timeout",
        "source_address",
        "max_fails",
        "max_connect_attempts",
        "policy",
        "health_check",
        "max_concurrent",
        "failover",
        "next",
        "next_on_nodata",
        "tls",
        "tls_servername",
        "failfast_all_unhealthy_upstreams",
        "max_idle_conns",
        "resolver",
    ];
    let Some((from, to)) = directive.args.split_first() else {
        mistakes.add(directive.line, "`forward` takes a zone and one or more servers");
        return None;
    };
    if to.is_empty() {
        mistakes.add(directive.line, format!("`forward {from}` names no server to ask"));
    }
    // Needed for the names of upstreams, wherever it stands.
    let resolver = directive.body.iter().rfind(|property| property.name == "resolver");
    let resolvers = resolver.map(|property| resolvers(property, mistakes)).unwrap_or_default();
    let tls_servername = directive.body.iter().any(|property| property.name == "tls_servername");
    let mut options = Options {
        from: zones(directive.line, from, mistakes),
        to: to.iter().flat_map(|to| targets(directive.line, to, &resolvers, tls_servername, mistakes)).collect(),
        except: Vec::new(),
        transport: Transport::AsAsked,
        policy: Policy::Random,
        // 2, 0.5 s and 2 s: CoreDNS's defaults.
        max_fails: 2,
        health_check: Duration::from_millis(500),
        max_concurrent: 0,
        read_timeout: Duration::from_secs(2),
        max_connect_attempts: None,
        failfast: false,
        source_address: None,
        max_age: Duration::ZERO,
        max_idle_conns: 0,
        failover: Vec::new(),
        next: Vec::new(),
        next_on_nodata: false,
        probe: (Name::root(), true),
        // CoreDNS's.
        expire: Duration::from_secs(10),
        tls: None,
    };
    let mut tls = tls::Files::default();
    for property in &directive.body {
        if ["force_tcp", "prefer_udp", "failfast_all_unhealthy_upstreams", "next_on_nodata"].contains(&property.name.as_str()) {
            property.bare(mistakes);
        }
        match property.name.as_str() {
            "except" => {
                if property.args.is_empty() {
                    mistakes.add(property.line, "`except` names no zone");
                }
                options.except.extend(property.zones(mistakes));
            }
            "force_tcp" => options.transport = Transport::Tcp,
            // `force_tcp` is the stronger of the two, in whatever order they stand.
            "prefer_udp" if options.transport == Transport::Tcp => {}
            "prefer_udp" => options.transport = Transport::Udp,
            "expire" => options.expire = property.duration(mistakes).unwrap_or(options.expire),
            "max_age" => options.max_age = property.duration(mistakes).unwrap_or_default(),
            "read_timeout" => match property.duration(mistakes) {
                Some(time) if time.is_zero() => mistakes.add(property.line, "`read_timeout` is longer than nothing"),
                time => options.read_timeout = time.unwrap_or(options.read_timeout),
            },
            "source_address" => options.source_address = property.parsed("an IP address", mistakes),
            "max_connect_attempts" => options.max_connect_attempts = property.parsed("a number", mistakes),
            "max_idle_conns" => options.max_idle_conns = property.parsed("a number", mistakes).unwrap_or_default(),
            // Read above.
            "resolver" => {}
            "failfast_all_unhealthy_upstreams" => options.failfast = true,
            "next_on_nodata" => options.next_on_nodata = true,
            "max_fails" => options.max_fails = property.parsed("a number", mistakes).unwrap_or(options.max_fails),
            "max_concurrent" => options.max_concurrent = property.parsed("a number", mistakes).unwrap_or_default(),
            "health_check" => health_check(property, &mut options, mistakes),
            "policy" => match property.one(mistakes) {
                Some("random") => options.policy = Policy::Random,
                Some("round_robin") => options.policy = Policy::RoundRobin,
                Some("sequential") => options.policy = Policy::Sequential,
                Some(other) => mistakes.add(property.line, format!("`policy {other}`: not random, round_robin or sequential")),
                None => {}
            },
            "failover" => {
                options.failover.extend(codes(property, mistakes));
                if options.failover.contains(&rcode::NOERROR) {
                    mistakes.add(property.line, "`failover NOERROR`: a good answer is no failure");
                }
            }
            "next" => options.next.extend(codes(property, mistakes)),
            "tls" => match property.args.as_slice() {
                [] => {}
                [authority] => tls.authority = Some(authority.into()),
                [certificate, key] => tls.own = Some((certificate.into(), key.into())),
                [certificate, key, authority] => {
                    tls.own = Some((certificate.into(), key.into()));
                    tls.authority = Some(authority.into());
                }
                _ => mistakes.add(property.line, "`tls` takes a certificate, its key and an authority"),
            },
            "tls_servername" => tls.server_name = property.one(mistakes).map(str::to_owned),
            _ => mistakes.unknown(property, "forward", KNOWN),
        }
    }
    if options.to.len() > MAX_UPSTREAMS {
        mistakes.add(directive.line, format!("`forward` takes {MAX_UPSTREAMS} servers at the most, not {}", options.to.len()));
    }
    if !options.max_age.is_zero() && options.max_age < options.expire {
        mistakes.add(directive.line, "`max_age` is not shorter than `expire`");
    }
    if tls.server_name.is_some() && options.to.iter().any(|to| matches!(to, Target::Tls(_, Some(_)))) {
        mistakes.add(directive.line, "`tls_servername` and a server's own name behind `%`: one of them");
    }
    if options.to.iter().any(|to| matches!(to, Target::Tls(..))) {
        match tls.load() {
            Ok(tls) => options.tls = Some(tls),
            Err(error) => mistakes.add(directive.line, format!("DNS over TLS: {error}")),
        }
    }
    Some(options)
}

/// `DURATION [no_rec] [domain NAME]`.
fn health_check(property: &Directive, options: &mut Options, mistakes: &mut Mistakes) {
    match property.args.first().and_then(|text| crate::config::directive::duration(text)) {
        Some(interval) if !interval.is_zero() => options.health_check = interval,
        _ => mistakes.add(property.line, "`health_check` takes a duration such as 0.5s"),
    }
    let mut rest = property.args.get(1..).unwrap_or_default();
    while !rest.is_empty() {
        rest = match rest {
            [word, rest @ ..] if word == "no_rec" => {
                options.probe.1 = false;
                rest
            }
            [word, domain, rest @ ..] if word == "domain" => {
                match Name::parse(domain) {
                    Ok(name) => options.probe.0 = name,
                    Err(error) => mistakes.add(property.line, error.to_string()),
                }
                rest
            }
            [other, ..] => return mistakes.add(property.line, format!("`health_check ... {other}`: neither no_rec nor domain NAME")),
            [] => rest,
        };
    }
}

fn codes(property: &Directive, mistakes: &mut Mistakes) -> Vec<u8> {
    if property.args.is_empty() {
        mistakes.add(property.line, format!("`{}` names no return code", property.name));
    }
    let mut read = |arg: &String| {
        let code = crate::wire::rcode_named(arg);
        if code.is_none() {
            mistakes.add(property.line, format!("`{} {arg}`: no return code of DNS", property.name));
        }
        code
    };
    property.args.iter().filter_map(&mut read).collect()
}

/// What one word says to ask: an address, a resolv.conf, or all addresses of a name.
fn targets(line: Line, text: &str, resolvers: &[SocketAddr], tls_servername: bool, mistakes: &mut Mistakes) -> Vec<Target> {
    let (plain, tls) = match text.split_once("://") {
        None => (text, false),
        Some(("dns", rest)) => (rest, false),
        Some(("tls", rest)) => (rest, true),
        Some((scheme, _)) => {
            mistakes.add(line, format!("`{text}`: `forward` does not speak {scheme} yet"));
            return Vec::new();
        }
    };
    let (plain, name) = if tls { server_name(plain) } else { (plain.to_owned(), None) };
    // RFC 7858 section 3.1.
    let port = if tls { 853 } else { 53 };
    let target = |address, name| if tls { Target::Tls(address, name) } else { Target::Address(address) };
    let bare = plain.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    if let Ok(address) = plain.parse().or(bare) {
        return vec![target(address, name)];
    }
    if std::path::Path::new(&plain).exists() {
        return vec![Target::ResolvConf(PathBuf::from(plain))];
    }
    let (host, port) = match plain.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, port),
        _ => (plain.as_str(), port),
    };
    if !is_host(host) {
        mistakes.add(line, format!("`{text}`: neither an address, nor the path of a resolv.conf, nor a name"));
        return Vec::new();
    }
    // It is this name that the server shows it is, unless another is said.
    let name = name.or_else(|| (!tls_servername).then(|| host.to_owned()));
    match resolve::lookup(host, resolvers) {
        Ok(addresses) => addresses.into_iter().map(|ip| target(SocketAddr::new(ip, port), name.clone())).collect(),
        Err(error) => {
            mistakes.add(line, format!("`{text}`: {error}"));
            Vec::new()
        }
    }
}

/// `9.9.9.9%dns.quad9.net:853` -> `9.9.9.9:853` and the name between.
fn server_name(text: &str) -> (String, Option<String>) {
    let Some((host, behind)) = text.rsplit_once('%') else { return (text.to_owned(), None) };
    let (name, port) = behind.rsplit_once(':').map_or((behind, String::new()), |(name, port)| (name, format!(":{port}")));
    let close = if host.starts_with('[') { "]" } else { "" };
    (format!("{host}{close}{port}"), Some(name.trim_end_matches(']').to_owned()))
}

/// Whether a text may be the name of a machine, and is no mistyped address or path.
fn is_host(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().all(known) && text.contains(|c: char| c.is_ascii_alphabetic()) && Name::parse(text).is_ok_and(|name| !name.is_root())
}

/// `resolver IP[:PORT]...`.
fn resolvers(property: &Directive, mistakes: &mut Mistakes) -> Vec<SocketAddr> {
    if property.args.is_empty() {
        mistakes.add(property.line, "`resolver` names no server");
    }
    let mut read = |arg: &String| {
        let address = arg.parse().or_else(|_| arg.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53))).ok();
        if address.is_none() {
            mistakes.add(property.line, format!("`resolver {arg}`: neither an IP address nor one with a port"));
        }
        address
    };
    property.args.iter().filter_map(&mut read).collect()
}
