//! `coordination.k8s.io/v1`: Leases, by which one of several processes becomes the one that writes.

use crate::meta::ObjectMeta;
use crate::value::Time;

message! {
    pub struct Lease {
        1 "metadata" metadata: ObjectMeta,
        2 "spec" spec: LeaseSpec,
    }

    pub struct LeaseSpec {
        1 "holderIdentity" holder_identity: Option<Box<str>>,
        2 "leaseDurationSeconds" lease_duration_seconds: Option<i32>,
        3 "acquireTime" acquire_time: Option<Time>,
        4 "renewTime" renew_time: Option<Time>,
        5 "leaseTransitions" lease_transitions: Option<i32>,
    }
}
