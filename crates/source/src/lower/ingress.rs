//! Ingress: rules, certificates, and annotations as typed options.

mod annotations;

use std::sync::Arc;

use api::networking;
use model::Text;
use model::facts::PathMatch;
use model::facts::{BackendPort, Index, Ingress, IngressBackend, IngressPath, IngressRule, IngressTls};

use super::Fields;

const CLASS: &str = "kubernetes.io/ingress.class";

pub(super) fn lower(ingress: &api::Ingress, fields: &mut Fields<'_>) -> Ingress {
    let spec = &ingress.spec;
    let created = ingress.metadata.creation_timestamp.and_then(|time| u64::try_from(time.seconds).ok());
    let class_annotation = ingress.metadata.annotations.0.get(CLASS);
    Ingress {
        class: fields.some_text(spec.ingress_class_name.as_deref()),
        class_annotation: fields.some_text(class_annotation.map(|class| &**class)),
        created_at_secs: created.unwrap_or(0),
        default_backend: spec.default_backend.as_ref().and_then(|it| backend(it, || "spec.defaultBackend".to_string(), fields)),
        rules: spec.rules.iter().enumerate().filter_map(|(index, it)| rule(index, it, fields)).collect(),
        tls: spec.tls.iter().enumerate().filter_map(|(index, it)| tls(index, it, fields)).collect(),
        options: Arc::new(annotations::lower(&ingress.metadata.annotations, fields)),
    }
}

fn rule(index: usize, rule: &networking::IngressRule, fields: &mut Fields<'_>) -> Option<IngressRule> {
    let host = match &*rule.host {
        "" => None,
        host => Some(self::host(host, || format!("spec.rules[{index}].host"), fields)?),
    };
    let paths = rule.http.iter().flat_map(|http| http.paths.iter()).enumerate();
    Some(IngressRule { at: index as Index, host, paths: paths.filter_map(|(n, it)| path(index, n, it, fields)).collect() })
}

/// Lower case; a wildcard stands for the whole first label.
fn host(host: &str, field: impl FnOnce() -> String, fields: &mut Fields<'_>) -> Option<Text> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let fits = !name.is_empty() && name.split('.').all(|label| !label.is_empty()) && !name.contains(['*', '/', ':', ' ']);
    if !fits {
        fields.invalid(field, format!("`{host}` is no host name, with or without `*.` in front"));
        return None;
    }
    Some(fields.text(&host.to_ascii_lowercase()))
}

fn path(rule: usize, index: usize, path: &networking::HttpIngressPath, fields: &mut Fields<'_>) -> Option<IngressPath> {
    let at = |field: &'static str| move || format!("spec.rules[{rule}].http.paths[{index}].{field}");
    let text = if path.path.is_empty() { "/" } else { &path.path };
    if !text.starts_with('/') && path.path_type.as_deref() != Some("ImplementationSpecific") {
        fields.invalid(at("path"), format!("`{text}` does not start with `/`"));
        return None;
    }
    let text = fields.text(text);
    let matched = match path.path_type.as_deref() {
        Some("Exact") => PathMatch::Exact(text),
        Some("Prefix" | "ImplementationSpecific") => PathMatch::Prefix(text),
        None => {
            fields.invalid(at("pathType"), "is not set; one of Exact, Prefix, ImplementationSpecific is required");
            return None;
        }
        Some(other) => {
            fields.invalid(at("pathType"), format!("`{other}` is none of Exact, Prefix, ImplementationSpecific"));
            return None;
        }
    };
    Some(IngressPath { at: index as Index, path: matched, backend: backend(&path.backend, at("backend"), fields)? })
}

fn backend(backend: &networking::IngressBackend, field: impl Fn() -> String, fields: &mut Fields<'_>) -> Option<IngressBackend> {
    if let Some(resource) = &backend.resource {
        let group = resource.api_group.as_deref().unwrap_or("");
        return Some(IngressBackend::Resource(fields.text(&format!("{group}/{} {}", resource.kind, resource.name))));
    }
    let Some(service) = backend.service.as_ref().filter(|service| !service.name.is_empty()) else {
        fields.invalid(field, "names neither a service nor a resource");
        return None;
    };
    let port = if service.port.name.is_empty() {
        match u16::try_from(service.port.number) {
            Ok(0) | Err(_) => {
                fields.invalid(|| format!("{}.service.port", field()), format!("{} is no port from 1 to 65535", service.port.number));
                return None;
            }
            Ok(number) => BackendPort::Number(number),
        }
    } else {
        BackendPort::Name(fields.text(&service.port.name))
    };
    Some(IngressBackend::Service { name: fields.text(&service.name), port })
}

/// A section that names hosts of which none can be read is left out: without any it would be for all of them.
fn tls(index: usize, tls: &networking::IngressTls, fields: &mut Fields<'_>) -> Option<IngressTls> {
    let named = tls.hosts.iter().enumerate();
    let hosts: Vec<_> = named.filter_map(|(n, it)| host(it, || format!("spec.tls[{index}].hosts[{n}]"), fields)).collect();
    let is_lost = hosts.is_empty() && !tls.hosts.is_empty();
    (!is_lost).then(|| IngressTls { at: index as Index, hosts, secret: fields.some_text(Some(&tls.secret_name)) })
}
