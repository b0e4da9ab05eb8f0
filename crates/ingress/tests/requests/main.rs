//! Requests as bytes on a socket, through a running ingress, to backends that answer with what they received.

mod options;
mod world;

use model::options::RouteOptions;
use world::{Backend, Rule, World, dead_endpoint, get, status};

#[test]
fn a_request_reaches_its_backend_and_the_answer_comes_back() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a.example", "/", "web")], &[("web", &[web.address])]);
    let answer = world.ask("GET /x/../y?q=%20 HTTP/1.1\r\nHost: A.example:8080\r\nUser-Agent: t\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
    for line in [
        "GET /x/../y?q=%20 HTTP/1.1\r\n",
        "\r\nHost: A.example:8080\r\n",
        "\r\nUser-Agent: t\r\n",
        "\r\nX-Real-Ip: 127.0.0.1\r\n",
        "\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "\r\nX-Forwarded-Host: A.example:8080\r\n",
        "\r\nX-Forwarded-Proto: http\r\n",
        "\r\nX-Forwarded-Scheme: http\r\n",
        "\r\nX-Scheme: http\r\n",
        "\r\nX-Request-Id: ",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
    assert!(answer.contains(&format!("\r\nX-Forwarded-Port: {}\r\n", world.http.port())), "{answer}");
}

#[test]
fn what_a_client_claims_about_itself_is_not_believed() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let answer = world.ask(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\nProxy: evil\r\n\
         X_Forwarded_For: 7.7.7.7\r\nX-Request-ID: mine\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n",
    );
    assert_eq!(status(&answer), 200, "{answer}");
    for line in [
        "\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "\r\nX-Forwarded-Proto: http\r\n",
        "\r\nX-Real-Ip: 127.0.0.1\r\n",
        "\r\nX-Request-Id: mine\r\n",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
    for word in ["evil", "7.7.7.7", "6.6.6.6", "X-Hop", "Keep-Alive", "Te:"] {
        assert!(!answer.contains(word), "{word:?} in {answer}");
    }
}

#[test]
fn unknown_hosts_and_paths_get_the_default_page() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/foo", "web")], &[("web", &[web.address])]);
    for request in [get("b", "/foo"), get("a", "/bar")] {
        let answer = world.ask(&request);
        assert_eq!(status(&answer), 404);
        assert!(answer.ends_with("\r\n\r\ndefault backend - 404"), "{answer}");
    }
}

#[test]
fn no_ready_endpoint_is_503_and_a_dead_one_502() {
    let rules = [Rule::prefix("none", "/", "none"), Rule::prefix("dead", "/", "dead"), Rule::prefix("absent", "/", "absent")];
    let world = World::start(&rules, &[("none", &[]), ("dead", &[dead_endpoint()])]);
    assert_eq!(status(&world.ask(&get("none", "/"))), 503);
    assert_eq!(status(&world.ask(&get("absent", "/"))), 503);
    assert_eq!(status(&world.ask(&get("dead", "/"))), 502);
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over_whatever_the_method() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[dead_endpoint(), web.address])]);
    for _ in 0..4 {
        let answer = world.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.ends_with("body"), "{answer}");
    }
}

#[test]
fn requests_go_round_the_endpoints() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &backends.each_ref().map(|backend| backend.address))]);
    for _ in 0..6 {
        assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    }
    assert_eq!(backends.each_ref().map(Backend::n_requests), [2, 2, 2]);
}

#[test]
fn upstream_connections_are_kept_and_a_stale_one_costs_no_request() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    for _ in 0..3 {
        assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    }
    assert_eq!(web.n_connections(), 1, "one thread, one connection");
    web.close_after_next_request();
    assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200, "the connection that the backend closed is not used again");
    // Takes the request and closes without a word, as a backend does whose idle time ends at that moment.
    web.close_on_next_request();
    assert_eq!(status(&world.ask(&get("a", "/"))), 200, "sent again: GET is idempotent");
    web.close_on_next_request();
    let answer = world.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
    assert_eq!(status(&answer), 502, "a POST that was sent is never sent twice");
}

