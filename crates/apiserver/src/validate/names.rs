//! What names, label values, ports and addresses may look like, in the API server's words.
//!
//! Each check gives what is wrong with a text, nothing if it is good. Source: apimachinery's pkg/util/validation (validation.go, ip.go) and
//! pkg/api/validate/content.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// A text as Go's `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

pub(crate) fn max_length(length: usize) -> String {
    format!("must be no more than {length} characters")
}

pub(crate) fn range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn regex(message: &str, format: &str, examples: &[&str]) -> String {
    // Two blanks between examples, as upstream has them.
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

fn is_word(text: &str, inner: impl Fn(u8) -> bool, ends: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if ends(*first) && ends(*last))
        && bytes.iter().all(|byte| inner(*byte))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    is_word(text, |byte| lower(byte) || byte == b'-', lower)
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

pub(crate) fn dns_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(max_length(63));
    }
    if !is_label(text) {
        if is_subdomain(text) {
            faults.push("must not contain dots".to_owned());
        } else {
            let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                and must start and end with an alphanumeric character";
            faults.push(regex(message, LABEL, &["my-name", "123-abc"]));
        }
    }
    faults
}

pub(crate) fn dns_subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if !is_subdomain(text) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
            and must start and end with an alphanumeric character";
        faults.push(regex(message, SUBDOMAIN, &["example.com"]));
    }
    faults
}

/// A domain that a resolver searches: labels may begin with an underscore and hold some.
pub(crate) fn search_domain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    let label = |label: &str| is_word(label.strip_prefix('_').unwrap_or(label), |byte| lower(byte) || b"-_".contains(&byte), lower);
    if !text.split('.').all(label) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
            and must start and end with an alphanumeric character";
        let format = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        faults.push(regex(message, format, &["example.com"]));
    }
    faults
}

/// The number of a user or group.
pub(crate) fn user_id(id: i64) -> Vec<String> {
    if (0..=i64::from(i32::MAX)).contains(&id) { Vec::new() } else { vec![range(0, i32::MAX.into())] }
}

pub(crate) fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let message = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
            which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        faults.push(regex(message, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    faults
}

/// A key of labels, of node selectors, of finalizers: `[prefix/]name`.
pub(crate) fn label_key(text: &str) -> Vec<String> {
    let message = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let regex = regex(message, QUALIFIED, &["MyName", "my.name", "123-abc"]);
    let parts: Vec<&str> = text.split('/').collect();
    let mut faults = Vec::new();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                faults.extend(
                    dns_subdomain(prefix).into_iter().map(|fault| format!("prefix part {}", fault.replace("253 characters", "253 bytes"))),
                );
            }
            name
        }
        _ => return vec![format!("a valid label key {regex} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")],
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_qualified(name) {
        faults.push(format!("name part {regex}"));
    }
    faults
}

fn is_qualified(text: &str) -> bool {
    is_word(text, |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte), |byte| byte.is_ascii_alphanumeric())
}

pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !is_qualified(text) {
        let message = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
            and must start and end with an alphanumeric character";
        faults.push(regex(message, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    faults
}

/// The name of a port of a container.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 15 {
        faults.push(max_length(15));
    }
    if text.is_empty() || !text.bytes().all(|byte| lower(byte) || byte == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

pub(crate) fn port_number(port: i64) -> Vec<String> {
    if (1..=65_535).contains(&port) { Vec::new() } else { vec![range(1, 65_535)] }
}

pub(crate) fn percent(text: &str) -> Vec<String> {
    match text.strip_suffix('%') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => Vec::new(),
        _ => {
            let message = "a valid percent string must be a numeric string followed by an ending '%'";
            vec![regex(message, "[0-9]+%", &["1%", "93%"])]
        }
    }
}

pub(crate) fn env_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.is_empty() {
        faults.push("environment variable name must be non-empty".to_owned());
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        faults.push("a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned());
    }
    faults
}

pub(crate) fn http_header(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![regex("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A key of a ConfigMap or Secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        faults.push(regex(message, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." | ".." => faults.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => faults.push("must not start with '..'".to_owned()),
        _ => {}
    }
    faults
}

/// A name that stands in a URL: of an object that has no stricter rule.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].into_iter().filter(|part| text.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address as Go's older parser took it: octets may begin with zeros. The flag tells whether they do.
fn sloppy_ip(text: &str) -> Option<(IpAddr, bool)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, false));
    }
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some((Ipv4Addr::from(octets).into(), true))
}

