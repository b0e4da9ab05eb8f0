//! What the directive says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::tls::{self, Tls};
use crate::config::directive::{Directive, Line, Mistakes, zones};
use crate::name::Name;

#[derive(Clone, Debug)]
pub struct Options {
    pub from: Vec<Name>,
    pub to: Vec<Target>,
    pub except: Vec<Name>,
    pub transport: Transport,
    pub policy: Policy,
    /// Failures in a row after which an upstream is left out until it answers a probe; 0 never leaves it out.
    pub max_fails: u32,
    pub health_check: Duration,
    /// What a probe asks for, and whether it asks for recursion.
    pub probe: (Name, bool),
    /// How long an idle connection is kept.
    pub expire: Duration,
    /// For the servers behind `tls://`.
    pub tls: Option<Tls>,
    /// Queries in flight at once; more are refused. 0: no bound but the server's own.
    pub max_concurrent: usize,
    /// Return codes after which the next upstream is asked.
    pub failover: Vec<u8>,
    /// Return codes after which the next plugin is asked: another `forward`, mostly.
    pub next: Vec<u8>,
}

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
    /// UDP even for clients that came by TCP.
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
        "max_fails",
        "max_connect_attempts",
        "policy",
        "health_check",
        "max_concurrent",
        "failover",
        "next",
        "tls",
        "tls_servername",
        "failfast_all_unhealthy_upstreams",
        "max_idle_conns",
    ];
    let Some((from, to)) = directive.args.split_first() else {
        mistakes.add(directive.line, "`forward` takes a zone and one or more servers");
        return None;
    };
    if to.is_empty() {
        mistakes.add(directive.line, format!("`forward {from}` names no server to ask"));
    }
    let mut options = Options {
        from: zones(directive.line, from, mistakes),
        to: to.iter().filter_map(|to| target(directive.line, to, mistakes)).collect(),
        except: Vec::new(),
        transport: Transport::AsAsked,
        policy: Policy::Random,
        // 2 and 0.5 s: CoreDNS's defaults.
        max_fails: 2,
        health_check: Duration::from_millis(500),
        max_concurrent: 0,
        failover: Vec::new(),
        next: Vec::new(),
        probe: (Name::root(), true),
        // CoreDNS's.
        expire: Duration::from_secs(10),
        tls: None,
    };
    let mut tls = tls::Files::default();
    for property in &directive.body {
        match property.name.as_str() {
            "except" => options.except.extend(property.zones(mistakes)),
            "force_tcp" => options.transport = Transport::Tcp,
            "prefer_udp" => options.transport = Transport::Udp,
            "expire" => options.expire = property.duration(mistakes).unwrap_or(options.expire),
            // Tries are bounded by time, connections that idle by a number of our own.
            "max_connect_attempts" | "max_idle_conns" | "failfast_all_unhealthy_upstreams" => {}
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
            "failover" => options.failover.extend(codes(property, mistakes)),
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
    let mut read = |arg: &String| {
        let code = crate::wire::rcode_named(arg);
        if code.is_none() {
            mistakes.add(property.line, format!("`{} {arg}`: no return code of DNS", property.name));
        }
        code
    };
    property.args.iter().filter_map(&mut read).collect()
}

fn target(line: Line, text: &str, mistakes: &mut Mistakes) -> Option<Target> {
    let (plain, tls) = match text.split_once("://") {
        None => (text, false),
        Some(("dns", rest)) => (rest, false),
        Some(("tls", rest)) => (rest, true),
        Some((scheme, _)) => {
            mistakes.add(line, format!("`{text}`: `forward` does not speak {scheme} yet"));
            return None;
        }
    };
    let (plain, name) = match plain.split_once('%') {
        Some((plain, name)) if tls => (plain, Some(name.to_owned())),
        _ => (plain, None),
    };
    // RFC 7858 section 3.1.
    let port = if tls { 853 } else { 53 };
    let bare = plain.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    match plain.parse().or(bare) {
        Ok(address) if tls => Some(Target::Tls(address, name)),
        Ok(address) => Some(Target::Address(address)),
        Err(_) if plain.starts_with(['/', '.']) => Some(Target::ResolvConf(PathBuf::from(plain))),
        Err(_) => {
            mistakes.add(line, format!("`{text}`: neither an address nor the path of a resolv.conf"));
            None
        }
    }
}
