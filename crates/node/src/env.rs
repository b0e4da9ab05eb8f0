//! A container's environment: what the spec says, with references looked up and `$(NAME)` put in.
//!
//! Pure: ConfigMaps and Secrets are handed in. Source: kubelet's `makeEnvironmentVariables` and the third-party `expansion` package.

use crate::spec::{Container, EnvSource, Map, Pod};

/// Looks up a ConfigMap or Secret of the pod's namespace.
pub trait Lookup {
    fn config_map(&self, name: &str) -> Option<&Map>;
    /// Decoded values; those that are no text are left out.
    fn secret(&self, name: &str) -> Option<&Map>;
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("env {name}: field path {path} is not supported")]
    NoField { name: String, path: String },
}

/// The values that a pod's own fields have on this node.
pub struct Facts<'a> {
    pub pod: &'a Pod,
    pub pod_ip: &'a str,
    pub host_ip: &'a str,
    pub node_name: &'a str,
}

/// The variables in order; of two of the same name the later one holds.
///
/// `services` are the variables of the cluster's Services (`KUBERNETES_SERVICE_HOST` and the like); the spec's own win over them.
///
/// # Errors
/// A reference that leads nowhere and is not optional: the container cannot start (`CreateContainerConfigError`).
pub fn environment(
    container: &Container,
    facts: &Facts<'_>,
    services: &[(String, String)],
    lookup: &impl Lookup,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut env = Vars { vars: services.to_vec() };
    for from in &container.env_from {
        let (values, missing) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => (lookup.config_map(&map.name), (!optional(map.optional)).then(|| EnvError::NoConfigMap(map.name.clone()))),
            (None, Some(secret)) => {
                (lookup.secret(&secret.name), (!optional(secret.optional)).then(|| EnvError::NoSecret(secret.name.clone())))
            }
            (None, None) => continue,
        };
        match (values, missing) {
            (Some(values), _) => values.iter().for_each(|(key, value)| env.set(format!("{}{key}", from.prefix), value.clone())),
            (None, Some(missing)) => return Err(missing),
            (None, None) => {}
        }
    }
    for var in &container.env {
        let value = match &var.value_from {
            None => Some(env.expand(&var.value)),
            Some(source) => refer(&var.name, source, facts, lookup)?,
        };
        if let Some(value) = value {
            env.set(var.name.clone(), value);
        }
    }
    Ok(env.vars)
}

/// A command or its arguments with `$(NAME)` put in.
pub fn expand_all(texts: &[String], env: &[(String, String)]) -> Vec<String> {
    let env = Vars { vars: env.to_vec() };
    texts.iter().map(|text| env.expand(text)).collect()
}

fn refer(var: &str, source: &EnvSource, facts: &Facts<'_>, lookup: &impl Lookup) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        let value = field_value(facts, &field.field_path);
        return value.map(Some).ok_or_else(|| EnvError::NoField { name: var.to_string(), path: field.field_path.clone() });
    }
    let (kind, key, values, missing): (_, _, _, fn(String) -> EnvError) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(key), _) => ("ConfigMap", key, lookup.config_map(&key.name), EnvError::NoConfigMap),
        (None, Some(key)) => ("Secret", key, lookup.secret(&key.name), EnvError::NoSecret),
        (None, None) => return Ok(None),
    };
    match values.map(|values| values.get(&key.key)) {
        Some(Some(value)) => Ok(Some(value.clone())),
        _ if optional(key.optional) => Ok(None),
        Some(None) => {
            Err(EnvError::NoKey { kind, namespace: facts.pod.metadata.namespace.clone(), name: key.name.clone(), key: key.key.clone() })
        }
        None => Err(missing(key.name.clone())),
    }
}

