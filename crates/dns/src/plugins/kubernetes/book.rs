//! Entries by their key, in many small shards, each copied only when it is written to (as [`super::shards`] does for other tables).
//!
//! What an answer costs at a cluster's size is the memory it waits for, so a look-up is two steps: to a slot, which tells the entry
//! apart by its hash, and to the entry, whose own key settles it. Must not know what else an entry holds.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::Entry;
use super::probing::{Table, Tagged};
use super::shards::{SHARDS, Seed};

#[derive(Clone)]
pub(crate) struct Book {
    shards: Box<[Arc<Table<Slot>>]>,
    seed: Seed,
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
        self.tagged(self.tag(key)).find(|entry| *entry.key == *key)
    }

    /// What an entry of this key can be found by, too ([`Book::tagged`]): the same as long as the book is changed and not made anew.
    pub(crate) fn tag(&self, key: &[u8]) -> u32 {
        self.seed.hash_one(key) as u32
    }

    /// The entries of a tag: mostly one, and one that was meant.
    pub(crate) fn tagged(&self, tag: u32) -> impl Iterator<Item = &Arc<Entry>> {
        self.shards[shard(tag)].of(tag).map(|slot| &slot.entry)
    }

    /// Takes the place of the entry of the same key, if there is one.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) {
        let tag = self.tag(&entry.key);
        let table = Arc::make_mut(&mut self.shards[shard(tag)]);
        match table.get_mut(tag, |slot| *slot.entry.key == *entry.key) {
            Some(slot) => slot.entry = entry,
            None => table.insert(Slot { tag, entry }),
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let tag = self.tag(key);
        let is_meant = |slot: &Slot| *slot.entry.key == *key;
        if self.shards[shard(tag)].of(tag).any(is_meant) {
            Arc::make_mut(&mut self.shards[shard(tag)]).remove(tag, is_meant);
        }
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.shards.iter().flat_map(|table| table.iter()).map(|slot| &slot.entry)
    }
}

impl Tagged for Slot {
    fn tag(&self) -> u32 {
        self.tag
    }
}

/// The upper bits: the slot is chosen by the lower ones.
fn shard(tag: u32) -> usize {
    tag as usize / (1 << 25) % SHARDS
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
