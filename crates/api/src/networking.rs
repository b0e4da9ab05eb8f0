//! `networking.k8s.io/v1`: Ingresses, their classes, and the ranges that ClusterIPs come from.

use crate::core::LoadBalancerStatus;
use crate::error::Fault;
use crate::meta::{Condition, ObjectMeta};
use crate::protobuf::{Field, Reader, Wire};

message! {
    pub struct Ingress {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: IngressSpec,
        3 "status" status: IngressStatus,
    }

    pub struct IngressSpec {
        1 "defaultBackend" default_backend: Option<IngressBackend>,
        2 "tls" tls: Vec<IngressTls>,
        3 "rules" rules: Vec<IngressRule>,
        4 "ingressClassName" ingress_class_name: Option<Box<str>>,
    }

    pub struct IngressBackend {
        3 "resource" resource: Option<TypedLocalObjectReference>,
        4 "service" service: Option<IngressServiceBackend>,
    }

    pub struct TypedLocalObjectReference {
        1 "apiGroup" api_group: Option<Box<str>>,
        2 "kind" kind: Box<str>,
        3 "name" name: Box<str>,
    }

    pub struct IngressServiceBackend {
        1 "name" name: Box<str>,
        2 "port" port: ServiceBackendPort,
    }

    /// One of the two is set.
    pub struct ServiceBackendPort {
        1 "name" name: Box<str>,
        2 "number" number: i32,
    }

    pub struct IngressTls {
        1 "hosts" hosts: Vec<Box<str>>,
        2 "secretName" secret_name: Box<str>,
    }

    pub struct HttpIngressRuleValue {
        1 "paths" paths: Vec<HttpIngressPath>,
    }

    pub struct HttpIngressPath {
        1 "path" path: Box<str>,
        2 "backend" backend: IngressBackend,
        /// Required by the server; a file may lack it.
        3 "pathType" path_type: Option<Box<str>>,
    }

    pub struct IngressStatus {
        1 "loadBalancer" load_balancer: LoadBalancerStatus,
    }

    pub struct IngressClass {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: IngressClassSpec,
    }

    pub struct IngressClassSpec {
        1 "controller" controller: Box<str>,
        2 "parameters" parameters: Option<IngressClassParametersReference>,
    }

    pub struct IngressClassParametersReference {
        1 "apiGroup" api_group: Option<Box<str>>,
        2 "kind" kind: Box<str>,
        3 "name" name: Box<str>,
        4 "scope" scope: Option<Box<str>>,
        5 "namespace" namespace: Option<Box<str>>,
    }

    pub struct ServiceCidr {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: ServiceCidrSpec,
        3 "status" status: ServiceCidrStatus,
    }

    pub struct ServiceCidrSpec {
        1 "cidrs" cidrs: Vec<Box<str>>,
    }

    pub struct ServiceCidrStatus {
        1 "conditions" conditions: Vec<Condition>,
    }
}

/// The rules of one host. Not in the table above: JSON shows `http` here, protobuf wraps it in an embedded `IngressRuleValue`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct IngressRule {
    #[serde(deserialize_with = "crate::json::or_default")]
    pub host: Box<str>,
    #[serde(deserialize_with = "crate::json::or_default")]
    pub http: Option<HttpIngressRuleValue>,
}

impl Field for IngressRule {
    fn merge(&mut self, wire: Wire<'_>) -> Result<(), Fault> {
        for entry in Reader::new(wire.bytes()?) {
            match entry? {
                (1, wire) => self.host.merge(wire).map_err(|fault| fault.inside("host"))?,
                (2, wire) => {
                    for entry in Reader::new(wire.bytes()?) {
                        if let (1, wire) = entry? {
                            self.http.merge(wire).map_err(|fault| fault.inside("http"))?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