fn octet(text: &str) -> Option<u8> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match text.trim_start_matches('0') {
        "" => Some(0),
        digits => digits.parse().ok(),
    }
}

/// An address of a field older than strict checking: it need not be in canonical form.
pub(crate) fn legacy_ip(text: &str) -> Vec<String> {
    match sloppy_ip(text) {
        None => vec![NOT_AN_IP.to_owned()],
        Some((_, true)) => vec!["must not have leading 0s".to_owned()],
        Some((IpAddr::V6(ip), _)) if ip.to_ipv4_mapped().is_some() => vec!["must not be an IPv4-mapped IPv6 address".to_owned()],
        Some(_) => Vec::new(),
    }
}

/// An address in canonical form.
pub(crate) fn ip(text: &str) -> Vec<String> {
    let faults = legacy_ip(text);
    match text.parse::<IpAddr>() {
        Ok(ip) if faults.is_empty() && ip.to_string() != text => vec![format!("must be in canonical form ({})", quote(&ip.to_string()))],
        _ => faults,
    }
}

fn sloppy_cidr(text: &str) -> Option<(IpAddr, u8, bool)> {
    let (ip, length) = text.split_once('/')?;
    let (ip, zeros) = sloppy_ip(ip)?;
    let bits = octet(length).filter(|bits| *bits <= if ip.is_ipv4() { 32 } else { 128 })?;
    Some((ip, bits, zeros || length.len() > 1 && length.starts_with('0')))
}

/// A network of a field older than strict checking.
pub(crate) fn legacy_cidr(text: &str) -> Vec<String> {
    let Some((ip, bits, zeros)) = sloppy_cidr(text) else { return vec![NOT_A_CIDR.to_owned()] };
    if zeros {
        vec!["must not have leading 0s in IP or prefix length".to_owned()]
    } else if matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        vec!["must not have an IPv4-mapped IPv6 address".to_owned()]
    } else if masked(ip, bits) != ip {
        vec!["must not have bits set beyond the prefix length".to_owned()]
    } else {
        Vec::new()
    }
}

/// A network in canonical form.
pub(crate) fn cidr(text: &str) -> Vec<String> {
    let faults = legacy_cidr(text);
    match sloppy_cidr(text) {
        Some((ip, bits, _)) if faults.is_empty() && format!("{ip}/{bits}") != text => {
            vec![format!("must be in canonical form ({})", quote(&format!("{ip}/{bits}")))]
        }
        _ => faults,
    }
}

pub(crate) fn is_ipv6(text: &str) -> bool {
    matches!(sloppy_ip(text), Some((IpAddr::V6(ip), _)) if ip.to_ipv4_mapped().is_none())
}

pub(crate) fn is_ipv4(text: &str) -> bool {
    sloppy_ip(text).is_some() && !is_ipv6(text)
}

/// What is worth a warning about a good address: that it has a shorter form.
pub(crate) fn ip_warning(text: &str, field: &str) -> Option<String> {
    let ip = text.parse::<IpAddr>().ok()?;
    let short = ip.to_string();
    (ip.is_ipv6() && short != text)
        .then(|| format!("{field}: IPv6 address {} should be in RFC 5952 canonical format ({})", quote(text), quote(&short)))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into(),
    }
}

