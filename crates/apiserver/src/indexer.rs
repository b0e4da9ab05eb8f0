//! What the store is told of each collection's objects: by what they are selected, and which names they claim.

use serde_json::Value;

use crate::hooks::{self, Hooks};
use crate::kinds::{CollectionId, Kind, Kinds};
use crate::selectors::{Index, Selectable};
use crate::store::Indexer;

/// By collection. Two kinds of one collection are selected alike, and claim alike.
pub(crate) struct ByKind(Vec<(&'static Selectable, &'static Hooks)>);

// === impl ByKind ===

impl ByKind {
    pub(crate) fn of(kinds: &Kinds) -> ByKind {
        let first = |at| kinds.iter().find(|kind| kind.stored == Some(CollectionId(at))).expect("BUG: a collection of no kind");
        let read = |kind: &Kind| (Selectable::of(&kind.gvk), hooks::of(kind));
        ByKind((0..kinds.collections().len()).map(|at| read(first(at))).collect())
    }
}

impl Indexer for ByKind {
    fn index(&self, collection: CollectionId, object: &Value) -> Index {
        self.0[collection.0].0.index(object)
    }

    fn claims(&self, collection: CollectionId, object: &Value) -> Vec<String> {
        (self.0[collection.0].1.claims)(object)
    }
}
