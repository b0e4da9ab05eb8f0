//! What the options of a route do to its requests.

use model::options::RouteOptions;
use model::options::{
    Canary, CanaryHeader, CanaryValue, Cors, CorsOrigins, ExternalAuth, HashBy, RateLimits, Redirect, SessionCookie, SourceRanges,
    Template, UpstreamProtocol,
};

use crate::world::{Backend, Rule, World, dead_endpoint, get, status};

/// One rule `/` of host `a` with these options, three backends behind it.
fn with(options: RouteOptions) -> (World, [Backend; 3]) {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let world =
        World::start(&[Rule::prefix("a", "/", "web").with(options)], &[("web", &backends.each_ref().map(|backend| backend.address))]);
    (world, backends)
}

fn location(answer: &str) -> &str {
    field(answer, "Location").unwrap_or("none")
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn template(text: &str) -> Template {
    Template::parse(text).expect("known variables")
}

#[test]
fn redirects_are_answered_by_the_proxy() {
    let to = |text, code| RouteOptions { redirect: Some(Redirect { to: template(text), code }), ..RouteOptions::default() };
    let rows = [
        (to("https://new.example$request_uri", 301), 301, "https://new.example/x?y=z"),
        (to("/elsewhere", 307), 307, "http://a:8080/elsewhere"),
        (RouteOptions { relative_redirects: true, ..to("/elsewhere", 302) }, 302, "/elsewhere"),
    ];
    for (options, code, expected) in rows {
        let (world, _) = with(options);
        let answer = world.ask(&get("a:8080", "/x?y=z"));
        assert_eq!((status(&answer), location(&answer)), (code, expected));
    }
}

#[test]
fn app_root_is_for_the_root_alone() {
    let (world, _) = with(RouteOptions { app_root: Some("/app".into()), ..RouteOptions::default() });
    let answer = world.ask(&get("a", "/"));
    assert_eq!((status(&answer), location(&answer)), (302, "http://a/app"));
    assert_eq!(status(&world.ask(&get("a", "/other"))), 200);
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_and_others_go_on() {
    let cors = Cors {
        origins: CorsOrigins::Of(vec!["https://*.b.example".into()]),
        methods: "GET, PUT".into(),
        headers: "DNT".into(),
        expose_headers: None,
        credentials: true,
        max_age_secs: 60,
    };
    let (world, _) = with(RouteOptions { cors: Some(cors), ..RouteOptions::default() });
    let from =
        |method: &str, origin: &str| world.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"));
    let answer = from("OPTIONS", "https://x.b.example");
    assert_eq!(status(&answer), 204);
    assert_eq!(field(&answer, "Access-Control-Allow-Origin"), Some("https://x.b.example"));
    assert_eq!(field(&answer, "Access-Control-Allow-Methods"), Some("GET, PUT"));
    assert_eq!(field(&answer, "Access-Control-Max-Age"), Some("60"));
    let answer = from("GET", "https://x.b.example");
    assert_eq!((status(&answer), field(&answer, "Access-Control-Allow-Credentials")), (200, Some("true")));
    let answer = from("OPTIONS", "https://c.example");
    assert_eq!((status(&answer), field(&answer, "Access-Control-Allow-Origin")), (200, None));
}

#[test]
fn source_ranges_keep_others_out() {
    let ranges = |allow: Option<&str>, deny: Option<&str>| SourceRanges {
        allow: allow.map(|net| vec![net.parse().expect("a range")]),
        deny: deny.map(|net| net.parse().expect("a range")).into_iter().collect(),
    };
    for (sources, expected) in [
        (ranges(Some("127.0.0.0/8"), None), 200),
        (ranges(Some("192.0.2.0/24"), None), 403),
        (ranges(Some("127.0.0.0/8"), Some("127.0.0.1/32")), 403),
    ] {
        let (world, _) = with(RouteOptions { sources, ..RouteOptions::default() });
        assert_eq!(status(&world.ask(&get("a", "/"))), expected);
    }
}

#[test]
fn a_rate_is_kept_per_client() {
    let limits = RateLimits { per_minute: Some(2), burst_multiplier: 1, ..RateLimits::default() };
    let (world, _) = with(RouteOptions { limits, ..RouteOptions::default() });
    let answers: Vec<_> = (0..5).map(|_| status(&world.ask(&get("a", "/")))).collect();
    assert_eq!(answers, [200, 200, 200, 503, 503]);
}

#[test]
fn requests_at_once_are_limited_until_one_is_done() {
    let limits = RateLimits { connections: Some(1), ..RateLimits::default() };
    let web = Backend::start();
    let rule = Rule::prefix("a", "/", "web").with(RouteOptions { limits, ..RouteOptions::default() });
    let world = World::start(&[rule], &[("web", &[web.address])]);
    let hold = web.hold();
    let mut first = world.connect();
    first.write(&get("a", "/"));
    hold.wait_for_request();
    assert_eq!(status(&world.ask(&get("a", "/"))), 503);
    hold.release();
    assert_eq!(status(&first.read_to_end()), 200);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200);
}

#[test]
fn a_session_cookie_leads_back_to_its_endpoint() {
    let (mut world, backends) = with(RouteOptions { affinity: Some(cookie("SID")), ..RouteOptions::default() });
    let answer = world.ask(&get("a", "/"));
    let set = field(&answer, "Set-Cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("SID=") && set.ends_with("; Path=/; HttpOnly"), "{set}");
    let (cookie, _) = set.split_once(';').expect("attributes");
    let again = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=y; {cookie}\r\nConnection: close\r\n\r\n");
    for _ in 0..5 {
        let answer = world.ask(&again);
        assert_eq!((status(&answer), field(&answer, "Set-Cookie")), (200, None));
    }
    let mut counts = backends.each_ref().map(Backend::n_requests);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 6]);
    // Its endpoint goes: the client is led elsewhere, with a new cookie.
    let others: Vec<_> = backends.iter().filter(|backend| backend.n_requests() == 0).map(|backend| backend.address).collect();
    world.endpoints("web", &others);
    let answer = world.ask(&again);
    assert_eq!(status(&answer), 200);
    assert!(field(&answer, "Set-Cookie").is_some_and(|set| !set.starts_with(cookie)), "{answer}");
}

