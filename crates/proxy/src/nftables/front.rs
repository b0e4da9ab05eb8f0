//! One front: from what the kernel holds to what is wanted.
//!
//! Growing, and replacing an endpoint in its slot, are one transaction. Shrinking is two: a packet that read the old count in the old
//! generation and looks for its slot in the new one should still find it. So the slots beyond the count stay until the caller drains
//! them, at least [`DRAIN_AFTER`] later; whoever comes later than that is led to the first slot (`class`).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use kernel::nft::{Element, Field};
use model::node::{NodeKey, Verdict};

use super::class::{Balance, Class, MAX_SLOTS, Target};
use super::maglev;
use super::plan::{Change, Place};
use super::want::{Front, Want};

/// How long a packet may be between its look at the count and its look for the slot and still get the endpoint it drew. Nothing is lost
/// with less. 200 us were enough for nearly all under 20,000 connections a second; but a packet of the machine's own can be interrupted
/// there by all that arrives meanwhile (`net.core.netdev_budget_usecs`), and a virtual CPU can be halted. Slots that wait cost nothing,
/// and one that is wanted again is there.
pub(super) const DRAIN_AFTER: Duration = Duration::from_millis(100);

/// A front as the kernel holds it. There are as many as there are ports of Services, hence shared and compact.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    /// `None`: its key leads nowhere, only slots are left to drain.
    pub(super) class: Option<Class>,
    pub(super) comment: Option<Comment>,
    /// By slot; mostly the view's own list. Those from the class's count on are draining.
    pub(super) slots: Arc<[SocketAddr]>,
    pub(super) sources: Option<Box<[IpNet]>>,
}

/// The comment of a front's element, which is only compared: its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comment(u64);

/// A slot whose endpoint changed, for whoever remembers slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) slot: usize,
    /// Where the endpoint that was in `slot` is now; `None`: it is gone.
    pub(super) to: Option<usize>,
}

// === impl Comment ===

