use std::sync::Arc;

use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use model::facts::BackendPort;
use model::facts::PathMatch;
use model::options::RouteOptions;
use model::route::{Action, Host, HostPattern, Origin, Route, UpstreamKey, ValueMatch, ValuePattern, WeightedBackend};
use model::{ObjectKind, ObjectRef, ServiceName, Text};

use super::{Asked, Table, VirtualHost, path};
use crate::tls::certificate;
use crate::upstream::Upstream;

/// `rules`: `HOST KIND PATH [METHOD] [NAME=VALUE] [?NAME=VALUE] -> SERVICE`, a line each, in the order in which they are to be tried;
/// KIND is exact, prefix, regex or default. Each request, `HOST PATH [METHOD] [NAME=VALUE]`, gives the Service or 404.
fn check(rules: &str, requests: &[(&str, &str)]) {
    let table = table(rules);
    for (request, expected) in requests {
        assert_eq!(ask(&table, request), *expected, "{request}");
    }
}

fn ask(table: &Table, request: &str) -> String {
    let mut words = request.split_whitespace();
    let host = words.next().expect("a host");
    let (target, query) = words.next().map(|target| target.split_once('?').unwrap_or((target, ""))).expect("a path");
    let mut headers = HeaderMap::new();
    let mut method = "GET";
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => {
                headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::from_str(value).expect("a value"));
            }
            None => method = word,
        }
    }
    let path = path::normalise(target).expect("a path");
    let asked = Asked { path: &path, method, headers: &headers, query };
    let found = table.host(host).and_then(|host| host.route(&asked));
    found.map_or("404".to_owned(), |route| route.labels.of.service.to_string())
}

fn table(rules: &str) -> Table {
    let mut hosts: Vec<(&str, Host)> = Vec::new();
    for line in rules.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (rule, service) = line.split_once(" -> ").expect("->");
        let mut words = rule.split_whitespace();
        let host = words.next().expect("a host");
        let kind = words.next().expect("a kind");
        let path: Text = words.next().unwrap_or("/").into();
        let at = hosts.iter().position(|(name, _)| *name == host).unwrap_or_else(|| {
            hosts.push((host, Host::default()));
            hosts.len() - 1
        });
        let path = match kind {
            "exact" => PathMatch::Exact(path),
            "regex" => PathMatch::Regex(path),
            _ => PathMatch::Prefix(path),
        };
        let mut route = route(path, service);
        for word in words {
            let exact = |pair: (&str, &str)| ValueMatch { name: pair.0.into(), value: ValuePattern::Exact(pair.1.into()) };
            match (word.strip_prefix('?').and_then(|pair| pair.split_once('=')), word.split_once('=')) {
                (Some(pair), _) => route.query.push(exact(pair)),
                (None, Some(pair)) => route.headers.push(exact(pair)),
                (None, None) => route.method = Some(word.into()),
            }
        }
        match kind {
            "default" => hosts[at].1.default_backend = Some(Arc::new(route)),
            _ => hosts[at].1.routes.push(route),
        }
    }
    let mut table = Table::new(certificate::make_own().expect("a certificate"));
    for (name, host) in &hosts {
        let pattern = match name.strip_prefix("*.") {
            Some(suffix) => HostPattern::Wildcard(suffix.into()),
            None if *name == "*" => HostPattern::Any,
            None => HostPattern::Exact((*name).into()),
        };
        let absent = || Arc::new(Upstream::new(Arc::new(model::route::Upstream::Absent)));
        table.put(&pattern, Some(Arc::new(VirtualHost::compile(&pattern, host, Vec::new(), &mut |_| absent()))));
    }
    table
}

fn route(path: PathMatch, service: &str) -> Route {
    let upstream = UpstreamKey { service: ServiceName::new("default", service), port: BackendPort::Number(80) };
    Route {
        path,
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
        options: Arc::new(RouteOptions::default()),
        action: Action::Forward(vec![WeightedBackend { upstream, weight: 1 }]),
        canary: None,
        origin: Origin {
            object: ObjectRef { kind: ObjectKind::Ingress, namespace: "default".into(), name: "a".into() },
            field: "spec".into(),
        },
    }
}

