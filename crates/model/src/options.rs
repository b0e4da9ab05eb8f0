//! Options: what annotations (or Gateway filters) ask for on one route, typed.
//!
//! Owns the vocabulary between those who lower annotations and `ingress`, who acts on them. Everything is checked by the time it is
//! here: no text of a user is ever read as configuration again. The default of each asks for nothing.

use std::time::Duration;

use ipnet::IpNet;

use crate::names::Text;

/// What annotations (or filters) ask for on one route. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteOptions {
    /// `rewrite-target`: put in place of what the path matched; `$1` to `$9` are groups of a regular expression.
    pub rewrite_target: Option<Text>,
    /// `use-regex`: every path of the host becomes a regular expression (ingress-nginx).
    pub use_regex: bool,
    /// `ssl-redirect`; unset means yes where the host has a certificate.
    pub ssl_redirect: Option<bool>,
    /// `force-ssl-redirect`: also where it has none.
    pub force_ssl_redirect: bool,
    /// What guards the route cannot be done as it was asked for: it answers 503 rather than stand open. Says why.
    pub denied: Option<Text>,
    /// `preserve-trailing-slash`: keep it when redirecting to HTTPS.
    pub preserve_trailing_slash: bool,
    /// `app-root`: where `/` of the host is redirected to.
    pub app_root: Option<Text>,
    pub redirect: Option<Redirect>,
    /// `relative-redirects`: a redirect to a path stays one, and is not completed with scheme and host.
    pub relative_redirects: bool,
    pub sources: SourceRanges,
    pub cors: Option<Cors>,
    pub auth: Option<ExternalAuth>,
    /// `proxy-body-size`; 0: no limit. Unset: as configured for all.
    pub body_bytes: Option<u64>,
    /// `proxy-connect-timeout`, `proxy-read-timeout`; unset: as configured for all.
    pub connect_timeout: Option<Duration>,
    pub read_timeout: Option<Duration>,
    pub protocol: UpstreamProtocol,
    /// `upstream-vhost`: the Host that the upstream sees.
    pub upstream_host: Option<Template>,
    /// `x-forwarded-prefix`; only where the path is rewritten.
    pub forwarded_prefix: Option<Text>,
    /// `connection-proxy-header`: the upstream's Connection field.
    pub connection: Option<Text>,
    pub affinity: Option<SessionCookie>,
    pub hash_by: Option<HashBy>,
    pub limits: RateLimits,
    /// The Ingress is a canary: it has no routes of its own.
    pub canary: Option<Canary>,
    /// `server-alias`, lower case. For the whole host, as is the next.
    pub aliases: Vec<Text>,
    /// `from-to-www-redirect`.
    pub from_to_www: bool,
}

/// A text of the user with nginx's variables taken apart: `https://new.example$request_uri`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pub parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    Text(Text),
    Variable(Variable),
}

/// The variables of nginx that people use in annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$host`: lower case, without the port.
    Host,
    /// `$http_host`, `$best_http_host`: as the client wrote it.
    HttpHost,
    /// `$request_uri`, `$escaped_request_uri` is the same percent-encoded.
    RequestUri,
    EscapedRequestUri,
    /// `$uri`: the path, normalised.
    Uri,
    /// `$args`, `$query_string`.
    Args,
    /// `$is_args`: `?` if there is a query.
    IsArgs,
    /// `$scheme`, `$pass_access_scheme`.
    Scheme,
    /// `$remote_addr`, `$the_real_ip`, `$binary_remote_addr`.
    RemoteAddress,
    /// `$request_method`.
    Method,
    /// `$req_id`, `$request_id`.
    RequestId,
    /// `$http_NAME`, the name with dashes and in lower case.
    Header(Text),
    /// `$cookie_NAME`.
    Cookie(Text),
    /// `$arg_NAME`.
    Argument(Text),
}

/// `permanent-redirect`, `temporal-redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub to: Template,
    /// 300 to 308.
    pub code: u16,
}

/// `whitelist-source-range` (`allowlist-source-range`) and `denylist-source-range`; the latter is asked first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRanges {
    /// `None`: everyone. An empty list: nobody.
    pub allow: Option<Vec<IpNet>>,
    pub deny: Vec<IpNet>,
}

/// `enable-cors` and its companions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub origins: CorsOrigins,
    pub methods: Text,
    pub headers: Text,
    pub expose_headers: Option<Text>,
    pub credentials: bool,
    pub max_age_secs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    Any,
    /// `https://a.example:8080`, or with one label left open: `https://*.example`.
    Of(Vec<Text>),
}

/// `backend-protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    #[default]
    Http,
    Https,
    /// HTTP/2 without TLS.
    Grpc,
    /// HTTP/2 over TLS.
    Grpcs,
}

/// `affinity: cookie` and its companions. The default is what ingress-nginx does where only `affinity` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    pub name: Text,
    /// `None`: the path of the rule.
    pub path: Option<Text>,
    pub expires: Option<Duration>,
    pub max_age: Option<Duration>,
    pub domain: Option<Text>,
    pub same_site: Option<Text>,
    /// Not for clients that know no `SameSite=None` (`session-cookie-conditional-samesite-none`).
    pub conditional_same_site_none: bool,
    /// `None`: as the request came.
    pub secure: Option<bool>,
    pub change_on_failure: bool,
}

