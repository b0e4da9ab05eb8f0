//! What every namespace is given: the ServiceAccount `default` and the certificate of the API's authority.
//!
//! Source: kubernetes `pkg/controller/serviceaccount` and `pkg/controller/certificates/rootcacertpublisher`.

use std::time::SystemTime;

use api::Kind;
use serde_json::{Value, json};

use crate::cache::{Cache, Key};
use crate::plan::{Plan, Write};
use crate::{Controller, json, kinds};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub struct ServiceAccounts {
    /// PEM.
    pub root_ca: String,
}

impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn reads(&self) -> &'static [&'static Kind] {
        static READS: [&Kind; 3] = [&kinds::NAMESPACE, &kinds::SERVICE_ACCOUNT, &kinds::CONFIG_MAP];
        &READS
    }

    fn touched(&self, kind: &Kind, object: &Value, _cache: &Cache) -> Vec<Key> {
        let name = json::name(object);
        match kind {
            kind if *kind == kinds::NAMESPACE => vec![Key::new("", name)],
            kind if *kind == kinds::SERVICE_ACCOUNT && name == ACCOUNT => vec![Key::new("", json::namespace(object))],
            kind if *kind == kinds::CONFIG_MAP && name == ROOT_CA => vec![Key::new("", json::namespace(object))],
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, cache: &Cache, _now: SystemTime) -> Plan {
        let mut plan = Plan::nothing();
        if cache.get(&kinds::NAMESPACE, key).is_none_or(|namespace| json::is_deleting(namespace)) {
            return plan;
        }
        let metadata = |name: &str| json!({"name": name, "namespace": key.name});
        if cache.named(&kinds::SERVICE_ACCOUNT, &key.name, ACCOUNT).is_none() {
            let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(ACCOUNT)});
            plan.write(Write::Create { kind: &kinds::SERVICE_ACCOUNT, object, event: None });
        }
        let data = json!({"ca.crt": self.root_ca});
        match cache.named(&kinds::CONFIG_MAP, &key.name, ROOT_CA) {
            None => {
                let mut metadata = metadata(ROOT_CA);
                metadata["annotations"] = json!({"kubernetes.io/description": DESCRIPTION});
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
                plan.write(Write::Create { kind: &kinds::CONFIG_MAP, object, event: None });
            }
            Some(known) if known["data"] != data => {
                let mut object = Value::clone(known);
                object["data"] = data;
                plan.write(Write::Update { kind: &kinds::CONFIG_MAP, object });
            }
            Some(_) => {}
        }
        plan
    }
}