#[test]
fn an_exact_path_is_equal_byte_for_byte() {
    check("a exact /foo -> foo", &[("a /foo", "foo"), ("a /foo/", "404"), ("a /FOO", "404"), ("a /foo/bar", "404"), ("a /", "404")]);
}

/// The table in the Ingress API's reference.
#[test]
fn a_prefix_fits_element_by_element() {
    check("a prefix / -> all", &[("a /", "all"), ("a /any/thing", "all")]);
    check(
        "a prefix /foo -> foo",
        &[("a /foo", "foo"), ("a /foo/", "foo"), ("a /foo/bar", "foo"), ("a /foobar", "404"), ("a /", "404"), ("a /FOO", "404")],
    );
    check("a prefix /foo/ -> foo", &[("a /foo", "foo"), ("a /foo/", "foo"), ("a /foobar", "404")]);
    check("a prefix /aaa/bb -> bb", &[("a /aaa/bbb", "404"), ("a /aaa/bb/b", "bb")]);
    check("a prefix /aaa/bbb/ -> bbb", &[("a /aaa/bbb", "bbb"), ("a /aaa/bbb/ccc", "bbb"), ("a /aaa/bbbxyz", "404")]);
}

#[test]
fn the_first_route_in_order_that_fits_wins() {
    check(
        "a exact /foo -> exact
         a prefix /foo/bar -> long
         a prefix /foo -> foo
         a prefix / -> all",
        &[("a /foo", "exact"), ("a /foo/", "foo"), ("a /foo/bar/x", "long"), ("a /foo/barx", "foo"), ("a /x", "all")],
    );
    check("a prefix / -> all\na exact /foo -> exact\na prefix /foo -> foo", &[("a /foo", "all"), ("a /foo/x", "all")]);
    check("a regex /f[a-z]+ -> regex\na exact /foo -> exact", &[("a /foo", "regex"), ("a /FOOL", "regex"), ("a /f1", "404")]);
    check("a exact /foo -> exact\na regex /f -> regex", &[("a /foo", "exact"), ("a /fo", "regex")]);
}

#[test]
fn method_headers_and_query_are_asked_as_well() {
    check(
        "a prefix / POST -> post
         a prefix / x-beta=1 ?v=2 -> both
         a prefix / x-beta=1 -> beta
         a prefix / -> all",
        &[("a / POST", "post"), ("a /", "all"), ("a / x-beta=1", "beta"), ("a /?v=2 x-beta=1", "both"), ("a /?v=1&v=2 x-beta=1", "beta")],
    );
}

#[test]
fn hosts_are_chosen_before_paths_and_never_fall_through() {
    check(
        "bar.foo.com prefix /own -> own
         *.foo.com prefix / -> wild
         * prefix / -> any",
        &[
            ("bar.foo.com /own", "own"),
            ("bar.foo.com /other", "404"),
            ("x.foo.com /", "wild"),
            ("y.x.foo.com /", "any"),
            ("foo.com /", "any"),
            (".foo.com /", "any"),
            ("elsewhere /", "any"),
        ],
    );
}

#[test]
fn what_no_path_fits_goes_to_the_default_backend_of_its_host() {
    check("a prefix /foo -> foo\na default -> mine\n* default -> all", &[("a /foo", "foo"), ("a /x", "mine"), ("b /x", "all")]);
}

#[test]
fn rules_see_the_path_decoded_and_resolved() {
    check(
        "a prefix /admin -> admin\na prefix / -> all",
        &[("a /x/../admin", "admin"), ("a //admin/", "admin"), ("a /%61dmin", "admin"), ("a /x/%2e%2e/admin/y", "admin")],
    );
}

#[test]
fn a_regular_expression_that_does_not_compile_harms_no_other_route() {
    check("a regex /( -> broken\na regex /ok -> ok", &[("a /ok", "ok"), ("a /(", "404")]);
}
