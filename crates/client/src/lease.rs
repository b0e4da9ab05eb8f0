//! Leases: which of several processes is the one that writes.
//!
//! As client-go's leader election: whether another's lease has run out is judged by how long *we* have seen it unchanged, never by comparing
//! the clocks of two machines.

use std::time::{Duration, Instant, SystemTime};

use api::{Lease, Time};
use serde_json::{Value, json};

use crate::{Client, Error};

/// One process that would hold a lease. Call [`Candidate::try_hold`] about three times per `duration`.
pub struct Candidate {
    pub client: Client,
    pub namespace: String,
    pub name: String,
    /// Unlike any other process's.
    pub identity: String,
    pub duration: Duration,
    /// An owner reference: the lease goes with that object.
    pub owner: Option<Value>,
    seen: Option<(Box<str>, Instant)>,
}

impl Candidate {
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, duration: Duration) -> Candidate {
        let (namespace, name, identity) = (namespace.to_owned(), name.to_owned(), identity.to_owned());
        Candidate { client, namespace, name, identity, duration, owner: None, seen: None }
    }

    /// Takes or renews the lease if it is free, run out or ours. True: hold it until `duration` after this call began.
    ///
    /// # Errors
    /// Those of the requests; who held the lease holds it no longer than `duration` after its last true.
    pub async fn try_hold(&mut self) -> Result<bool, Error> {
        let now = Time::from(SystemTime::now()).to_micro_string();
        let seconds = self.duration.as_secs().max(1);
        let lease: Lease = match self.client.get(&self.namespace, &self.name).await {
            Ok(lease) => lease,
            Err(error) if error.code() == Some(404) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": { "name": self.name, "namespace": self.namespace, "ownerReferences": self.owner.as_slice() },
                    "spec": {
                        "holderIdentity": self.identity, "leaseDurationSeconds": seconds,
                        "acquireTime": now, "renewTime": now, "leaseTransitions": 0,
                    },
                });
                return lost_race(self.client.create::<Lease>(&self.namespace, &lease).await);
            }
            Err(error) => return Err(error),
        };

        let holder = lease.spec.holder_identity.as_deref().unwrap_or("");
        let is_ours = holder == self.identity;
        if !is_ours && !holder.is_empty() && !self.has_run_out(&lease) {
            return Ok(false);
        }
        let mut spec = json!({ "holderIdentity": self.identity, "leaseDurationSeconds": seconds, "renewTime": now });
        if !is_ours {
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(lease.spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        let mut patch = json!({ "metadata": { "resourceVersion": lease.metadata.resource_version }, "spec": spec });
        if let Some(owner) = &self.owner {
            patch["metadata"]["ownerReferences"] = json!([owner]);
        }
        lost_race(self.client.patch::<Lease>(&self.namespace, &self.name, None, &patch).await)
    }

    fn has_run_out(&mut self, lease: &Lease) -> bool {
        let version = &lease.metadata.resource_version;
        match &self.seen {
            Some((seen, since)) if seen == version => {
                let seconds = lease.spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                since.elapsed() > seconds.map_or(self.duration, Duration::from_secs)
            }
            _ => {
                self.seen = Some((version.clone(), Instant::now()));
                false
            }
        }
    }
}

fn lost_race(written: Result<Lease, Error>) -> Result<bool, Error> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
