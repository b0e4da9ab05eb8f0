//! Namespaces, Nodes, and the networking kinds that have little to do.

use serde_json::{Value, json};

use super::world::World;
use crate::refusal::Refusal;
use crate::value::Get;

/// Never deleted. Source: the NamespaceLifecycle admission plugin.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// A Namespace is active, and keeps its finalizers: only `finalize` takes them away.
///
/// Source: pkg/registry/core/namespace/strategy.go.
pub(super) fn namespace(new: &mut Value, old: Option<&Value>) {
    match old {
        None => {
            new["status"] = json!({"phase": "Active"});
            let mut finalizers = new["spec"].items("finalizers").to_vec();
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                finalizers.push("kubernetes".into());
            }
            if !new["spec"].is_object() {
                new["spec"] = json!({});
            }
            new["spec"]["finalizers"] = finalizers.into();
        }
        Some(old) => {
            let finalizers = old["spec"]["finalizers"].clone();
            if !new["spec"].is_object() {
                new["spec"] = json!({});
            }
            match finalizers {
                Value::Null => new["spec"].as_object_mut().map(|spec| spec.remove("finalizers")),
                finalizers => new["spec"].as_object_mut().map(|spec| spec.insert("finalizers".to_owned(), finalizers)),
            };
        }
    }
}

pub(super) fn namespace_removing(world: &mut World<'_, '_>, namespace: &Value) -> Result<(), Refusal> {
    let name = namespace["metadata"].text("name");
    if IMMORTAL.contains(&name) {
        return Err(Refusal::forbidden(world.kind, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// `podCIDR` and `podCIDRs` say the same.
pub(super) fn node(new: &mut Value, _old: Option<&Value>) {
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.text("podCIDR").is_empty() {
        return;
    }
    if spec.items("podCIDRs").is_empty() {
        spec.insert("podCIDRs".to_owned(), json!([spec.text("podCIDR")]));
    }
}

/// The class that an Ingress without one belongs to, if one calls itself the default.
///
/// Source: the DefaultIngressClass admission plugin: of several the newest, then the first by name.
pub(super) fn ingress(world: &mut World<'_, '_>, new: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    let has_class = new["spec"].has("ingressClassName") || new["metadata"]["annotations"].has("kubernetes.io/ingress.class");
    if old.is_some() || has_class {
        return Ok(());
    }
    let classes = world.kinds.networking("ingressclasses").stored.map(|collection| world.txn.objects(collection));
    let mut defaults: Vec<(String, String)> = Vec::new();
    for (_, class) in classes.iter().flatten() {
        let class = class.parse();
        let meta = class.at("metadata");
        if meta.at("annotations").text("ingressclass.kubernetes.io/is-default-class") == "true" {
            defaults.push((meta.text("creationTimestamp").to_owned(), meta.text("name").to_owned()));
        }
    }
    defaults.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    if let (Some((_, name)), Some(spec)) = (defaults.into_iter().next(), new["spec"].as_object_mut()) {
        spec.insert("ingressClassName".to_owned(), name.into());
    }
    Ok(())
}
