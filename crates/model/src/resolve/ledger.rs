//! The ledger of issues: who told what about which object, so that no teller overwrites another.
//!
//! An object's issues come from several places (its lowering, its own resolve, a host that it shares with others). Each of them is
//! a *subject* that tells all it has at once; the published `Issues` hold the union per object. A subject without issues costs one
//! look-up.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::IngressName;
use crate::issue::{Issue, Issues};
use crate::names::{ObjectRef, ServiceName, SliceName};
use crate::route::HostPattern;

/// Whose resolve it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// Lowering or decoding of this object, told by `source`.
    Lowering(ObjectRef),
    Service(ServiceName),
    Slice(SliceName),
    Ingress(IngressName),
    Host(HostPattern),
}

pub(super) type Told = Vec<(ObjectRef, Issue)>;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Sorted, each once; no entry is empty.
    by_subject: BTreeMap<Subject, Told>,
    by_object: BTreeMap<ObjectRef, BTreeSet<Subject>>,
    /// The union per object: what is published.
    issues: Issues,
    changed: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Puts `told` in place of all that `subject` told before.
    pub(super) fn tell(&mut self, subject: Subject, mut told: Told) {
        told.sort();
        told.dedup();
        let before = if told.is_empty() {
            let Some(before) = self.by_subject.remove(&subject) else { return };
            before
        } else {
            if self.by_subject.get(&subject) == Some(&told) {
                return;
            }
            self.by_subject.insert(subject.clone(), told.clone()).unwrap_or_default()
        };
        let now: BTreeSet<&ObjectRef> = told.iter().map(|(object, _)| object).collect();
        for (object, _) in before.iter().filter(|(object, _)| !now.contains(object)) {
            if let Some(subjects) = self.by_object.get_mut(object) {
                subjects.remove(&subject);
                if subjects.is_empty() {
                    self.by_object.remove(object);
                }
            }
        }
        for object in &now {
            self.by_object.entry((*object).clone()).or_default().insert(subject.clone());
        }
        for object in before.iter().map(|(object, _)| object).chain(now.iter().copied()).collect::<BTreeSet<_>>() {
            let union = self.union(object);
            self.changed |= self.issues.set(object.clone(), union);
        }
    }

    /// Whether the published issues changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is known now; cheap to clone.
    pub(super) fn issues(&self) -> &Issues {
        &self.issues
    }

    fn union(&self, object: &ObjectRef) -> Vec<Issue> {
        let subjects = self.by_object.get(object).into_iter().flatten();
        subjects
            .filter_map(|subject| self.by_subject.get(subject))
            .flat_map(|told| {
                let start = told.partition_point(|(other, _)| other < object);
                told[start..].iter().take_while(|(other, _)| other == object).map(|(_, issue)| issue.clone())
            })
            .collect()
    }
}
