//! The table of kinds: what is served, under which path, and where it is stored.
//!
//! Owns the run-time table, read once from the embedded discovery data; the generic path asks it instead of knowing kinds. A kind that is not in
//! the table does not exist: not in discovery, not by path. Must not know what a kind does besides: that stands in its hooks.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::schema::{DISCOVERY, Gvk};

/// A collection's place in the table of collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub usize);

/// One served resource.
#[derive(Debug)]
pub struct Kind {
    pub gvk: Gvk,
    /// `services`.
    pub resource: String,
    /// `services`, `deployments.apps`: as error texts have it.
    pub qualified: String,
    /// `api/v1/services`: as tables have it.
    pub collection: String,
    pub singular: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// None: it is only ever created and answered (reviews, bindings).
    pub(crate) stored: Option<CollectionId>,
}

#[derive(Debug)]
pub struct Subresource {
    pub name: String,
    pub gvk: Gvk,
    pub verbs: Vec<String>,
}

/// All served kinds. Cheap to share, never changes.
#[derive(Debug)]
pub struct Kinds {
    kinds: Vec<Arc<Kind>>,
    /// Group, version and resource.
    by_path: HashMap<(String, String, String), usize>,
    collections: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    group: String,
    version: String,
    resource: String,
    response_kind: EntryKind,
    scope: String,
    singular_resource: String,
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<EntrySubresource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntrySubresource {
    subresource: String,
    response_kind: EntryKind,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct EntryKind {
    group: String,
    version: String,
    kind: String,
}

/// What the server has no answer for and so does not offer.
const NOT_SERVED: &[&str] = &["proxy", "ephemeralcontainers", "resize"];

// === impl Kinds ===

impl Kinds {
    pub fn load() -> Kinds {
        let entries: Vec<Entry> = serde_json::from_str(DISCOVERY).expect("BUG: the embedded discovery is no JSON of its shape");
        let mut table = Kinds { kinds: Vec::new(), by_path: HashMap::new(), collections: Vec::new() };
        for entry in entries {
            table.add(entry);
        }
        table
    }

    fn add(&mut self, entry: Entry) {
        let group_version = (entry.group.clone(), entry.version.clone());
        let gvk = |kind: EntryKind| match kind.version.is_empty() {
            // A core kind is left out where it is the resource's own.
            true => Gvk::new(&entry.group, &entry.version, &kind.kind),
            false => Gvk::new(&kind.group, &kind.version, &kind.kind),
        };
        let gvk_of_subresource = |kind: EntryKind| gvk(kind);
        let subresources = entry.subresources.into_iter().filter(|sub| !NOT_SERVED.contains(&sub.subresource.as_str()));
        let subresources = subresources
            .map(|sub| Subresource { name: sub.subresource, gvk: gvk_of_subresource(sub.response_kind), verbs: sub.verbs })
            .collect();
        let gvk = gvk(entry.response_kind);
        let qualified = if entry.group.is_empty() { entry.resource.clone() } else { format!("{}.{}", entry.resource, entry.group) };
        let root =
            if entry.group.is_empty() { format!("api/{}", entry.version) } else { format!("apis/{}/{}", entry.group, entry.version) };
        let stored = entry.verbs.iter().any(|verb| verb == "list").then(|| {
            // Both kinds of Event are one collection, stored as the core one.
            let name = if gvk.kind == "Event" { "events".to_owned() } else { qualified.clone() };
            let at = self.collections.iter().position(|known| *known == name).unwrap_or_else(|| {
                self.collections.push(name);
                self.collections.len() - 1
            });
            CollectionId(at)
        });
        let (group, version) = group_version;
        self.by_path.insert((group, version, entry.resource.clone()), self.kinds.len());
        self.kinds.push(Arc::new(Kind {
            collection: format!("{root}/{}", entry.resource),
            gvk,
            qualified,
            resource: entry.resource,
            singular: entry.singular_resource,
            namespaced: entry.scope == "Namespaced",
            verbs: entry.verbs,
            short_names: entry.short_names,
            categories: entry.categories,
            subresources,
            stored,
        }));
    }

    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), resource.to_owned())).map(|at| &self.kinds[*at])
    }

    /// A core kind that the server itself needs.
    pub(crate) fn core(&self, resource: &str) -> &Arc<Kind> {
        self.find("", "v1", resource).expect("BUG: a core kind is missing from the embedded discovery")
    }

    pub(crate) fn networking(&self, resource: &str) -> &Arc<Kind> {
        self.find("networking.k8s.io", "v1", resource).expect("BUG: a networking kind is missing from the embedded discovery")
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Names under which collections are stored, by [`CollectionId`].
    pub(crate) fn collections(&self) -> &[String] {
        &self.collections
    }
}

// === impl Kind ===

impl Kind {
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// `ServiceList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.gvk.kind)
    }

    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}