impl Comment {
    pub(super) fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

// === impl Held ===

impl Held {
    pub(super) fn active(&self) -> usize {
        match self.class {
            Some(Class { target: Target::Slots(n), .. }) => n.into(),
            _ => 0,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.slots.len() > self.active()
    }

    /// Makes the front `want`ed by `owner` (`None`: gone), and gives the changes. They must take effect together; where there are
    /// too many for that, their order is safe as well.
    pub(super) fn turn(&mut self, front: &Front, want: Option<(&NodeKey, &Want)>) -> (Vec<Change>, Vec<Moved>) {
        let mut changes = Vec::new();
        let class = want.map(|(_, want)| want.class());
        let slots = match (class, want.map(|(_, want)| &want.verdict)) {
            (Some(Class { balance: Balance::SourceHash, .. }), Some(verdict)) => maglev::table(verdict.endpoints()).into(),
            (_, Some(Verdict::To(wanted))) if wanted.len() <= MAX_SLOTS => arrange(&self.slots, wanted),
            (_, Some(Verdict::To(wanted))) => arrange(&self.slots, &wanted[..MAX_SLOTS].into()),
            _ => Arc::default(),
        };
        let moved = self.moved(&slots);
        for (slot, endpoint) in slots.iter().enumerate() {
            match self.slots.get(slot) {
                Some(held) if held == endpoint => continue,
                Some(held) => changes.push(Change::Delete(Place::Backends(front.lane), backend(front, slot, *held))),
                None => {}
            }
            changes.push(Change::Add(Place::Backends(front.lane), backend(front, slot, *endpoint)));
        }
        self.slots = match self.slots.get(slots.len()..) {
            Some(draining @ [_, ..]) => slots.iter().chain(draining).copied().collect(),
            _ => slots,
        };
        let sources = want.and_then(|(_, want)| Some(want.sources.as_ref()?.clone().into_boxed_slice()));
        self.turn_sources(front, sources, &mut changes);
        let text = want.map(|(owner, want)| want.comment(owner));
        let comment = text.as_deref().map(Comment::of);
        if (self.class, self.comment) != (class, comment) {
            let place = Place::Services(front.lane);
            if let Some(held) = self.class {
                changes.push(Change::Delete(place, service(front, held, None)));
            }
            if let Some(class) = class {
                changes.push(Change::Add(place, service(front, class, text.as_deref())));
            }
            (self.class, self.comment) = (class, comment);
        }
        (changes, moved)
    }

    /// Deletes the slots beyond the count.
    pub(super) fn drain(&mut self, front: &Front) -> Vec<Change> {
        let active = self.active();
        let slots = std::mem::take(&mut self.slots);
        let (kept, gone) = slots.split_at(active.min(slots.len()));
        self.slots = kept.into();
        gone.iter().enumerate().map(|(i, e)| Change::Delete(Place::Backends(front.lane), backend(front, active + i, *e))).collect()
    }

    /// Narrowing closes before it opens, widening opens before it closes; both are one transaction unless there are thousands.
    fn turn_sources(&mut self, front: &Front, sources: Option<Box<[IpNet]>>, changes: &mut Vec<Change>) {
        if self.sources == sources {
            return;
        }
        let elements = |of: &Option<Box<[IpNet]>>| of.as_deref().map_or_else(Vec::new, |nets| front.source_elements(nets));
        let (old, new) = (elements(&self.sources), elements(&sources));
        let gate = || Element::new(front.key());
        if self.sources.is_some() && sources.is_none() {
            changes.push(Change::Delete(Place::Firewalled, gate()));
        }
        changes.extend(old.iter().filter(|e| !new.contains(e)).map(|e| Change::Delete(Place::AllowedSources, e.clone())));
        changes.extend(new.iter().filter(|e| !old.contains(e)).map(|e| Change::Add(Place::AllowedSources, e.clone())));
        if self.sources.is_none() && sources.is_some() {
            changes.push(Change::Add(Place::Firewalled, gate()));
        }
        self.sources = sources;
    }

    /// What happened to each active slot.
    fn moved(&self, slots: &[SocketAddr]) -> Vec<Moved> {
        if self.class.is_none_or(|class| class.sticky.is_none()) {
            return Vec::new(); // nobody remembers any
        }
        let active = &self.slots[..self.active().min(self.slots.len())];
        let changed = active.iter().enumerate().filter(|(slot, held)| slots.get(*slot) != Some(held));
        changed.map(|(slot, held)| Moved { slot, to: slots.iter().position(|endpoint| endpoint == held) }).collect()
    }
}

/// Puts `wanted` endpoints into slots so that as few as possible change: who has a slot below the new count keeps it, the others fill
/// the holes. Where that is their order already, it is the very list.
fn arrange(held: &[SocketAddr], wanted: &Arc<[SocketAddr]>) -> Arc<[SocketAddr]> {
    // The common cases, and those that should cost nothing.
    if held.is_empty() || held.starts_with(wanted) {
        return wanted.clone();
    }
    let mut left: HashSet<SocketAddr> = wanted.iter().copied().collect();
    let kept: Vec<Option<SocketAddr>> =
        (0..wanted.len()).map(|slot| held.get(slot).copied().filter(|endpoint| left.remove(endpoint))).collect();
    // Those that lose a slot beyond the count go first, then the new ones in their order: equal inputs give equal slots.
    let displaced = held.iter().skip(wanted.len());
    let mut fill = displaced.chain(wanted.iter()).filter(|endpoint| left.remove(*endpoint)).copied().collect::<Vec<_>>().into_iter();
    let arranged: Arc<[SocketAddr]> = kept.into_iter().map_while(|slot| slot.or_else(|| fill.next())).collect();
    if arranged == *wanted { wanted.clone() } else { arranged }
}

pub(super) fn backend(front: &Front, slot: usize, endpoint: SocketAddr) -> Element {
    Element::new(front.slot_key(slot)).to([Field::ip(endpoint.ip()), Field::Port(endpoint.port())])
}

fn service(front: &Front, class: Class, comment: Option<&str>) -> Element {
    let element = Element::new(front.key()).to([Field::ClassId(class.code())]);
    match comment {
        Some(comment) => element.comment(comment),
        None => element,
    }
}

#[cfg(test)]
mod tests;
