//! One host of all Ingresses that name it: its routes in order, its default backend, its certificates.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::super::ledger::Told;
use crate::facts::PathMatch;
use crate::facts::{Ingress, IngressBackend, IngressName};
use crate::issue::{Issue, Reason};
use crate::names::{ObjectKind, ObjectRef, SecretName, ServiceName, Text};
use crate::options::Canary;
use crate::options::RouteOptions;
use crate::route::{Action, CanaryBackend, Host, HostPattern, Origin, Route, UpstreamKey, WeightedBackend};

/// The host that a rule is for.
pub(super) fn pattern(host: Option<&Text>) -> HostPattern {
    match host {
        None => HostPattern::Any,
        Some(host) if host.is_empty() => HostPattern::Any,
        Some(host) => match host.strip_prefix("*.") {
            Some(suffix) => HostPattern::Wildcard(suffix.into()),
            None => HostPattern::Exact(host.clone()),
        },
    }
}

/// The upstream of a backend; `None` for a resource.
pub(super) fn upstream_key(ingress: &IngressName, backend: &IngressBackend) -> Option<UpstreamKey> {
    match backend {
        IngressBackend::Service { name, port } => {
            Some(UpstreamKey { service: ServiceName { namespace: ingress.namespace.clone(), name: name.clone() }, port: port.clone() })
        }
        IngressBackend::Resource(_) => None,
    }
}

/// Merges what `oldest_first` say about this host. Of two claims to one path the older has it, the other is told as a conflict.
///
/// Routes are in the order in which they are to be tried: the longest path first and `Exact` before `Prefix` where both are as long.
/// As soon as one path of the host is a regular expression or is rewritten, all of them are regular expressions, the longest *text*
/// first (ingress-nginx: one such Ingress changes its neighbours).
///
/// A default backend beside rules serves only the hosts of those rules; one without rules serves `Any`. Below both stands
/// `default_backend`, the controller's own.
///
/// Source: the Ingress API's reference, and ingress-nginx's `controller.go` (`createServers`), `location.go`.
pub(super) fn host<'a>(
    pattern: &HostPattern,
    oldest_first: impl Iterator<Item = (&'a IngressName, &'a Ingress)>,
    default_backend: Option<&UpstreamKey>,
) -> (Host, Told) {
    let mut host = Host::default();
    let mut told = Vec::new();
    let mut taken: HashMap<PathMatch, ObjectRef> = HashMap::new();
    let mut canaries = Vec::new();
    let ingresses: Vec<_> = oldest_first.collect();
    let by_regex = ingresses.iter().any(|(_, ingress)| {
        ingress.options.canary.is_none() && paths(pattern, ingress).any(|(_, path, _)| is_regex(path, &ingress.options))
    });
    // Where paths are regular expressions a trailing slash means something.
    let claimed = |path: &PathMatch| if by_regex { path.clone() } else { claimed(path) };
    for (name, ingress) in ingresses {
        if let Some(terms) = &ingress.options.canary {
            canaries.push((name, ingress, terms));
            continue;
        }
        let object = name.object();
        for (field, path, backend) in paths(pattern, ingress) {
            if let Some(owner) = taken.get(&claimed(path)) {
                let message = format!("{} of host {} belongs to {owner}, which comes first", describe(path), describe_host(pattern));
                told.push((object.clone(), Issue::new(field, Reason::Conflict, message)));
                continue;
            }
            taken.insert(claimed(path), object.clone());
            host.routes.push(route(name, object.clone(), field, path.clone(), backend, &ingress.options));
        }
        if let Some(backend) = &ingress.default_backend {
            if let Some(Route { origin, .. }) = host.default_backend.as_deref() {
                let message =
                    format!("the default backend of host {} is that of {}, which comes first", describe_host(pattern), origin.object);
                told.push((object.clone(), Issue::new("spec.defaultBackend", Reason::Conflict, message)));
            } else {
                let path = PathMatch::Prefix("/".into());
                let route = route(name, object, "spec.defaultBackend".into(), path, backend, &ingress.options);
                host.default_backend = Some(Arc::new(route));
            }
        }
        certificates(pattern, name, ingress, &mut host);
        host.aliases.extend(ingress.options.aliases.iter().cloned());
        host.from_to_www |= ingress.options.from_to_www;
    }
    host.aliases.sort();
    host.aliases.dedup();
    for (name, ingress, terms) in canaries {
        attach(pattern, name, ingress, terms, &mut host.routes, &mut told);
    }
    if by_regex {
        for route in &mut host.routes {
            route.path = PathMatch::Regex(text(&route.path).clone());
        }
        host.routes.sort_by(|a, b| (text(&b.path).len(), text(&b.path)).cmp(&(text(&a.path).len(), text(&a.path))));
    } else {
        host.routes.sort_by_cached_key(|route| {
            let path = claimed(&route.path);
            (Reverse(text(&path).len()), matches!(path, PathMatch::Prefix(_)), text(&path).clone())
        });
    }
    if host.default_backend.is_none() {
        host.default_backend = default_backend.map(|upstream| Arc::new(controller_default(upstream)));
    }
    (host, told)
}

