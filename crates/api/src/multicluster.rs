//! `multicluster.x-k8s.io/v1alpha1`: services imported from other clusters (KEP-1645). A CRD, hence JSON only.

use crate::meta::ObjectMeta;

message! {
    pub struct ServiceImport {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: ServiceImportSpec,
    }

    pub struct ServiceImportSpec {
        1 "ports" ports: Vec<ImportedPort>,
        2 "ips" ips: Vec<Box<str>>,
        /// `ClusterSetIP` or `Headless`.
        3 "type" import_type: Box<str>,
        4 "sessionAffinity" session_affinity: Box<str>,
    }

    pub struct ImportedPort {
        1 "name" name: Box<str>,
        2 "protocol" protocol: Box<str>,
        3 "port" port: i32,
        4 "appProtocol" app_protocol: Option<Box<str>>,
    }
}