#[test]
fn a_changed_endpoint_is_used_for_the_next_request() {
    let (old, new) = (Backend::start(), Backend::start());
    let mut world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[old.address])]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    world.endpoints("web", &[new.address]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    assert_eq!((old.n_requests(), new.n_requests()), (1, 1));
    world.endpoints("web", &[]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 503);
}

#[test]
fn hosts_come_and_go() {
    let web = Backend::start();
    let mut world = World::start(&[], &[("web", &[web.address])]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 404);
    world.host("a", &[Rule::prefix("a", "/", "web")]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200);
    world.host("a", &[]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 404);
}

#[test]
fn rewrite_target_makes_a_new_path_and_keeps_the_query() {
    let web = Backend::start();
    let options = RouteOptions { rewrite_target: Some("/$2".into()), ..RouteOptions::default() };
    let rule = Rule::regex("a", "/something(/|$)(.*)", "web").with(options);
    let world = World::start(&[rule], &[("web", &[web.address])]);
    let answer = world.ask(&get("a", "/something/new%20x?y=z"));
    assert!(answer.contains("GET /new%20x?y=z HTTP/1.1\r\n"), "{answer}");
}

#[test]
fn plain_http_is_sent_to_https_where_the_host_has_tls() {
    let web = Backend::start();
    let off = RouteOptions { ssl_redirect: Some(false), ..RouteOptions::default() };
    let rules = [Rule::prefix("a", "/", "web").tls(), Rule::prefix("b", "/", "web").tls().with(off)];
    let world = World::start(&rules, &[("web", &[web.address])]);
    let answer = world.ask(&get("a:80", "/foo?x=1"));
    assert_eq!(status(&answer), 308);
    assert!(answer.contains("\r\nLocation: https://a/foo?x=1\r\n"), "{answer}");
    assert_eq!(status(&world.ask(&get("a", "/.well-known/acme-challenge/token"))), 200, "cert-manager needs plain HTTP");
    assert_eq!(status(&world.ask(&get("b", "/"))), 200);
}

#[test]
fn a_body_beyond_the_limit_is_413_however_it_is_framed() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let announced = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 1024 * 1024 + 1);
    assert_eq!(status(&world.ask(&announced)), 413);
    let chunk = format!("80000\r\n{}\r\n", "x".repeat(0x80000));
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(status(&world.ask(&chunked)), 413);
    let fits = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(status(&world.ask(&fits)), 200);
}

/// One row per way to have a request read differently by two servers (RFC 9112 11.2), or that is none.
#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let rows = [
        ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody"),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nbody"),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody"),
        ("an unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
        ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a blank before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a path above the root", "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a broken escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no request", "hello\r\n\r\n"),
    ];
    for (what, request) in rows {
        assert_eq!(status(&world.ask(request)), 400, "{what}");
    }
    assert_eq!(status(&world.ask("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")), 405);
    assert_eq!(status(&world.ask("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")), 405);
    assert_eq!(web.n_requests(), 0, "none of them reached the backend");
}

