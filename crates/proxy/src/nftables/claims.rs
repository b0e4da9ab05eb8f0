//! Which Service has a front that several want: an external address and port, or a node port, that two Services name.
//!
//! The one whose name sorts first has it, whatever the order in which they came, so that every node and every restart decides alike.

use std::collections::{BTreeSet, HashMap};

use model::node::NodeKey;

use super::want::Front;

/// The owner of each front, and who else wants it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: HashMap<Front, NodeKey>,
    /// Everyone who wants a front that more than one wants, the owner included.
    contested: HashMap<Front, BTreeSet<NodeKey>>,
}

impl Claims {
    pub(super) fn owner(&self, front: &Front) -> Option<&NodeKey> {
        self.owners.get(front)
    }

    /// Everyone who wants a front that several want; nobody where there is no contest.
    pub(super) fn contestants(&self, front: &Front) -> impl Iterator<Item = &NodeKey> {
        self.contested.get(front).into_iter().flatten()
    }

    pub(super) fn claim(&mut self, front: Front, by: &NodeKey) {
        let Some(owner) = self.owners.get(&front) else {
            self.owners.insert(front, by.clone());
            return;
        };
        if owner == by {
            return;
        }
        let all = self.contested.entry(front).or_insert_with(|| BTreeSet::from([owner.clone()]));
        all.insert(by.clone());
        self.elect(front);
    }

    pub(super) fn release(&mut self, front: Front, by: &NodeKey) {
        match self.contested.get_mut(&front) {
            Some(all) => {
                all.remove(by);
                self.elect(front);
                if self.contested.get(&front).is_some_and(|all| all.len() < 2) {
                    self.contested.remove(&front);
                }
            }
            None if self.owners.get(&front) == Some(by) => drop(self.owners.remove(&front)),
            None => {}
        }
    }

    fn elect(&mut self, front: Front) {
        if let Some(first) = self.contested.get(&front).and_then(|all| all.first()) {
            self.owners.insert(front, first.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Family, ServiceName};

    use super::super::layout::Lane;
    use super::*;

    #[test]
    fn the_first_by_name_has_it_in_any_order_and_the_next_inherits() {
        let key = |name: &str| NodeKey { service: ServiceName::new("default", name), family: Family::V4 };
        let front = Front { lane: Lane::NodePort, address: None, protocol: 6, port: 30_000 };
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
            let mut claims = Claims::default();
            for name in order {
                claims.claim(front, &key(name));
                claims.claim(front, &key(name));
            }
            for (owner, leaves) in [("a", "b"), ("a", "a"), ("c", "c")] {
                assert_eq!(claims.owner(&front), Some(&key(owner)), "{order:?}");
                claims.release(front, &key(leaves));
            }
            assert_eq!(claims.owner(&front), None);
        }
    }
}