fn cookie(name: &str) -> SessionCookie {
    SessionCookie { name: name.into(), ..SessionCookie::default() }
}

#[test]
fn a_canary_keeps_the_sessions_that_began_there() {
    let terms = |legacy_affinity| Canary {
        header: Some(CanaryHeader { name: "X-Force".into(), value: CanaryValue::Exact("yes".into()) }),
        legacy_affinity,
        ..Canary::default()
    };
    for legacy in [false, true] {
        let (old, new) = (Backend::start(), Backend::start());
        let options = RouteOptions { affinity: Some(cookie("SID")), ..RouteOptions::default() };
        let rule = Rule::prefix("a", "/", "old").with(options).canary("new", terms(legacy));
        let world = World::start(&[rule], &[("old", &[old.address]), ("new", &[new.address])]);
        let answer = world.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Force: yes\r\nConnection: close\r\n\r\n");
        assert_eq!((status(&answer), new.n_requests()), (200, 1));
        let set = field(&answer, "Set-Cookie").and_then(|set| set.split(';').next()).unwrap_or("");
        assert_eq!(set.is_empty(), legacy, "{answer}");
        assert_eq!(status(&world.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {set}\r\nConnection: close\r\n\r\n"))), 200);
        assert_eq!((old.n_requests(), new.n_requests()), if legacy { (1, 1) } else { (0, 2) });
    }
}

#[test]
fn a_host_answers_to_its_other_names_unless_they_are_hosts() {
    let options = RouteOptions { aliases: vec!["b".into(), "c".into()], from_to_www: true, ..RouteOptions::default() };
    let (web, own) = (Backend::start(), Backend::start());
    let rules = [Rule::prefix("a", "/", "web").with(options), Rule::prefix("c", "/", "own")];
    let mut world = World::start(&rules, &[("web", &[web.address]), ("own", &[own.address])]);
    assert_eq!(status(&world.ask(&get("b", "/"))), 200);
    assert_eq!(status(&world.ask(&get("c", "/"))), 200);
    assert_eq!((web.n_requests(), own.n_requests()), (1, 1));
    let answer = world.ask(&get("www.a", "/x?y"));
    assert_eq!((status(&answer), location(&answer)), (308, &*format!("http://a:{}/x?y", world.http.port())));
    world.host("a", &[]);
    assert_eq!(status(&world.ask(&get("b", "/"))), 404);
    assert_eq!(status(&world.ask(&get("www.a", "/"))), 404);
}

#[test]
fn requests_of_one_hash_go_to_one_endpoint() {
    let hash_by = HashBy { key: template("$http_x_user"), subset: None };
    let (world, backends) = with(RouteOptions { hash_by: Some(hash_by), ..RouteOptions::default() });
    for _ in 0..6 {
        world.ask("GET / HTTP/1.1\r\nHost: a\r\nX-User: me\r\nConnection: close\r\n\r\n");
    }
    let mut counts = backends.each_ref().map(Backend::n_requests);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 6]);
}

#[test]
fn a_body_limit_of_the_route_stands_in_place_of_the_common_one() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";
    for (limit, expected) in [(9, 413), (10, 200), (0, 200)] {
        let (world, _) = with(RouteOptions { body_bytes: Some(limit), ..RouteOptions::default() });
        assert_eq!(status(&world.ask(post)), expected, "{limit}");
    }
}