/// `limit-connections`, `limit-rps`, `limit-rpm` and their companions: per client address, counted by each replica for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub connections: Option<u32>,
    pub per_second: Option<u32>,
    pub per_minute: Option<u32>,
    /// `limit-burst-multiplier`.
    pub burst_multiplier: u32,
    /// `limit-whitelist`: these are not counted.
    pub exempt: Vec<IpNet>,
}

/// `upstream-hash-by`: requests of one value go to one endpoint, or with a subset to one of a few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBy {
    pub key: Template,
    pub subset: Option<u32>,
}

/// `auth-url` and its companions: another server says who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAuth {
    /// `http://` or `https://`; the host may be a variable.
    pub url: Template,
    /// `auth-method`; unset: GET.
    pub method: Option<Text>,
    /// `auth-signin`: where a client without credentials is sent to.
    pub signin: Option<Template>,
    /// `auth-signin-redirect-param`: the parameter by which the place to come back to is told there.
    pub redirect_param: Text,
    /// `auth-response-headers`: what the answer says goes to the upstream, in place of what the client said.
    pub response_headers: Vec<Text>,
    /// `auth-request-redirect`: X-Auth-Request-Redirect; unset: the request's own target.
    pub request_redirect: Option<Template>,
}

/// `canary: "true"` and its companions: the Ingress serves a share of another's requests. Asked in this order: header, cookie, weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canary {
    pub header: Option<CanaryHeader>,
    /// The cookie whose value is `always` or `never`.
    pub cookie: Option<Text>,
    /// Of `weight_total` requests so many.
    pub weight: u32,
    pub weight_total: u32,
    /// `affinity-canary-behavior: legacy`: the mainline's session cookie says nothing about the canary.
    pub legacy_affinity: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryHeader {
    pub name: Text,
    pub value: CanaryValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryValue {
    /// `always` or `never`; anything else is no answer.
    AlwaysOrNever,
    Exact(Text),
    /// Found anywhere in the value. One that does not compile keeps requests with the header on the mainline.
    Regex(Text),
}

// === impl SessionCookie ===

impl Default for SessionCookie {
    fn default() -> Self {
        Self {
            name: "INGRESSCOOKIE".into(),
            path: None,
            expires: None,
            max_age: None,
            domain: None,
            same_site: None,
            conditional_same_site_none: false,
            secure: None,
            change_on_failure: false,
        }
    }
}

// === impl Template ===

impl Template {
    /// Takes a text apart at its variables (`$name`, `${name}`).
    ///
    /// # Errors
    /// The name of a variable that is none of ours.
    pub fn parse(text: &str) -> Result<Self, UnknownVariable> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, found) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.into()));
            }
            let found = &found[1..];
            let (name, behind) = match found.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
                Some((name, behind)) => (name, behind),
                None => found.split_at(found.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(found.len())),
            };
            let variable = Variable::parse(name).ok_or_else(|| UnknownVariable(name.into()))?;
            parts.push(TemplatePart::Variable(variable));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.into()));
        }
        Ok(Self { parts })
    }
}

/// A variable that nginx may have and we do not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no variable ${0}")]
pub struct UnknownVariable(pub Text);

// === impl Variable ===

impl Variable {
    fn parse(name: &str) -> Option<Self> {
        let known = match name {
            "host" => Variable::Host,
            "http_host" | "best_http_host" => Variable::HttpHost,
            "request_uri" => Variable::RequestUri,
            "escaped_request_uri" => Variable::EscapedRequestUri,
            "uri" => Variable::Uri,
            "args" | "query_string" => Variable::Args,
            "is_args" => Variable::IsArgs,
            "scheme" | "pass_access_scheme" => Variable::Scheme,
            "remote_addr" | "the_real_ip" | "binary_remote_addr" => Variable::RemoteAddress,
            "request_method" => Variable::Method,
            "req_id" | "request_id" => Variable::RequestId,
            _ => {
                let (kind, rest) = name.split_once('_').filter(|(_, rest)| !rest.is_empty())?;
                match kind {
                    "http" => Variable::Header(rest.replace('_', "-").to_ascii_lowercase().into()),
                    "cookie" => Variable::Cookie(rest.into()),
                    "arg" => Variable::Argument(rest.into()),
                    _ => return None,
                }
            }
        };
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_variables() {
        let text = |text: &str| TemplatePart::Text(text.into());
        let rows = [
            ("https://a.example", vec![text("https://a.example")]),
            ("$request_uri", vec![TemplatePart::Variable(Variable::RequestUri)]),
            ("a${host}b", vec![text("a"), TemplatePart::Variable(Variable::Host), text("b")]),
            ("$http_x_user/", vec![TemplatePart::Variable(Variable::Header("x-user".into())), text("/")]),
        ];
        for (input, parts) in rows {
            assert_eq!(Template::parse(input), Ok(Template { parts }), "{input}");
        }
        assert_eq!(Template::parse("$secret"), Err(UnknownVariable("secret".into())));
        assert_eq!(Template::parse("a$"), Err(UnknownVariable("".into())));
    }
}
