//! Values of annotations: texts in, typed values or one sentence out.

use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use model::Text;
use model::options::{CorsOrigins, Template};

use super::Fields;

/// Writing a read value to its place, so that a row of the table is one line.
pub(super) trait Value<T> {
    fn read(&mut self, value: Result<T, String>) -> Result<(), String>;

    fn set(&mut self, value: T) -> Result<(), String> {
        self.read(Ok(value))
    }
}

/// A place that holds a number, or one if it was set.
pub(super) trait Number {
    fn read_number(&mut self, text: &str) -> Result<(), String>;
}

/// A place that holds who may come in.
pub(super) trait Guard {
    /// What cannot be read lets nobody in.
    fn set_guard(&mut self, value: Result<Vec<IpNet>, String>) -> Result<(), String>;
}

impl<T> Value<T> for T {
    fn read(&mut self, value: Result<T, String>) -> Result<(), String> {
        *self = value?;
        Ok(())
    }
}

impl Number for u32 {
    fn read_number(&mut self, text: &str) -> Result<(), String> {
        self.read(number(text))
    }
}

impl Number for u64 {
    fn read_number(&mut self, text: &str) -> Result<(), String> {
        self.read(number(text))
    }
}

impl Number for Option<u32> {
    fn read_number(&mut self, text: &str) -> Result<(), String> {
        self.read(number(text).map(Some))
    }
}

impl Guard for Option<Vec<IpNet>> {
    fn set_guard(&mut self, value: Result<Vec<IpNet>, String>) -> Result<(), String> {
        let (allowed, told) = match value {
            Ok(nets) => (nets, Ok(())),
            Err(why) => (Vec::new(), Err(format!("{why}; nobody is let in"))),
        };
        *self = Some(allowed);
        told
    }
}

/// As Go's `strconv.ParseBool`, which ingress-nginx reads them with.
pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is no number"))
}

/// Whole seconds, with or without `s`.
pub(super) fn seconds(value: &str) -> Result<Duration, String> {
    number(value.strip_suffix('s').unwrap_or(value)).map(Duration::from_secs)
}

/// A size as nginx writes it: `1024`, `8k`, `1m`, `2g`.
pub(super) fn bytes(value: &str) -> Result<u64, String> {
    let (digits, unit) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&value[..value.len() - 1], 1 << 30),
        _ => (value, 1),
    };
    let size = digits.parse::<u64>().ok().and_then(|size| size.checked_mul(unit));
    size.ok_or_else(|| format!("`{value}` is no size such as 8m"))
}

/// What stands between commas, without blanks around it; empty parts count for nothing.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Networks or single addresses.
pub(super) fn ranges(value: &str) -> Result<Vec<IpNet>, String> {
    let range = |text: &str| {
        let address = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
        text.parse().or_else(|_| address()).map_err(|_| format!("`{text}` is no network or address"))
    };
    list(value).map(range).collect()
}

/// A name that a header or a cookie may have (RFC 9110 5.6.2, `token`).
pub(super) fn header_name(value: &str, fields: &mut Fields<'_>) -> Result<Text, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if value.is_empty() || !value.bytes().all(fits) {
        return Err(format!("`{value}` is no name"));
    }
    Ok(fields.text(value))
}

pub(super) fn template(value: &str) -> Result<Template, String> {
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("holds control characters".into());
    }
    Template::parse(value).map_err(|error| error.to_string())
}

/// An `http` or `https` URL whose host is one, or a variable.
pub(super) fn url(value: &str) -> Result<Template, String> {
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://")).unwrap_or("");
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let host = authority.split(':').next().unwrap_or("");
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._${}".contains(&byte);
    let is_address = authority.starts_with('[') && authority.contains(']');
    if !is_address && (host.is_empty() || host.split('.').any(str::is_empty) || !host.bytes().all(is_host)) {
        return Err(format!("`{value}` is no URL"));
    }
    template(value)
}

/// The origins that are allowed, and those that are none. A blank list is every origin (ingress-nginx).
pub(super) fn origins<'a>(value: &'a str, fields: &mut Fields<'_>) -> (CorsOrigins, Vec<&'a str>) {
    if list(value).next().is_none() || list(value).any(|origin| origin == "*") {
        return (CorsOrigins::Any, Vec::new());
    }
    let (fine, wrong): (Vec<_>, Vec<_>) = list(value).partition(|origin| is_origin(origin));
    (CorsOrigins::Of(fine.into_iter().map(|origin| fields.text(origin)).collect()), wrong)
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let host = host.strip_prefix("*.").unwrap_or(host);
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && port.parse::<u16>().is_ok()
}