#[test]
fn the_upstream_sees_the_host_prefix_and_connection_that_are_asked_for() {
    let options = RouteOptions {
        upstream_host: Some(template("$http_x_tenant.internal")),
        forwarded_prefix: Some("/prefix".into()),
        connection: Some("keep-alive".into()),
        rewrite_target: Some("/new".into()),
        ..RouteOptions::default()
    };
    let web = Backend::start();
    let world = World::start(&[Rule::regex("a", "/old", "web").with(options)], &[("web", &[web.address])]);
    let answer = world.ask("GET /old HTTP/1.1\r\nHost: a\r\nX-Tenant: t1\r\nConnection: close\r\n\r\n");
    for line in [
        "GET /new HTTP/1.1\r\n",
        "\r\nHost: t1.internal\r\n",
        "\r\nX-Forwarded-Host: a\r\n",
        "\r\nX-Forwarded-Prefix: /prefix\r\n",
        "\r\nConnection: keep-alive\r\n",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
}

#[test]
fn a_backend_may_speak_tls() {
    let web = Backend::start_tls();
    let options = RouteOptions { protocol: UpstreamProtocol::Https, ..RouteOptions::default() };
    let world = World::start(&[Rule::prefix("a", "/", "web").with(options)], &[("web", &[web.address])]);
    for _ in 0..2 {
        assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    }
    assert_eq!(web.n_connections(), 1);
}

fn guarded_by(url: &str, signin: Option<&str>) -> RouteOptions {
    let auth = ExternalAuth {
        url: template(url),
        method: None,
        signin: signin.map(template),
        redirect_param: "rd".into(),
        response_headers: vec!["X-User".into(), "X-Group".into(), "X-Asked".into()],
        request_redirect: None,
    };
    RouteOptions { auth: Some(auth), ..RouteOptions::default() }
}

#[test]
fn what_the_auth_server_lets_pass_goes_on_with_its_headers() {
    let auth = Backend::saying("HTTP/1.1 200 OK\r\nX-User: alice\r\nSet-Cookie: s=1");
    let (world, _) = with(guarded_by(&format!("http://{}/check", auth.address), None));
    for _ in 0..2 {
        let answer = world.ask(
            "POST /x?y HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\nX-User: mallory\r\nX-Group: root\r\nContent-Length: 4\r\n\
             Connection: close\r\n\r\nbody",
        );
        assert_eq!((status(&answer), field(&answer, "Set-Cookie")), (200, Some("s=1")), "{answer}");
        let asked = answer.lines().find_map(|line| line.strip_prefix("X-Asked: ")).expect("what the server was asked");
        let sent = answer.replace(asked, "");
        assert!(sent.contains("\r\nX-User: alice\r\n") && !sent.contains("mallory") && !sent.contains("root"), "{sent}");
        for part in [
            "GET /check HTTP/1.1|",
            "|Cookie: c=1|",
            "|X-Original-Url: http://a/x?y|",
            "|X-Original-Method: POST|",
            "|X-Auth-Request-Redirect: /x?y",
        ] {
            assert!(asked.contains(part), "{part:?} in {asked}");
        }
        assert!(!asked.contains("Content-Length"), "{asked}");
    }
    assert_eq!((auth.n_requests(), auth.n_connections()), (2, 1));
}

#[test]
fn what_the_auth_server_refuses_does_not_pass() {
    let refuses = Backend::saying("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic");
    let forbids = Backend::saying("HTTP/1.1 403 Forbidden");
    let fails = Backend::saying("HTTP/1.1 502 Bad Gateway");
    let url = |backend: &Backend| format!("http://{}/", backend.address);
    let rows = [
        (guarded_by(&url(&refuses), None), 401, "none"),
        (guarded_by(&url(&refuses), Some("http://$host/start")), 302, "http://a/start?rd=http://a%2Fx%3Fa%3Db%26c%3Dd"),
        (guarded_by(&url(&refuses), Some("http://s/?rd=/home")), 302, "http://s/?rd=/home"),
        (guarded_by(&url(&forbids), Some("http://s/")), 403, "none"),
        (guarded_by(&url(&fails), None), 500, "none"),
        (guarded_by(&format!("http://{}/", dead_endpoint()), None), 500, "none"),
        (guarded_by("ftp://a/", None), 500, "none"),
        (RouteOptions { denied: Some("auth-type".into()), ..RouteOptions::default() }, 503, "none"),
    ];
    for (options, code, place) in rows {
        let (world, backends) = with(options);
        let answer = world.ask(&get("a", "/x?a=b&c=d"));
        assert_eq!((status(&answer), location(&answer)), (code, place), "{answer}");
        assert_eq!(backends.each_ref().map(Backend::n_requests), [0, 0, 0]);
    }
    let (world, _) = with(guarded_by(&url(&refuses), None));
    assert_eq!(field(&world.ask(&get("a", "/")), "Www-Authenticate"), Some("Basic"));
    assert_eq!(status(&world.ask(&get("a", "/.well-known/acme-challenge/t"))), 200, "cert-manager has no credentials");
}
