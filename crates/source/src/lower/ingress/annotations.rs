//! ingress-nginx's annotations as typed options: one row of the table each.
//!
//! An annotation with our prefix that has no row is told as unsupported: better said than silently not done. One that guards a route
//! (who may come in) and cannot be done closes it.

mod draft;
mod values;

use model::options::RouteOptions;
use model::options::{CanaryValue, UpstreamProtocol};

use self::draft::Draft;
use self::values::{Guard as _, Number as _, Value as _, boolean, header_name, list, origins, ranges, seconds, template};
use super::Fields;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Reads the value of one annotation into the draft.
type Read = fn(&str, &mut Draft, &mut Fields<'_>) -> Result<(), String>;

/// Sorted by name.
const TABLE: &[(&str, Read)] = &[
    ("affinity", |value, draft, _| match value {
        "cookie" => draft.affinity.set(true),
        _ => Err(format!("`{value}` is not `cookie`, the one kind of affinity there is")),
    }),
    ("affinity-canary-behavior", |value, draft, _| draft.canary.legacy_affinity.set(value == "legacy")),
    // The balanced mode differs only in what happens to sessions when endpoints are added: ours stay.
    ("affinity-mode", |value, _, _| match value {
        "balanced" | "persistent" => Ok(()),
        _ => Err(format!("`{value}` is neither balanced nor persistent")),
    }),
    ("allowlist-source-range", |value, draft, _| draft.options.sources.allow.set_guard(ranges(value))),
    ("app-root", |value, draft, fields| match value.strip_prefix('/') {
        Some(_) => draft.options.app_root.set(Some(fields.text(value))),
        None => Err(format!("`{value}` does not start with `/`")),
    }),
    ("auth-method", |value, draft, fields| draft.auth.method.read(header_name(value, fields).map(Some))),
    ("auth-request-redirect", |value, draft, _| draft.auth.request_redirect.read(template(value).map(Some))),
    ("auth-response-headers", |value, draft, fields| {
        draft.auth.response_headers.read(list(value).map(|name| header_name(name, fields)).collect())
    }),
    ("auth-signin", |value, draft, _| draft.auth.signin.read(template(value).map(Some))),
    ("auth-signin-redirect-param", |value, draft, fields| draft.auth.redirect_param.read(header_name(value, fields))),
    ("auth-tls-verify-client", |value, draft, _| draft.client_certificates_off.set(value == "off")),
    ("auth-url", |value, draft, fields| {
        let url = values::url(value);
        if url.is_err() {
            draft.options.denied = Some(fields.text("auth-url"));
        }
        draft.auth_url.read(url.map(Some)).map_err(|why| format!("{why}; the routes answer 503 rather than stand open"))
    }),
    ("backend-protocol", |value, draft, _| {
        draft.options.protocol.set(match &*value.to_ascii_uppercase() {
            "HTTP" | "AUTO_HTTP" => UpstreamProtocol::Http,
            "HTTPS" => UpstreamProtocol::Https,
            "GRPC" => UpstreamProtocol::Grpc,
            "GRPCS" => UpstreamProtocol::Grpcs,
            _ => return Err(format!("`{value}` is none of HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS")),
        })
    }),
    ("canary", |value, draft, _| draft.is_canary.read(boolean(value))),
    ("canary-by-cookie", |value, draft, fields| draft.canary.cookie.set(fields.some_text(Some(value)))),
    ("canary-by-header", |value, draft, fields| draft.canary_header.read(header_name(value, fields).map(Some))),
    ("canary-by-header-pattern", |value, draft, fields| draft.canary_pattern.set(Some(CanaryValue::Regex(fields.text(value))))),
    ("canary-by-header-value", |value, draft, fields| draft.canary_value.set(Some(CanaryValue::Exact(fields.text(value))))),
    ("canary-weight", |value, draft, _| draft.canary.weight.read_number(value)),
    ("canary-weight-total", |value, draft, _| draft.canary.weight_total.read_number(value)),
    ("connection-proxy-header", |value, draft, fields| draft.options.connection.set(fields.some_text(Some(value)))),
    ("cors-allow-credentials", |value, draft, _| draft.cors.credentials.read(boolean(value))),
    ("cors-allow-headers", |value, draft, fields| draft.cors.headers.set(fields.text(value))),
    ("cors-allow-methods", |value, draft, fields| draft.cors.methods.set(fields.text(value))),
    ("cors-allow-origin", |value, draft, fields| {
        let (origins, wrong) = origins(value, fields);
        draft.cors.origins = origins;
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} is left out: not `scheme://host[:port]`", wrong.join(", "))) }
    }),
    ("cors-expose-headers", |value, draft, fields| draft.cors.expose_headers.set(fields.some_text(Some(value)))),
    ("cors-max-age", |value, draft, _| draft.cors.max_age_secs.read_number(value)),
    ("denylist-source-range", |value, draft, _| draft.options.sources.deny.read(ranges(value))),
    ("enable-cors", |value, draft, _| draft.enable_cors.read(boolean(value))),
    ("force-ssl-redirect", |value, draft, _| draft.options.force_ssl_redirect.read(boolean(value))),
    ("from-to-www-redirect", |value, draft, _| draft.options.from_to_www.read(boolean(value))),
    ("limit-burst-multiplier", |value, draft, _| draft.options.limits.burst_multiplier.read_number(value)),
    ("limit-connections", |value, draft, _| draft.options.limits.connections.read_number(value)),
    ("limit-rpm", |value, draft, _| draft.options.limits.per_minute.read_number(value)),
    ("limit-rps", |value, draft, _| draft.options.limits.per_second.read_number(value)),
    ("limit-whitelist", |value, draft, _| draft.options.limits.exempt.read(ranges(value))),
    ("permanent-redirect", |value, draft, _| draft.permanent.to.read(template(value).map(Some))),
    ("permanent-redirect-code", |value, draft, _| draft.permanent.read_code(value)),
    ("preserve-trailing-slash", |value, draft, _| draft.options.preserve_trailing_slash.read(boolean(value))),
    ("proxy-body-size", |value, draft, _| draft.options.body_bytes.read(values::bytes(value).map(Some))),
    ("proxy-connect-timeout", |value, draft, _| draft.options.connect_timeout.read(seconds(value).map(Some))),
    ("proxy-read-timeout", |value, draft, _| draft.options.read_timeout.read(seconds(value).map(Some))),
    ("relative-redirects", |value, draft, _| draft.options.relative_redirects.read(boolean(value))),
    ("rewrite-target", |value, draft, fields| draft.options.rewrite_target.set(Some(fields.text(value)))),
    ("server-alias", |value, draft, fields| {
        let names = list(value).map(|name| fields.text(&name.to_ascii_lowercase())).collect();
        draft.options.aliases.set(names)
    }),
    ("session-cookie-change-on-failure", |value, draft, _| draft.cookie.change_on_failure.read(boolean(value))),
    ("session-cookie-conditional-samesite-none", |value, draft, _| draft.cookie.conditional_same_site_none.read(boolean(value))),
    ("session-cookie-domain", |value, draft, fields| draft.cookie.domain.set(fields.some_text(Some(value)))),
    ("session-cookie-expires", |value, draft, _| draft.cookie.expires.read(seconds(value).map(Some))),
    ("session-cookie-max-age", |value, draft, _| draft.cookie.max_age.read(seconds(value).map(Some))),
    ("session-cookie-name", |value, draft, fields| draft.cookie.name.read(header_name(value, fields))),
    ("session-cookie-path", |value, draft, fields| draft.cookie.path.set(fields.some_text(Some(value)))),
    ("session-cookie-samesite", |value, draft, fields| match value {
        "Strict" | "Lax" | "None" => draft.cookie.same_site.set(Some(fields.text(value))),
        _ => Err(format!("`{value}` is none of Strict, Lax, None")),
    }),
    ("session-cookie-secure", |value, draft, _| draft.cookie.secure.read(boolean(value).map(Some))),
    ("ssl-redirect", |value, draft, _| draft.options.ssl_redirect.read(boolean(value).map(Some))),
    ("temporal-redirect", |value, draft, _| draft.temporal.to.read(template(value).map(Some))),
    ("temporal-redirect-code", |value, draft, _| draft.temporal.read_code(value)),
    ("upstream-hash-by", |value, draft, _| draft.hash_by.read(template(value).map(Some))),
    ("upstream-hash-by-subset", |value, draft, _| draft.hash_subset.read(boolean(value))),
    ("upstream-hash-by-subset-size", |value, draft, _| draft.hash_subset_size.read_number(value)),
    ("upstream-vhost", |value, draft, _| draft.options.upstream_host.read(template(value).map(Some))),
    ("use-regex", |value, draft, _| draft.options.use_regex.read(boolean(value))),
    ("whitelist-source-range", |value, draft, _| draft.options.sources.allow.set_guard(ranges(value))),
    ("x-forwarded-prefix", |value, draft, fields| draft.options.forwarded_prefix.set(fields.some_text(Some(value)))),
];

