//! A table of slots that are told apart by a tag of their own: open addressing with linear probing, as the next slot is mostly in the
//! same cache line. Must not know what a slot leads to.

/// What a slot holds.
pub(super) trait Tagged {
    /// Where it wants to be, by the lower bits; equal ones may be there more than once.
    fn tag(&self) -> u32;
}

/// A power of two of slots, or none; at least a quarter of them empty, so that probing ends.
#[derive(Clone)]
pub(super) struct Table<S> {
    slots: Box<[Option<S>]>,
    n_held: usize,
}

impl<S: Tagged + Clone> Table<S> {
    /// What is held under a tag.
    pub(super) fn of(&self, tag: u32) -> impl Iterator<Item = &S> {
        let (front, back) = self.slots.split_at(self.start(tag));
        back.iter().chain(front).map_while(Option::as_ref).filter(move |slot| slot.tag() == tag)
    }

    /// Everything, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().flatten()
    }

    /// The first of this tag that is the one meant.
    pub(super) fn get_mut(&mut self, tag: u32, is_meant: impl Fn(&S) -> bool) -> Option<&mut S> {
        let at = self.find(tag, is_meant)?;
        self.slots[at].as_mut()
    }

    pub(super) fn insert(&mut self, new: S) {
        if (self.n_held + 1) * 4 > self.slots.len() * 3 {
            let grown = vec![None; (self.slots.len() * 2).max(4)].into();
            let old = std::mem::replace(&mut self.slots, grown);
            old.into_iter().flatten().for_each(|slot| self.put(slot));
        }
        self.put(new);
        self.n_held += 1;
    }

    /// Empties the slot that is meant, then puts what stood behind it anew: a gap would end the search for it too early.
    pub(super) fn remove(&mut self, tag: u32, is_meant: impl Fn(&S) -> bool) {
        let Some(at) = self.find(tag, is_meant) else { return };
        let mask = self.slots.len() - 1;
        self.slots[at] = None;
        self.n_held -= 1;
        let mut next = (at + 1) & mask;
        while let Some(slot) = self.slots[next].take() {
            self.put(slot);
            next = (next + 1) & mask;
        }
    }

    fn find(&self, tag: u32, is_meant: impl Fn(&S) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = self.start(tag);
        while let Some(slot) = &self.slots[at] {
            if slot.tag() == tag && is_meant(slot) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Into the first empty slot from where it wants to be.
    fn put(&mut self, new: S) {
        let mask = self.slots.len() - 1;
        let mut at = self.start(new.tag());
        while self.slots[at].is_some() {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some(new);
    }

    fn start(&self, tag: u32) -> usize {
        self.slots.len().checked_sub(1).map_or(0, |mask| tag as usize & mask)
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { slots: Box::default(), n_held: 0 }
    }
}
