//! ConfigMap and Secret. Source: pkg/apis/core/validation/validation.go.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::{Path, Report, meta, names};
use crate::value::Get;

/// All values of one object together.
const MAX_SIZE: usize = 1 << 20;

pub(super) fn config_map(report: &mut Report, new: &Value, old: Option<&Value>) {
    frozen(report, new, old, &["data", "binaryData"]);
    let mut size = 0;
    let binary = new.at("binaryData");
    for (key, value) in new.pairs("data") {
        let place = Path::new("data").key(key);
        report.faults(&place, key, names::config_key(key));
        if binary.has(key) {
            report.invalid(&place, key, "duplicate of key present in binaryData");
        }
        size += value.len();
    }
    for (key, value) in new.pairs("binaryData") {
        report.faults(&Path::new("binaryData").key(key), key, names::config_key(key));
        size += decoded_length(value);
    }
    if size > MAX_SIZE {
        report.too_long(&Path::new("[]"), MAX_SIZE);
    }
}

pub(super) fn secret(report: &mut Report, new: &Value, old: Option<&Value>) {
    if let Some(old) = old {
        meta::immutable(report, &Path::new("type"), new.at("type"), old.at("type"));
    }
    frozen(report, new, old, &["data"]);
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in new.pairs("data") {
        report.faults(&path.key(key), key, names::config_key(key));
        size += decoded_length(value);
    }
    if size > MAX_SIZE {
        report.too_long(&path, MAX_SIZE);
    }
    let data = new.at("data");
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !data.has(key)) {
            report.required(&path.key(key), "");
        }
    };
    match new.text("type") {
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => need(&["username", "password"]),
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => report.required(&path.key("ssh-privatekey"), ""),
        "kubernetes.io/dockercfg" => json_object(report, data, ".dockercfg", &path),
        "kubernetes.io/dockerconfigjson" => json_object(report, data, ".dockerconfigjson", &path),
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if new.at("metadata").at("annotations").text(name).is_empty() {
                report.required(&Path::new("metadata.annotations").key(name), "");
            }
        }
        _ => {}
    }
}

/// What an object with `immutable: true` may not change.
fn frozen(report: &mut Report, new: &Value, old: Option<&Value>, fields: &[&str]) {
    const TEXT: &str = "field is immutable when `immutable` is set";
    let Some(old) = old.filter(|old| old.flag("immutable")) else { return };
    if !new.flag("immutable") {
        report.forbidden(&Path::new("immutable"), TEXT);
    }
    for field in fields.iter().filter(|field| new.at(field) != old.at(field)) {
        report.forbidden(&Path::new(field), TEXT);
    }
}

fn decoded_length(base64: &str) -> usize {
    base64.len() / 4 * 3 - base64.bytes().rev().take_while(|byte| *byte == b'=').count().min(base64.len() / 4 * 3)
}

fn json_object(report: &mut Report, data: &Value, key: &str, path: &Path) {
    let Some(text) = data.at(key).as_str() else {
        report.required(&path.key(key), "");
        return;
    };
    let bytes = BASE64.decode(text).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        let text = super::syntax_error(&bytes, &error);
        report.invalid(&path.key(key), "<secret contents redacted>", &text);
    }
}
