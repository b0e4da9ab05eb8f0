use super::*;
use crate::lower::Interner;

/// `NAME=VALUE` a line; gives what differs from the default options, or what is wrong.
fn check(annotations: &str, expected: impl FnOnce(&mut RouteOptions), issues: &[&str]) {
    let map = annotations.lines().map(str::trim).filter(|line| !line.is_empty());
    let map = map.map(|line| line.split_once('=').expect("a value")).map(|(name, value)| (format!("{PREFIX}{name}").into(), value.into()));
    let mut texts = Interner::default();
    let mut fields = Fields::new(&mut texts);
    let options = lower(&api::Map(map.collect()), &mut fields);
    let mut wanted = Draft::default().finish();
    expected(&mut wanted);
    assert_eq!(options, wanted, "{annotations}");
    let told: Vec<String> = fields.into_issues().iter().map(|issue| issue.to_string().replace(PREFIX, "")).collect();
    assert_eq!(told, issues, "{annotations}");
}

#[test]
fn the_table_is_sorted_by_name() {
    assert!(TABLE.is_sorted_by_key(|(name, _)| name));
}

#[test]
fn single_values_are_read_as_nginx_reads_them() {
    check("ssl-redirect=false", |it| it.ssl_redirect = Some(false), &[]);
    check("proxy-body-size=8m", |it| it.body_bytes = Some(8 << 20), &[]);
    check("proxy-body-size=0", |it| it.body_bytes = Some(0), &[]);
    check("proxy-read-timeout=3600", |it| it.read_timeout = Some(std::time::Duration::from_secs(3_600)), &[]);
    check("backend-protocol=https", |it| it.protocol = UpstreamProtocol::Https, &[]);
    check("server-alias=B.example, c.example,", |it| it.aliases = vec!["b.example".into(), "c.example".into()], &[]);
    check("proxy-body-size=big", |_| {}, &["metadata.annotations[proxy-body-size]: `big` is no size such as 8m (InvalidValue)"]);
    check("made-up=1", |_| {}, &["metadata.annotations[made-up]: this annotation is not supported and has no effect (Unsupported)"]);
}

#[test]
fn companions_mean_nothing_without_their_main_annotation() {
    check(
        "cors-max-age=1\nsession-cookie-name=A\ncanary-weight=10\npermanent-redirect-code=308\nupstream-hash-by-subset=true",
        |_| {},
        &[],
    );
}

#[test]
fn a_source_range_that_cannot_be_read_lets_nobody_in() {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<Vec<_>>();
    check("whitelist-source-range=10.0.0.0/8, 192.0.2.1", |it| it.sources.allow = Some(nets(&["10.0.0.0/8", "192.0.2.1/32"])), &[]);
    check("denylist-source-range=18.0.0.0/8", |it| it.sources.deny = nets(&["18.0.0.0/8"]), &[]);
    check(
        "allowlist-source-range=office",
        |it| it.sources.allow = Some(Vec::new()),
        &["metadata.annotations[allowlist-source-range]: `office` is no network or address; nobody is let in (InvalidValue)"],
    );
}

#[test]
fn a_guard_that_we_do_not_have_closes_the_route() {
    check(
        "auth-type=basic",
        |it| it.denied = Some("auth-type".into()),
        &["metadata.annotations[auth-type]: this annotation is not supported; the routes answer 503 rather than stand open (Unsupported)"],
    );
    check("auth-tls-secret=a/b\nauth-tls-verify-client=off", |_| {}, &[]);
}

#[test]
fn an_auth_url_that_is_none_closes_the_route() {
    let auth = |url: &str| model::options::ExternalAuth { url: template(url).expect("a template"), ..Draft::default().auth };
    check("auth-url=https://$host/oauth2/auth", |it| it.auth = Some(auth("https://$host/oauth2/auth")), &[]);
    check(
        "auth-url=http://auth:8080/x\nauth-response-headers=X-User, X-Mail\nauth-signin=https://s?rd=$escaped_request_uri",
        |it| {
            it.auth = Some(model::options::ExternalAuth {
                response_headers: vec!["X-User".into(), "X-Mail".into()],
                signin: Some(template("https://s?rd=$escaped_request_uri").expect("a template")),
                ..auth("http://auth:8080/x")
            });
        },
        &[],
    );
    check(
        "auth-url=https://invalid..auth.url",
        |it| it.denied = Some("auth-url".into()),
        &[
            "metadata.annotations[auth-url]: `https://invalid..auth.url` is no URL; the routes answer 503 rather than stand open (InvalidValue)",
        ],
    );
}

#[test]
fn a_temporal_redirect_comes_before_a_permanent_one() {
    let to = |text, code| Some(model::options::Redirect { to: template(text).expect("a template"), code });
    check("permanent-redirect=https://a$request_uri", |it| it.redirect = to("https://a$request_uri", 301), &[]);
    check(
        "permanent-redirect=https://a\ntemporal-redirect=https://b\ntemporal-redirect-code=307",
        |it| it.redirect = to("https://b", 307),
        &[],
    );
    check(
        "permanent-redirect=https://a\npermanent-redirect-code=200",
        |it| it.redirect = to("https://a", 301),
        &["metadata.annotations[permanent-redirect-code]: `200` is no code from 300 to 308 (InvalidValue)"],
    );
}

#[test]
fn origins_without_a_scheme_are_left_out() {
    use model::options::CorsOrigins;
    let with = |origins| move |it: &mut RouteOptions| it.cors = Some(model::options::Cors { origins, ..Draft::default().cors });
    check("enable-cors=true", with(CorsOrigins::Any), &[]);
    check("enable-cors=true\ncors-allow-origin=  , ", with(CorsOrigins::Any), &[]);
    check(
        "enable-cors=true\ncors-allow-origin=https://*.a.example:8080",
        with(CorsOrigins::Of(vec!["https://*.a.example:8080".into()])),
        &[],
    );
    check(
        "enable-cors=true\ncors-allow-origin=a.example:8080, https://b.example",
        with(CorsOrigins::Of(vec!["https://b.example".into()])),
        &["metadata.annotations[cors-allow-origin]: a.example:8080 is left out: not `scheme://host[:port]` (InvalidValue)"],
    );
}

#[test]
fn a_canary_header_has_a_value_before_a_pattern() {
    use model::options::{Canary, CanaryHeader};
    let header = |value| Some(CanaryHeader { name: "X-Canary".into(), value });
    let with = |header| move |it: &mut RouteOptions| it.canary = Some(Canary { header, weight_total: 100, ..Canary::default() });
    check("canary=true\ncanary-by-header=X-Canary", with(header(CanaryValue::AlwaysOrNever)), &[]);
    check(
        "canary=true\ncanary-by-header=X-Canary\ncanary-by-header-value=v\ncanary-by-header-pattern=p",
        with(header(CanaryValue::Exact("v".into()))),
        &[],
    );
    check("canary=true\ncanary-by-header=X-Canary\ncanary-by-header-pattern=p", with(header(CanaryValue::Regex("p".into()))), &[]);
}
