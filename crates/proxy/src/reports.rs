//! What the modes find wrong, gathered by Service and told to whoever reads.
//!
//! A slow reader, or none, never holds up a sync: what finds no room waits here, the newest word about each object, and is sent with
//! the next sync.

use std::collections::{BTreeMap, BTreeSet};

use model::node::NodeKey;
use model::{Family, Issue, ObjectRef, ServiceName};
use tokio::sync::mpsc;

/// How many reports wait for their reader.
pub(crate) const QUEUE: usize = 1_024;

/// All issues of one object as they are now; none: it is well again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub object: ObjectRef,
    pub issues: Vec<Issue>,
}

pub(crate) struct Reports {
    to: mpsc::Sender<Report>,
    /// Objects with issues.
    known: BTreeMap<ServiceName, BTreeMap<Family, Vec<Issue>>>,
    unsent: BTreeSet<ServiceName>,
}

impl Reports {
    pub(crate) fn new(to: mpsc::Sender<Report>) -> Self {
        Self { to, known: BTreeMap::new(), unsent: BTreeSet::new() }
    }

    /// Everything is about to be told anew: what is not is no issue any more.
    pub(crate) fn restart(&mut self) {
        self.unsent.extend(std::mem::take(&mut self.known).into_keys());
    }

    pub(crate) fn set(&mut self, NodeKey { service, family }: NodeKey, issues: Vec<Issue>) {
        if issues.is_empty() {
            let Some(families) = self.known.get_mut(&service) else { return };
            if families.remove(&family).is_none() {
                return;
            }
            if families.is_empty() {
                self.known.remove(&service);
            }
        } else {
            let families = self.known.entry(service.clone()).or_default();
            if families.get(&family) == Some(&issues) {
                return;
            }
            families.insert(family, issues);
        }
        self.unsent.insert(service);
    }

    /// Sends as much as there is room for.
    pub(crate) fn send(&mut self) {
        while let Some(service) = self.unsent.pop_first() {
            let mut issues: Vec<Issue> = self.known.get(&service).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect();
            issues.sort();
            issues.dedup();
            match self.to.try_send(Report { object: service.object(), issues }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.unsent.insert(service);
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return self.unsent.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Reason;

    use super::*;

    #[test]
    fn the_last_word_about_an_object_is_told_once_there_is_room() {
        let (to, mut from) = mpsc::channel(1);
        let mut reports = Reports::new(to);
        let key = |name: &str, family| NodeKey { service: ServiceName::new("default", name), family };
        let issue = |message: &str| Issue::new("spec", Reason::Conflict, message);
        reports.set(key("a", Family::V4), vec![issue("four")]);
        reports.set(key("a", Family::V6), vec![issue("six")]);
        reports.set(key("b", Family::V4), vec![issue("old")]);
        reports.set(key("c", Family::V4), Vec::new());
        reports.send();
        reports.set(key("b", Family::V4), vec![issue("new")]);
        let mut said = Vec::new();
        while let Ok(report) = from.try_recv() {
            let messages: Vec<String> = report.issues.iter().map(|issue| issue.message.to_string()).collect();
            said.push(format!("{}: {}", report.object.name, messages.join(", ")));
            reports.send();
        }
        assert_eq!(said, ["a: four, six", "b: new"]);
        reports.restart();
        reports.set(key("b", Family::V4), vec![issue("new")]);
        reports.send();
        assert_eq!(from.try_recv().map(|report| report.issues), Ok(Vec::new()), "a is well again");
    }
}