/// Gives a canary Ingress its share of the routes of the same paths; the oldest canary of a path has it. Without such a route it serves
/// nothing.
///
/// Source: ingress-nginx's `controller.go` (`mergeAlternativeBackends`).
fn attach(pattern: &HostPattern, name: &IngressName, ingress: &Ingress, terms: &Canary, routes: &mut [Route], told: &mut Told) {
    for (field, path, backend) in paths(pattern, ingress) {
        let Some(upstream) = upstream_key(name, backend) else { continue };
        match routes.iter_mut().find(|route| claimed(&route.path) == claimed(path)) {
            Some(route) if route.canary.is_none() => route.canary = Some(Arc::new(CanaryBackend { upstream, terms: terms.clone() })),
            Some(_) => {
                let message = format!("{} of host {} has a canary already, which comes first", describe(path), describe_host(pattern));
                told.push((name.object(), Issue::new(field, Reason::Conflict, message)));
            }
            None => {
                let message =
                    format!("no other Ingress has {} of host {}: the canary serves nothing", describe(path), describe_host(pattern));
                told.push((name.object(), Issue::new(field, Reason::NoSuchObject, message)));
            }
        }
    }
}

/// The paths that an Ingress has for this host, each with its field.
fn paths<'a>(pattern: &'a HostPattern, ingress: &'a Ingress) -> impl Iterator<Item = (Text, &'a PathMatch, &'a IngressBackend)> {
    let rules = ingress.rules.iter().filter(move |rule| self::pattern(rule.host.as_ref()) == *pattern);
    rules.flat_map(|rule| {
        rule.paths.iter().map(move |path| {
            let field = format!("spec.rules[{}].http.paths[{}]", rule.at, path.at).into();
            (field, &path.path, &path.backend)
        })
    })
}

fn route(
    name: &IngressName,
    object: ObjectRef,
    field: Text,
    path: PathMatch,
    backend: &IngressBackend,
    options: &Arc<RouteOptions>,
) -> Route {
    let action = match upstream_key(name, backend) {
        Some(upstream) => Action::Forward(vec![WeightedBackend { upstream, weight: 1 }]),
        None => Action::NotFound,
    };
    let origin = Origin { object, field };
    Route { path, method: None, headers: Vec::new(), query: Vec::new(), options: options.clone(), action, canary: None, origin }
}

/// `--default-backend-service`: what answers where no Ingress says otherwise.
fn controller_default(upstream: &UpstreamKey) -> Route {
    Route {
        path: PathMatch::Prefix("/".into()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
        options: Arc::default(),
        action: Action::Forward(vec![WeightedBackend { upstream: upstream.clone(), weight: 1 }]),
        canary: None,
        origin: Origin {
            object: ObjectRef {
                kind: ObjectKind::Service,
                namespace: upstream.service.namespace.clone(),
                name: upstream.service.name.clone(),
            },
            field: "--default-backend-service".into(),
        },
    }
}

/// Adds the certificates that the Ingress has for this host: of the sections that name it, then of the others, which may cover it
/// all the same (ingress-nginx looks into the certificates; so does our reader, and passes over what does not cover the host).
fn certificates(pattern: &HostPattern, name: &IngressName, ingress: &Ingress, host: &mut Host) {
    let (naming, others): (Vec<_>, Vec<_>) = ingress.tls.iter().partition(|tls| tls.hosts.iter().any(|tls_host| covers(tls_host, pattern)));
    // A section without hosts is for the hosts of the rules; "every host" is none that could be redirected.
    host.tls |= !naming.is_empty() || (*pattern != HostPattern::Any && others.iter().any(|tls| tls.hosts.is_empty()));
    for secret in naming.into_iter().chain(others).filter_map(|tls| tls.secret.as_ref()) {
        let secret = SecretName { namespace: name.namespace.clone(), name: secret.clone() };
        if !host.certificates.contains(&secret) {
            host.certificates.push(secret);
        }
    }
}

/// Whether a host of a `tls` section names this host: letter for letter, or as a wildcard of one label.
fn covers(tls_host: &str, pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Exact(host) => {
            let under_wildcard = || Some((tls_host.strip_prefix("*.")?, host.split_once('.')?.1));
            tls_host.eq_ignore_ascii_case(host) || under_wildcard().is_some_and(|(suffix, parent)| suffix.eq_ignore_ascii_case(parent))
        }
        HostPattern::Wildcard(suffix) => tls_host.strip_prefix("*.").is_some_and(|tls| tls.eq_ignore_ascii_case(suffix)),
        HostPattern::Any => false,
    }
}

fn is_regex(path: &PathMatch, options: &RouteOptions) -> bool {
    let rewrites = |target: &Text| !target.is_empty() && target != text(path);
    matches!(path, PathMatch::Regex(_)) || options.use_regex || options.rewrite_target.as_ref().is_some_and(rewrites)
}

/// What a path claims: a prefix is the same with and without its trailing slash.
fn claimed(path: &PathMatch) -> PathMatch {
    match path {
        PathMatch::Prefix(prefix) if prefix.ends_with('/') => PathMatch::Prefix(prefix.trim_end_matches('/').into()),
        other => other.clone(),
    }
}

fn text(path: &PathMatch) -> &Text {
    let (PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Regex(text)) = path;
    text
}

fn describe(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(text) => format!("path {text:?} (Exact)"),
        PathMatch::Prefix(text) => format!("path {text:?} (Prefix)"),
        PathMatch::Regex(text) => format!("path {text:?} (regular expression)"),
    }
}

fn describe_host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(host) => format!("{host:?}"),
        HostPattern::Wildcard(suffix) => format!("\"*.{suffix}\""),
        HostPattern::Any => "\"\" (every host)".to_owned(),
    }
}
