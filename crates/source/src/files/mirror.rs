//! Endpoints in place of slices that nobody wrote: what the mirroring controller of a cluster does.
//!
//! Slices are what counts. Endpoints of a Service that has a slice of its own are left alone, as the proxies of a real cluster
//! leave them alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{Change, ServiceName, SliceName};

use crate::lower::NamedSlice;

#[derive(Default)]
pub(super) struct Mirror {
    /// The slices that files hold, by the Service that they belong to.
    slices: HashMap<ServiceName, HashSet<SliceName>>,
    owners: HashMap<SliceName, ServiceName>,
    /// What Endpoints say, as slices.
    endpoints: HashMap<ServiceName, Vec<NamedSlice>>,
    /// The slices that stand for Endpoints now.
    shown: HashMap<ServiceName, Vec<SliceName>>,
    /// Services whose slices or Endpoints changed since the last `settle`.
    unsettled: BTreeSet<ServiceName>,
}

impl Mirror {
    /// Takes note of a slice and of the Service that it belongs to now, if any.
    pub(super) fn slice(&mut self, name: SliceName, service: Option<&ServiceName>) {
        if self.owners.get(&name) == service {
            return;
        }
        if let Some(old) = self.owners.remove(&name) {
            if let Some(slices) = self.slices.get_mut(&old) {
                slices.remove(&name);
                if slices.is_empty() {
                    self.slices.remove(&old);
                }
            }
            self.unsettled.insert(old);
        }
        if let Some(service) = service {
            self.slices.entry(service.clone()).or_default().insert(name.clone());
            self.owners.insert(name, service.clone());
            self.unsettled.insert(service.clone());
        }
    }

    /// Takes note of Endpoints, which have the name of their Service; no slices once they are gone.
    pub(super) fn endpoints(&mut self, service: ServiceName, slices: Vec<NamedSlice>) {
        if slices.is_empty() {
            self.endpoints.remove(&service);
        } else {
            self.endpoints.insert(service.clone(), slices);
        }
        self.unsettled.insert(service);
    }

    pub(super) fn settle(&mut self, told: &mut Vec<Change>) {
        for service in std::mem::take(&mut self.unsettled) {
            let counts = !self.slices.contains_key(&service);
            let wanted = self.endpoints.get(&service).filter(|_| counts).map_or(&[][..], Vec::as_slice);
            for old in self.shown.remove(&service).unwrap_or_default() {
                if !wanted.iter().any(|(name, _)| *name == old) {
                    told.push(Change::Slice(old, None));
                }
            }
            if !wanted.is_empty() {
                told.extend(wanted.iter().map(|(name, slice)| Change::Slice(name.clone(), Some(slice.clone()))));
                self.shown.insert(service, wanted.iter().map(|(name, _)| name.clone()).collect());
            }
        }
    }
}