/// What an endpoint's address, which traffic is sent to, may not be. Text that is no address has no such fault.
pub(crate) fn special_ip(text: &str) -> Vec<String> {
    let Some((ip, _)) = sloppy_ip(text) else { return Vec::new() };
    let mut faults = Vec::new();
    let ip = match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    if ip.is_unspecified() {
        faults.push(format!("may not be unspecified ({})", quote(text).trim_matches('"')));
    }
    if ip.is_loopback() {
        faults.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    let (unicast, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        faults.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if multicast {
        faults.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(how: fn(&str) -> Vec<String>, good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            assert_eq!(how(text), Vec::<String>::new(), "{text:?}");
        }
        for (text, fault) in bad {
            assert!(how(text).iter().any(|found| found.starts_with(fault)), "{text:?}: {:?}", how(text));
        }
    }

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        assert_eq!(quote("a\"\\\n\t\x07\0é<"), r#""a\"\\\n\t\a\x00é<""#);
    }

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(64);
        check(
            dns_label,
            &["a", "a-1", "1a"],
            &[
                ("", "a lowercase RFC 1123 label"),
                ("a.b", "must not contain dots"),
                ("A", "a lowercase"),
                (&long, "must be no more than 63"),
            ],
        );
        check(dns_subdomain, &["a", "a.b-c.d"], &[("a..b", "a lowercase RFC 1123 subdomain"), ("-a", "a lowercase"), ("é", "a lowercase")]);
        check(wildcard_subdomain, &["*.a.b"], &[("*", "a wildcard"), ("*.*.a", "a wildcard"), ("a.b", "a wildcard")]);
        check(
            label_key,
            &["a", "x.y/a_b.C"],
            &[
                ("a/b/c", "a valid label key"),
                ("/a", "prefix part must be non-empty"),
                ("a/", "name part must be non-empty"),
                ("_a", "name part"),
            ],
        );
        check(label_value, &["", "a_b.C"], &[("a b", "a valid label"), ("-", "a valid label")]);
        check(
            port_name,
            &["http", "a-1"],
            &[
                ("", "must contain only"),
                ("UP", "must contain only"),
                ("1", "must contain at least one letter"),
                ("a--b", "must not contain consecutive"),
                ("a-", "must not begin or end"),
            ],
        );
        check(percent, &["0%", "150%"], &[("%", "a valid percent"), ("-1", "a valid percent")]);
        check(config_key, &["a", "_.-"], &[("..", "must not be '..'"), ("..a", "must not start with '..'"), ("a b", "a valid config key")]);
    }

    #[test]
    fn addresses_are_checked() {
        check(
            legacy_ip,
            &["10.0.0.1", "FE80::ABCD", "::"],
            &[
                ("", "must be a valid IP"),
                ("1.2.3", "must be a valid IP"),
                ("010.0.0.1", "must not have leading 0s"),
                ("::ffff:1.2.3.4", "must not be an IPv4-mapped"),
            ],
        );
        check(ip, &["fe80::1"], &[("FE80::1", "must be in canonical form (\"fe80::1\")")]);
        check(
            legacy_cidr,
            &["10.0.0.0/8", "::/0", "0.0.0.0/0"],
            &[
                ("10.0.0.0", "must be a valid CIDR"),
                ("10.0.0.1/8", "must not have bits set"),
                ("10.0.0.0/33", "must be a valid CIDR"),
                ("10.0.0.0/08", "must not have leading 0s"),
            ],
        );
        check(
            special_ip,
            &["10.0.0.1", "x"],
            &[
                ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
                ("::1", "may not be in the loopback"),
                ("169.254.1.1", "may not be in the link-local range"),
                ("224.0.0.1", "may not be in the link-local multicast"),
            ],
        );
        assert!(is_ipv6("::1") && !is_ipv6("1.2.3.4") && is_ipv4("1.2.3.4") && !is_ipv4("x"));
    }
}
