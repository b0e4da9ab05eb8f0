//! What becomes of a request, step by step, without a connection: for `rutter trace`.
//!
//! Matches with the same compiled hosts as the data plane, and says beside it which object's which field decided.

use std::sync::Arc;

use hyper::http::HeaderMap;
use model::RouteView;
use model::facts::BackendPort;
use model::facts::PathMatch;
use model::route::{self, Action, Host, HostKey, HostPattern, Listener, Origin, UpstreamKey};

use crate::table::{Asked, VirtualHost, path};
use crate::upstream::Upstream;

/// One thing that was decided, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: String,
    pub by: Option<Origin>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub steps: Vec<Step>,
    /// Where it would be forwarded; `None` where we answer ourselves.
    pub upstream: Option<UpstreamKey>,
    pub outcome: String,
}

/// Follows a GET of `target` (path and query) at `host`.
pub fn trace(view: &RouteView, tls: bool, host: &str, target: &str) -> Trace {
    let mut trace = Trace::default();
    let (asked_path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(normal) = path::normalise(asked_path) else {
        return trace.end("400: the path cannot be read (it climbs above its root, or is wrongly encoded)");
    };
    let Some((pattern, found)) = find(view, host) else {
        trace.say("no Ingress of ours has this host, and none is for every host");
        return trace.end("404: default backend");
    };
    trace.say(match &pattern {
        HostPattern::Exact(name) => format!("host {name}, by its own rules"),
        HostPattern::Wildcard(suffix) => format!("host *.{suffix}: no rule has {host} itself"),
        HostPattern::Any => format!("the rules without a host: none has {host}"),
    });
    let compiled = VirtualHost::compile(&pattern, found, Vec::new(), &mut |_| Arc::new(Upstream::new(Arc::new(route::Upstream::Absent))));
    let headers = HeaderMap::new();
    let asked = Asked { path: &normal, method: "GET", headers: &headers, query };
    let Some(chosen) = compiled.route(&asked) else {
        trace.say(format!("none of its {} path(s) fits {asked_path}", found.routes.len()));
        return trace.end("404");
    };
    let decided = found.routes.iter().chain(found.default_backend.as_deref()).find(|route| chosen.labels.is_of(route));
    if let Some(decided) = decided {
        trace.say_by(describe(&decided.path), &decided.origin);
    }
    if chosen.policy.ssl_redirect && !tls {
        trace.say("the host has TLS, or redirecting is forced: plain HTTP is sent to HTTPS");
        return trace.end(format!("308 to https://{host}{target}"));
    }
    if let Some(rewritten) =
        chosen.policy.rewrite.as_ref().and_then(|rewrite| rewrite.apply(&normal, Some(query).filter(|it| !it.is_empty())))
    {
        trace.say(format!("rewritten to {rewritten} (rewrite-target)"));
    }
    match decided.map(|route| &route.action) {
        Some(Action::Forward(backends)) => {
            let backends: Vec<_> = backends.iter().map(|backend| &backend.upstream).collect();
            trace.upstream = backends.first().map(|key| (*key).clone());
            if let Some(key) = &trace.upstream {
                let port = match &key.port {
                    BackendPort::Number(port) => port.to_string(),
                    BackendPort::Name(name) => name.to_string(),
                };
                trace.outcome = format!("forwarded to Service {} port {port}", key.service);
            }
            trace
        }
        Some(Action::NotFound) | None => trace.end("404: the backend is nothing that we serve"),
    }
}

/// The host that answers a name: its own, else a wildcard of one label more, else the one for every name.
fn find<'a>(view: &'a RouteView, host: &str) -> Option<(HostPattern, &'a Host)> {
    let wildcard = host.split_once('.').map(|(_, suffix)| HostPattern::Wildcard(suffix.into()));
    let patterns = [Some(HostPattern::Exact(host.into())), wildcard, Some(HostPattern::Any)];
    patterns.into_iter().flatten().find_map(|pattern| {
        let key = HostKey { listener: Listener::Ingress, host: pattern.clone() };
        view.hosts.get(&key).map(|host| (pattern, &**host))
    })
}

fn describe(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("path {path}, byte for byte"),
        PathMatch::Prefix(path) => format!("path {path} and below"),
        PathMatch::Regex(path) => format!("path by the regular expression {path}"),
    }
}

// === impl Trace ===

impl Trace {
    fn say(&mut self, what: impl Into<String>) {
        self.steps.push(Step { what: what.into(), by: None });
    }

    fn say_by(&mut self, what: impl Into<String>, origin: &Origin) {
        self.steps.push(Step { what: what.into(), by: Some(origin.clone()) });
    }

    fn end(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = outcome.into();
        self
    }
}
