//! A view's map: persistent, stamped with a revision, and able to say what changed since an older one.
//!
//! A change copies a path of the map, never the map; a reader that holds an old view keeps it whole. Must not know what it holds.

use std::hash::Hash;

use rpds::{HashTrieMapSync, ListSync};

use crate::names::Revision;

/// How many changes one half of the history holds: a sink that fell further behind walks everything.
/// 2,048: half a second of one change every 250 us, and 100 kB at the most.
const HISTORY: usize = 2_048;

/// An immutable map from `K` to `V`; cloning it costs a few reference counts.
#[derive(Clone, Debug)]
pub struct View<K: Eq + Hash, V> {
    revision: Revision,
    map: HashTrieMapSync<K, V>,
    recent: History<K>,
    older: History<K>,
}

/// What a reader that knows the state at some revision has to look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<K> {
    /// These keys were written or removed; each once, newest first.
    Keys(Vec<K>),
    /// Too long ago to say: everything.
    All,
}

/// Changes, newest first, all of them later than `after`.
#[derive(Clone, Debug)]
struct History<K> {
    after: Revision,
    changes: ListSync<(Revision, K)>,
}

// === impl Changed ===

impl<K: Eq + Hash + Clone> Changed<K> {
    /// The keys to look at again: these, or if nobody remembers, all that `view` has and those of `held` that it has no longer.
    pub fn or_all<'a, V>(self, view: &'a View<K, V>, held: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        match self {
            Changed::Keys(keys) => keys,
            Changed::All => {
                let gone = held.into_iter().filter(|key| view.get(key).is_none());
                view.iter().map(|(key, _)| key).chain(gone).cloned().collect()
            }
        }
    }
}

// === impl View ===

impl<K: Eq + Hash + Clone, V> View<K, V> {
    pub fn new() -> Self {
        Self::at(Revision(0))
    }

    /// An empty view that remembers nothing before `revision`.
    pub fn at(revision: Revision) -> Self {
        let empty = || History { after: revision, changes: ListSync::new_sync() };
        Self { revision, map: HashTrieMapSync::new_sync(), recent: empty(), older: empty() }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub fn len(&self) -> usize {
        self.map.size()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// Writes one entry as a change of `revision`, which must not be older than the last.
    pub fn insert(&mut self, revision: Revision, key: K, value: V) {
        self.note(revision, key.clone());
        self.map.insert_mut(key, value);
    }

    /// Removes one entry; tells whether it was there. An absent key is no change.
    pub fn remove(&mut self, revision: Revision, key: &K) -> bool {
        let was_there = self.map.remove_mut(key);
        if was_there {
            self.note(revision, key.clone());
        }
        was_there
    }

    /// Writes the entry, or removes it if there is no value any more.
    pub fn put(&mut self, revision: Revision, key: K, value: Option<V>) {
        match value {
            Some(value) => self.insert(revision, key, value),
            None => {
                self.remove(revision, &key);
            }
        }
    }

    /// The keys that changed after `revision`.
    pub fn since(&self, revision: Revision) -> Changed<K> {
        if revision < self.older.after {
            return Changed::All;
        }
        let mut seen = std::collections::HashSet::new();
        let keys = self
            .recent
            .changes
            .iter()
            .chain(self.older.changes.iter())
            .take_while(|(at, _)| *at > revision)
            .filter(|(_, key)| seen.insert(key))
            .map(|(_, key)| key.clone())
            .collect();
        Changed::Keys(keys)
    }

    fn note(&mut self, revision: Revision, key: K) {
        debug_assert!(revision >= self.revision, "BUG: a view's revisions never go back");
        if self.recent.changes.len() >= HISTORY {
            // A reader at `self.revision` has seen all of what moves into `older`.
            let fresh = History { after: self.revision, changes: ListSync::new_sync() };
            self.older = std::mem::replace(&mut self.recent, fresh);
        }
        self.revision = revision;
        self.recent.changes.push_front_mut((revision, key));
    }
}

impl<K: Eq + Hash + Clone, V> Default for View<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(changes: std::ops::RangeInclusive<u64>) -> View<u64, u64> {
        let mut view = View::new();
        for revision in changes {
            view.insert(Revision(revision), revision % 100, revision);
        }
        view
    }

    #[test]
    fn tells_what_changed_since_newest_first_and_each_once() {
        let mut view = view(1..=3);
        view.insert(Revision(4), 2, 0);
        view.remove(Revision(5), &1);
        view.remove(Revision(6), &77);
        assert_eq!(view.since(Revision(1)), Changed::Keys(vec![1, 2, 3]));
        assert_eq!(view.since(Revision(4)), Changed::Keys(vec![1]));
        assert_eq!(view.since(Revision(5)), Changed::Keys(vec![]));
        assert_eq!(view.revision(), Revision(5), "removing what is absent is no change");
    }

    #[test]
    fn who_looks_at_everything_also_looks_at_what_is_gone_and_each_once() {
        let view = view(1..=2);
        let mut keys = Changed::All.or_all(&view, &[2, 7]);
        keys.sort_unstable();
        assert_eq!(keys, [1, 2, 7]);
        assert_eq!(Changed::Keys(vec![9]).or_all(&view, &[2, 7]), [9]);
    }

    #[test]
    fn a_reader_too_far_behind_looks_at_everything() {
        let last = 3 * HISTORY as u64;
        let view = view(1..=last);
        assert_eq!(view.since(Revision(1)), Changed::All);
        let Changed::Keys(keys) = view.since(Revision(last - HISTORY as u64)) else { panic!("history lost too early") };
        assert_eq!(keys.len(), 100);
    }

    #[test]
    fn many_changes_of_one_revision_are_told_together_or_not_at_all() {
        let mut view: View<u64, u64> = View::new();
        for key in 0..5 * HISTORY as u64 {
            view.insert(Revision(1), key, 0);
        }
        assert_eq!(view.since(Revision(0)), Changed::All);
        assert_eq!(view.since(Revision(1)), Changed::Keys(vec![]));
    }

    #[test]
    fn a_reader_who_applies_what_changed_has_what_there_is_however_late_it_comes() {
        let mut random = crate::random::Random::new(0);
        let mut below = |n: usize| random.below(n) as u64;
        let (mut view, mut behind, mut n_whole) = (View::new(), 0, 0);
        let mut read = (Revision(0), std::collections::HashMap::new());
        for revision in 1..=30_000 {
            for _ in 0..below(4) {
                let key = below(300);
                view.put(Revision(revision), key, (below(3) > 0).then_some(revision));
                behind += 1;
            }
            if below(1_500) > 0 && behind < 3 * HISTORY as u64 {
                continue;
            }
            match view.since(read.0) {
                Changed::Keys(keys) => {
                    for key in keys {
                        match view.get(&key) {
                            Some(value) => read.1.insert(key, *value),
                            None => read.1.remove(&key),
                        };
                    }
                }
                Changed::All => {
                    assert!(behind >= HISTORY as u64, "history lost after {behind} changes");
                    n_whole += 1;
                    read.1 = view.iter().map(|(key, value)| (*key, *value)).collect();
                }
            }
            assert_eq!(read.1, view.iter().map(|(key, value)| (*key, *value)).collect());
            (read.0, behind) = (Revision(revision), 0);
        }
        assert!(n_whole > 0, "no reader came too late");
    }

    #[test]
    fn an_older_view_keeps_its_entries() {
        let before = view(1..=3);
        let mut after = before.clone();
        after.insert(Revision(9), 1, 900);
        assert_eq!((before.get(&1), after.get(&1)), (Some(&1), Some(&900)));
    }
}