/// RFC 9112 6.3: Transfer-Encoding overrides; what goes on is framed anew, so the backend never sees both.
#[test]
fn a_length_beside_chunked_is_dropped() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    for lines in ["Content-Length: 30\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 30"] {
        let answer =
            world.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET /smuggled"));
        assert!(!answer.contains("Content-Length: 30") && !answer.contains("smuggled"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let long = "x".repeat(40 * 1024);
    assert_eq!(status(&world.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"))), 431);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(status(&world.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"))), 431);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let mut client = world.connect();
    client.write("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let head = client.read_until("\r\n\r\n");
    assert_eq!(status(&head), 101, "{head}");
    assert!(head.contains("Upgrade: websocket\r\n") && head.to_ascii_lowercase().contains("connection: upgrade\r\n"), "{head}");
    client.write("ping");
    assert_eq!(client.read_until("ping"), "ping");
}

#[test]
fn the_certificate_follows_the_name_and_its_rotation() {
    let web = Backend::start();
    let mut world = World::start(
        &[Rule::prefix("a.example", "/", "web").secret("a"), Rule::prefix("*.w.example", "/", "web").secret("w")],
        &[("web", &[web.address])],
    );
    let fake = "Kubernetes Ingress Controller Fake Certificate";
    assert_eq!(world.certificate("a.example"), fake, "the Secret is not there yet");
    world.secret("a", Some(world::certificate("first", &["a.example"])));
    world.secret("w", Some(world::certificate("wild", &["*.w.example"])));
    assert_eq!(world.certificate("a.example"), "first");
    assert_eq!(world.certificate("x.w.example"), "wild");
    assert_eq!(world.certificate("y.x.w.example"), fake);
    assert_eq!(world.certificate("other.example"), fake);

    let mut before = world.connect_tls("a.example");
    world.secret("a", Some(world::certificate("second", &["a.example"])));
    assert_eq!(world.certificate("a.example"), "second");
    let answer = before.ask(&get("a.example", "/"));
    assert_eq!(status(&answer), 200, "the connection of the old certificate lives on");
    assert!(answer.contains("X-Forwarded-Proto: https\r\n"), "{answer}");
}

#[test]
fn a_certificate_that_is_none_is_told_and_harms_nobody() {
    let web = Backend::start();
    let mut world = World::start(&[Rule::prefix("a.example", "/", "web").secret("a")], &[("web", &[web.address])]);
    let fake = "Kubernetes Ingress Controller Fake Certificate";
    world.secret("a", Some(vec![("tls.crt", b"rubbish".to_vec()), ("tls.key", b"rubbish".to_vec())]));
    assert_eq!(world.certificate("a.example"), fake);
    assert_eq!(
        world.report(),
        "Secret default/a: data[tls.crt]: tls.crt holds no PEM certificate: no CERTIFICATE section; the default certificate serves (InvalidValue)"
    );
    world.secret("a", Some(world::certificate("b", &["b.example"])));
    assert_eq!(world.certificate("a.example"), fake);
    assert_eq!(
        world.report(),
        "Secret default/a: data[tls.crt]: covers b.example and not a.example; the default certificate serves (InvalidValue)"
    );
    world.secret("a", Some(world::certificate("a", &["a.example"])));
    assert_eq!(world.report(), "Secret default/a: well");
    assert_eq!(world.certificate("a.example"), "a");
}

#[test]
fn draining_finishes_what_is_in_flight_and_lets_nobody_in() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    let mut idle = world.connect();
    idle.write(&get("a", "/").replace("Connection: close", "Connection: keep-alive"));
    assert_eq!(status(&idle.read_answer()), 200);
    let hold = web.hold();
    let mut busy = world.connect();
    busy.write(&get("a", "/").replace("Connection: close", "Connection: keep-alive"));
    hold.wait_for_request();
    let (address, ended) = world.drain();
    assert_eq!(idle.read_to_end(), "", "an idle connection ends");
    assert!(world::is_refused(address), "the listener is closed");
    hold.release();
    let answer = busy.read_to_end();
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    ended.recv_timeout(world::PATIENCE).expect("drained once the last answer is out");
}

#[test]
fn a_connection_that_draining_overtakes_still_gets_its_first_request_answered() {
    let web = Backend::start();
    let world = World::start(&[Rule::prefix("a", "/", "web")], &[("web", &[web.address])]);
    assert_eq!(status(&world.ask(&get("a", "/"))), 200, "it serves");
    let mut new = world.connect();
    let (address, ended) = world.drain();
    assert!(world::is_refused(address), "draining has begun");
    new.write(&get("a", "/").replace("Connection: close", "Connection: keep-alive"));
    let answer = new.read_to_end();
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    ended.recv_timeout(world::PATIENCE).expect("drained once the answer is out");
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = world::start_on(taken.local_addr().unwrap()).unwrap_err();
    let ours = format!("cannot listen on tcp {}: process {} (", taken.local_addr().unwrap(), std::process::id());
    assert!(error.starts_with(&ours) && error.ends_with(") has it (--http-port)"), "{error}");
}
