//! Entries by their key, in many small shards, each copied only when it is written to (as [`super::shards`] does for other tables).
//!
//! What an answer costs at a cluster's size is the memory it waits for, so a look-up is two steps: to a slot, which tells the entry
//! apart by its hash, and to the entry, whose own key settles it. Must not know what else an entry holds.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::Entry;
use super::shards::{SHARDS, Seed};

#[derive(Clone)]
pub(crate) struct Book {
    shards: Box<[Arc<Table>]>,
    seed: Seed,
}

/// Open addressing with linear probing: the next slot is mostly in the same cache line. A power of two of slots, or none; at least
/// a quarter of them empty, so that probing ends.
#[derive(Clone, Default)]
struct Table {
    slots: Box<[Option<Slot>]>,
    n_entries: usize,
}

#[derive(Clone)]
struct Slot {
    /// Of the key's hash: which shard, where in it the slot wants to be, and more bits to tell it from others.
    tag: u32,
    entry: Arc<Entry>,
}

// === impl Book ===

impl Book {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Arc::default(); SHARDS].into(), seed: Seed::new() }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        let tag = self.tag(key);
        let table = &self.shards[shard(tag)];
        table.find(tag, key).and_then(|at| table.slots[at].as_ref()).map(|slot| &slot.entry)
    }

    /// What an entry of this key can be found by, too ([`Book::tagged`]): the same as long as the book is changed and not made anew.
    pub(crate) fn tag(&self, key: &[u8]) -> u32 {
        self.seed.hash_one(key) as u32
    }

    /// The entries of a tag: mostly one, and one that was meant.
    pub(crate) fn tagged(&self, tag: u32) -> impl Iterator<Item = &Arc<Entry>> {
        let slots = &self.shards[shard(tag)].slots;
        let wanted = tag as usize & slots.len().wrapping_sub(1);
        let (front, back) = slots.split_at(wanted.min(slots.len()));
        back.iter().chain(front).map_while(Option::as_ref).filter(move |slot| slot.tag == tag).map(|slot| &slot.entry)
    }

    /// Takes the place of the entry of the same key, if there is one.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) {
        let tag = self.tag(&entry.key);
        Arc::make_mut(&mut self.shards[shard(tag)]).insert(Slot { tag, entry });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let tag = self.tag(key);
        if let Some(at) = self.shards[shard(tag)].find(tag, key) {
            Arc::make_mut(&mut self.shards[shard(tag)]).remove(at);
        }
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.shards.iter().flat_map(|table| table.slots.iter().flatten()).map(|slot| &slot.entry)
    }
}

/// The upper bits: the slot is chosen by the lower ones.
fn shard(tag: u32) -> usize {
    tag as usize / (1 << 25) % SHARDS
}

// === impl Table ===

impl Table {
    fn find(&self, tag: u32, key: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = tag as usize & mask;
        while let Some(slot) = &self.slots[at] {
            if slot.tag == tag && *slot.entry.key == *key {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn insert(&mut self, new: Slot) {
        if let Some(at) = self.find(new.tag, &new.entry.key) {
            self.slots[at] = Some(new);
            return;
        }
        if (self.n_entries + 1) * 4 > self.slots.len() * 3 {
            let grown = vec![None; (self.slots.len() * 2).max(4)].into();
            let old = std::mem::replace(&mut self.slots, grown);
            old.into_iter().flatten().for_each(|slot| self.put(slot));
        }
        self.put(new);
        self.n_entries += 1;
    }

    /// Into the first empty slot from where it wants to be.
    fn put(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = new.tag as usize & mask;
        while self.slots[at].is_some() {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some(new);
    }

    /// Empties a slot, then puts what stood behind it anew: a gap would end the search for it too early.
    fn remove(&mut self, at: usize) {
        let mask = self.slots.len() - 1;
        self.slots[at] = None;
        self.n_entries -= 1;
        let mut next = (at + 1) & mask;
        while let Some(slot) = self.slots[next].take() {
            self.put(slot);
            next = (next + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize) -> Arc<Entry> {
        Arc::new(Entry::nameless(format!("{n}").as_bytes()))
    }

    fn has(book: &Book, n: usize) -> bool {
        book.get(format!("{n}").as_bytes()).is_some_and(|entry| *entry.key == *format!("{n}").as_bytes())
    }

    #[test]
    fn entries_come_go_and_are_found_and_an_older_book_keeps_its_own() {
        let mut book = Book::new();
        (0..20_000).for_each(|n| book.insert(entry(n)));
        (0..20_000).for_each(|n| book.insert(entry(n)));
        let before = book.clone();
        (0..20_000).filter(|n| n % 3 != 0).for_each(|n| book.remove(format!("{n}").as_bytes()));
        (20_000..25_000).for_each(|n| book.insert(entry(n)));
        for n in 0..25_000 {
            assert_eq!(has(&book, n), n % 3 == 0 || n >= 20_000, "{n}");
            assert_eq!(has(&before, n), n < 20_000, "{n} before");
            assert_eq!(
                book.tagged(book.tag(format!("{n}").as_bytes())).any(|one| *one.key == *format!("{n}").as_bytes()),
                has(&book, n),
                "{n}"
            );
        }
        assert_eq!((book.iter().count(), before.iter().count()), (6_667 + 5_000, 20_000));
        assert_eq!(size_of::<Option<Slot>>(), 16, "four slots in a cache line");
    }
}