/// Those that ask for a guard which we cannot put up yet: the route answers 503. Each with the prefix of its companions.
const GUARDS: &[&str] = &["auth-secret", "auth-tls-secret", "auth-type", "enable-modsecurity", "modsecurity-snippet"];

pub(super) fn lower(annotations: &api::Map, fields: &mut Fields<'_>) -> RouteOptions {
    let mut draft = Draft::default();
    let mut guards = Vec::new();
    for (key, value) in &annotations.0 {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let path = || format!("metadata.annotations[{key}]");
        match TABLE.binary_search_by_key(&name, |(name, _)| name) {
            Ok(row) => {
                if let Err(why) = TABLE[row].1(value.trim(), &mut draft, fields) {
                    fields.invalid(path, why);
                }
            }
            Err(_) if GUARDS.contains(&name) => guards.push(name),
            Err(_) => fields.unsupported(path, "this annotation is not supported and has no effect"),
        }
    }
    if draft.client_certificates_off {
        guards.retain(|name| *name != "auth-tls-secret");
    }
    for name in &guards {
        fields.unsupported(
            || format!("metadata.annotations[{PREFIX}{name}]"),
            "this annotation is not supported; the routes answer 503 rather than stand open",
        );
        draft.options.denied = Some(fields.text(name));
    }
    draft.finish()
}

#[cfg(test)]
mod tests;
