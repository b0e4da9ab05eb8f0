//! What the directive says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Directive, Line, Mistakes, zones};
use crate::name::Name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub from: Vec<Name>,
    pub to: Vec<Target>,
    pub except: Vec<Name>,
    pub transport: Transport,
    pub policy: Policy,
    /// Failures in a row after which an upstream is left out until it answers a probe; 0 never leaves it out.
    pub max_fails: u32,
    pub health_check: Duration,
    /// Queries in flight at once; more are refused. 0: no bound but the server's own.
    pub max_concurrent: usize,
    /// Return codes after which the next upstream is asked.
    pub failover: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Address(SocketAddr),
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
    };
    for property in &directive.body {
        match property.name.as_str() {
            "except" => options.except.extend(property.zones(mistakes)),
            "force_tcp" => options.transport = Transport::Tcp,
            "prefer_udp" => options.transport = Transport::Udp,
            // Every query has a socket of its own, so no connection can be kept too long.
            "expire" | "max_connect_attempts" | "max_idle_conns" | "failfast_all_unhealthy_upstreams" => {}
            "max_fails" => options.max_fails = property.parsed("a number", mistakes).unwrap_or(options.max_fails),
            "max_concurrent" => options.max_concurrent = property.parsed("a number", mistakes).unwrap_or_default(),
            "health_check" => match property.args.first().and_then(|text| crate::config::duration(text)) {
                Some(interval) if !interval.is_zero() => options.health_check = interval,
                _ => mistakes.add(property.line, "`health_check` takes a duration such as 0.5s"),
            },
            "policy" => match property.one(mistakes) {
                Some("random") => options.policy = Policy::Random,
                Some("round_robin") => options.policy = Policy::RoundRobin,
                Some("sequential") => options.policy = Policy::Sequential,
                Some(other) => mistakes.add(property.line, format!("`policy {other}`: not random, round_robin or sequential")),
                None => {}
            },
            "failover" | "next" => {
                for arg in &property.args {
                    match crate::wire::rcode_named(arg) {
                        Some(rcode) => options.failover.push(rcode),
                        None => mistakes.add(property.line, format!("`{} {arg}`: no return code of DNS", property.name)),
                    }
                }
            }
            "tls" | "tls_servername" => mistakes.add(property.line, "`forward` does not speak DNS over TLS yet"),
            _ => mistakes.unknown(property, "forward", KNOWN),
        }
    }
    Some(options)
}

fn target(line: Line, text: &str, mistakes: &mut Mistakes) -> Option<Target> {
    let plain = match text.split_once("://") {
        None => text,
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => {
            mistakes.add(line, format!("`{text}`: `forward` does not speak {scheme} yet"));
            return None;
        }
    };
    let bare = plain.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    match plain.parse().or(bare) {
        Ok(address) => Some(Target::Address(address)),
        Err(_) if plain.starts_with(['/', '.']) => Some(Target::ResolvConf(PathBuf::from(plain))),
        Err(_) => {
            mistakes.add(line, format!("`{text}`: neither an address nor the path of a resolv.conf"));
            None
        }
    }
}
