//! What every object and every list says about itself.

use crate::value::{Map, Time};

message! {
    /// An object's identity, age and marks. `managedFields` and finalizers are never read.
    pub struct ObjectMeta {
        1 "name" name: Box<str>,
        3 "namespace" namespace: Box<str>,
        5 "uid" uid: Box<str>,
        6 "resourceVersion" resource_version: Box<str>,
        7 "generation" generation: i64,
        8 "creationTimestamp" creation_timestamp: Option<Time>,
        9 "deletionTimestamp" deletion_timestamp: Option<Time>,
        11 "labels" labels: Map,
        12 "annotations" annotations: Map,
        13 "ownerReferences" owner_references: Vec<OwnerReference>,
    }

    pub struct OwnerReference {
        1 "kind" kind: Box<str>,
        3 "name" name: Box<str>,
        4 "uid" uid: Box<str>,
        5 "apiVersion" api_version: Box<str>,
        6 "controller" controller: bool,
    }

    pub struct ListMeta {
        2 "resourceVersion" resource_version: Box<str>,
        3 "continue" continue_token: Box<str>,
        4 "remainingItemCount" remaining_item_count: Option<i64>,
    }

    /// One observation about an object: type, status "True", "False" or "Unknown".
    pub struct Condition {
        1 "type" condition_type: Box<str>,
        2 "status" status: Box<str>,
        5 "reason" reason: Box<str>,
        6 "message" message: Box<str>,
    }
}