/// A field of the pod as the downward API names it.
pub fn field_value(facts: &Facts<'_>, path: &str) -> Option<String> {
    let meta = &facts.pod.metadata;
    let quoted = |map: &Map| map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n");
    let keyed = |map: &Map, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    Some(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => quoted(&meta.labels),
        "metadata.annotations" => quoted(&meta.annotations),
        "spec.nodeName" => facts.node_name.to_string(),
        "spec.serviceAccountName" => facts.pod.spec.service_account_name.clone(),
        "status.podIP" | "status.podIPs" => facts.pod_ip.to_string(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.to_string(),
        _ => return keyed(&meta.labels, "metadata.labels").or_else(|| keyed(&meta.annotations, "metadata.annotations")),
    })
}

fn optional(flag: Option<bool>) -> bool {
    flag.unwrap_or(false)
}

struct Vars {
    vars: Vec<(String, String)>,
}

impl Vars {
    fn set(&mut self, name: String, value: String) {
        match self.vars.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.vars.push((name, value)),
        }
    }

    /// `$(NAME)` becomes the value of a variable set so far, `$$` a dollar; what leads nowhere stays as it is.
    fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                expanded.push('$');
                rest = after;
                continue;
            }
            let reference = tail.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            let value = reference.and_then(|(name, after)| {
                let (_, value) = self.vars.iter().find(|(known, _)| known == name)?;
                Some((value, after))
            });
            match value {
                Some((value, after)) => {
                    expanded.push_str(value);
                    rest = after;
                }
                None => {
                    expanded.push('$');
                    rest = tail;
                }
            }
        }
        expanded.push_str(rest);
        expanded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Store {
        config: Map,
    }

    impl Lookup for Store {
        fn config_map(&self, name: &str) -> Option<&Map> {
            (name == "conf").then_some(&self.config)
        }
        fn secret(&self, _: &str) -> Option<&Map> {
            None
        }
    }

    /// The environment of a container given as JSON, as `NAME=value` lines, or the error.
    fn check(container: &str) -> String {
        let container: Container = serde_json::from_str(container).expect("a container");
        let pod: Pod = serde_json::from_str(r#"{"metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web"}}}"#).expect("a pod");
        let facts = Facts { pod: &pod, pod_ip: "10.244.0.5", host_ip: "10.244.0.1", node_name: "n1" };
        let store = Store { config: Map::from([("COLOR".to_string(), "blue".to_string())]) };
        let services = [("DB_SERVICE_HOST".to_string(), "10.96.0.7".to_string())];
        match environment(&container, &facts, &services, &store) {
            Ok(env) => env.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn later_variables_see_and_replace_earlier_ones() {
        assert_eq!(
            check(
                r#"{"envFrom":[{"prefix":"P_","configMapRef":{"name":"conf"}}],"env":[
                {"name":"A","value":"$(P_COLOR)-$(DB_SERVICE_HOST)"},{"name":"B","value":"$(NOPE) $$(A)"},{"name":"A","value":"x"},
                {"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
                {"name":"APP","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['app']"}}},
                {"name":"C","valueFrom":{"configMapKeyRef":{"name":"conf","key":"COLOR"}}}]}"#
            ),
            "DB_SERVICE_HOST=10.96.0.7 P_COLOR=blue A=x B=$(NOPE) $(A) IP=10.244.0.5 APP=web C=blue"
        );
    }

    #[test]
    fn what_leads_nowhere_is_named_unless_it_is_optional() {
        let env = |key: &str| check(&format!(r#"{{"env":[{{"name":"X","valueFrom":{key}}}]}}"#));
        assert_eq!(env(r#"{"configMapKeyRef":{"name":"conf","key":"SIZE"}}"#), "couldn't find key SIZE in ConfigMap shop/conf");
        assert_eq!(env(r#"{"secretKeyRef":{"name":"s","key":"k"}}"#), "secret \"s\" not found");
        assert_eq!(env(r#"{"secretKeyRef":{"name":"s","key":"k","optional":true}}"#), "DB_SERVICE_HOST=10.96.0.7");
        assert_eq!(check(r#"{"envFrom":[{"configMapRef":{"name":"none"}}]}"#), "configmap \"none\" not found");
    }
}
