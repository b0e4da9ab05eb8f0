//! Which file gave which object.
//!
//! Files are compared document by document by their text: of a file of 50,000 objects in which one changed, one is decoded. The same
//! object in two files is the later file's, by path name. A document that cannot be read never takes away what is known: if it says
//! which object it is, that object stays as it was last readable; if not, whatever the file gave before stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;

use api::{AnyObject, Content, DecodeError, Entry};
use model::resolve::Want;
use model::{Change, Issue, ObjectKind, ObjectRef, Reason};
use tracing::debug;

use super::default_class::DefaultClass;
use super::mirror::Mirror;
use crate::interests;
use crate::lower::{self, Id, Interner};

pub(super) struct Contents {
    want: Want,
    files: BTreeMap<Arc<Path>, File>,
    /// The files that have an object, by path name: the last one's holds.
    holders: HashMap<Id, Vec<Arc<Path>>>,
    texts: Interner,
    /// Keyed at random, so that no file can be written whose texts collide.
    hasher: RandomState,
    mirror: Mirror,
    default_class: DefaultClass,
}

#[derive(Default)]
struct File {
    /// By the hash of its text.
    documents: HashMap<u64, Vec<Object>>,
    /// Each object once, with the document that has it.
    objects: HashMap<Id, u64>,
    /// Objects that stand in it more than once.
    twice: BTreeSet<Id>,
    /// Documents of which something cannot be read, and nobody can say which object it is.
    broken: HashSet<u64>,
    /// What is wrong with the file itself.
    unreadable: Vec<Issue>,
}

/// One object, kept so that it is there again when another file's no longer hides it.
struct Object {
    id: Id,
    says: Says,
}

enum Says {
    Fact(Box<Change>, Vec<Issue>),
    /// The slices to mirror them by.
    Endpoints(Vec<lower::NamedSlice>, Vec<Issue>),
    /// The object is named here but cannot be read.
    Broken(Issue),
}

// === impl Contents ===

impl Contents {
    /// Takes up what views of `want` are made of and leaves the rest of each file alone.
    pub(super) fn new(want: Want) -> Self {
        Self {
            want,
            files: BTreeMap::new(),
            holders: HashMap::new(),
            texts: Interner::default(),
            hasher: RandomState::new(),
            mirror: Mirror::default(),
            default_class: DefaultClass::default(),
        }
    }

    /// Takes up a file as it is now.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8], told: &mut Vec<Change>) {
        let (path, mut old) = match self.files.remove_entry(path) {
            Some(known) => known,
            None => (path.into(), File::default()),
        };
        let mut new = File::default();
        for document in api::documents(bytes) {
            // A document's first line end belongs to the `---` before it.
            let hash = self.hasher.hash_one(document.raw().trim_start_matches(['\r', '\n']));
            if !new.documents.contains_key(&hash) {
                // What cannot be read is looked at again each time: its place may be another one by now.
                let known = old.documents.remove(&hash).filter(|_| !old.broken.contains(&hash));
                let objects = known.unwrap_or_else(|| {
                    let n_unreadable = new.unreadable.len();
                    let entries = document.entries();
                    let objects = entries.iter().filter_map(|entry| self.decode(&path, entry, &mut new.unreadable)).collect();
                    if new.unreadable.len() > n_unreadable {
                        new.broken.insert(hash);
                    }
                    objects
                });
                new.documents.insert(hash, objects);
            }
            for object in &new.documents[&hash] {
                if new.objects.insert(object.id.clone(), hash).is_some() {
                    new.twice.insert(object.id.clone());
                }
            }
        }
        if !new.unreadable.is_empty() {
            for (id, hash) in &old.objects {
                if !new.objects.contains_key(id) {
                    new.objects.insert(id.clone(), *hash);
                    if let Some(document) = old.documents.remove(hash) {
                        new.documents.insert(*hash, document);
                    }
                }
            }
        }
        self.replace(path, &old, new, told);
    }

    /// A file is gone, with all it gave.
    pub(super) fn remove(&mut self, path: &Path, told: &mut Vec<Change>) {
        if let Some((path, old)) = self.files.remove_entry(path) {
            self.replace(path, &old, File::default(), told);
        }
    }

    /// A file is there and cannot be read: it keeps what it gave.
    pub(super) fn refuse(&mut self, path: &Path, error: &std::io::Error, told: &mut Vec<Change>) {
        let issue = Issue::new("", Reason::Undecodable, format!("cannot be read: {error}; what it gave before stays"));
        match self.files.get_mut(path) {
            Some(file) => file.unreadable = vec![issue.clone()],
            None => {
                let unreadable = vec![issue.clone()];
                self.files.insert(path.into(), File { unreadable, ..File::default() });
            }
        }
        told.push(Change::Issues(file_object(path), vec![issue]));
    }

    /// After a round of changes: adds what a server and its controllers would have made of them.
    pub(super) fn settle(&mut self, told: &mut Vec<Change>) {
        self.mirror.settle(told);
        self.default_class.settle(told);
    }

    fn replace(&mut self, path: Arc<Path>, old: &File, new: File, told: &mut Vec<Change>) {
        let changed = |(id, hash): (&Id, &u64)| {
            let is_new = old.objects.get(id) != Some(hash) || old.twice.contains(id) != new.twice.contains(id);
            is_new.then(|| id.clone())
        };
        let mut touched: BTreeSet<Id> = new.objects.iter().filter_map(changed).collect();
        for id in &touched {
            let holders = self.holders.entry(id.clone()).or_default();
            if let Err(at) = holders.binary_search(&path) {
                holders.insert(at, path.clone());
            }
        }
        for id in old.objects.keys().filter(|id| !new.objects.contains_key(*id)) {
            if let Some(holders) = self.holders.get_mut(id) {
                holders.retain(|holder| *holder != path);
                if holders.is_empty() {
                    self.holders.remove(id);
                }
            }
            touched.insert(id.clone());
        }
        if old.unreadable != new.unreadable {
            told.push(Change::Issues(file_object(&path), new.unreadable.clone()));
        }
        if !(new.objects.is_empty() && new.unreadable.is_empty()) {
            self.files.insert(path, new);
        }
        for id in &touched {
            self.show(id, told);
        }
    }

    /// Tells an object as the last file that has it says, or that it is gone.
    fn show(&mut self, id: &Id, told: &mut Vec<Change>) {
        let holders = self.holders.get(id).map_or(&[][..], Vec::as_slice);
        let Some((path, others)) = holders.split_last() else {
            match id.kind {
                ObjectKind::Endpoints => self.mirror.endpoints(id.service(), Vec::new()),
                ObjectKind::EndpointSlice => self.mirror.slice(id.slice(), None),
                ObjectKind::Ingress => self.default_class.ingress_gone(&id.ingress()),
                ObjectKind::IngressClass => self.default_class.class(&id.name, false),
                _ => {}
            }
            told.extend(id.gone());
            return;
        };
        let Some(file) = self.files.get(path) else { return };
        let Some(object) = file.object(id) else { return };
        let mut issues: Vec<_> = conflict(path, others, file.twice.contains(id)).into_iter().collect();
        match &object.says {
            Says::Broken(issue) => issues.push(issue.clone()),
            Says::Endpoints(slices, wrong) => {
                issues.extend_from_slice(wrong);
                self.mirror.endpoints(id.service(), slices.clone());
            }
            Says::Fact(fact, wrong) => {
                issues.extend_from_slice(wrong);
                match &**fact {
                    Change::Slice(name, slice) => self.mirror.slice(name.clone(), slice.as_ref().map(|slice| &slice.service)),
                    Change::IngressClass(name, Some(class)) => self.default_class.class(name, class.is_default),
                    Change::Ingress(name, Some(ingress)) => self.default_class.ingress(name, ingress),
                    _ => {}
                }
                told.push(Change::clone(fact));
            }
        }
        told.push(Change::Issues(id.object(), issues));
    }

    /// One entry of a document; `None` if it holds nothing for us, or nobody can say what.
    fn decode(&mut self, path: &Path, entry: &Entry, unreadable: &mut Vec<Issue>) -> Option<Object> {
        match &entry.content {
            Content::Object(object) => {
                let id = Id::of(object, &mut self.texts).filter(|id| interests::reads(self.want, id.kind))?;
                let says = match object {
                    AnyObject::Endpoints(endpoints) => {
                        let (slices, issues) = lower::endpoints(endpoints, &mut self.texts);
                        Says::Endpoints(slices, issues)
                    }
                    object => {
                        let lowered = lower::lower(object, &mut self.texts)?;
                        Says::Fact(Box::new(lowered.fact), lowered.issues)
                    }
                };
                Some(Object { id, says })
            }
            Content::Skipped => {
                debug!(path = %path.display(), place = %entry.place, kind = %entry.kind, "not a kind that is read");
                None
            }
            Content::Broken(error) => {
                let Some(id) = self.id_of(error) else {
                    unreadable.push(nobody_knows(entry, error));
                    return None;
                };
                let message = format!("{} ({}, {}); as it was last readable, the object stays", error.reason, path.display(), entry.place);
                let says = Says::Broken(Issue::new(&*error.field, Reason::Undecodable, message));
                interests::reads(self.want, id.kind).then_some(Object { id, says })
            }
        }
    }

    /// Which object it is that cannot be read, where it says so.
    fn id_of(&mut self, error: &DecodeError) -> Option<Id> {
        let kind = lower::kind_of(&error.kind).filter(|_| !error.name.is_empty())?;
        let wire = AnyObject::KINDS.iter().find(|known| known.kind == &*error.kind)?;
        let namespace = match &*error.namespace {
            "" if wire.namespaced => "default",
            namespace => namespace,
        };
        Some(Id { kind, namespace: self.texts.text(namespace), name: self.texts.text(&error.name) })
    }
}

/// What is wrong with the file itself is told of it, not of any object.
pub(super) fn file_object(path: &Path) -> ObjectRef {
    ObjectRef { kind: ObjectKind::File, namespace: "".into(), name: path.to_string_lossy().into() }
}

fn nobody_knows(entry: &Entry, error: &DecodeError) -> Issue {
    let field = match &*error.field {
        "" => entry.place.to_string(),
        field => format!("{}, {field}", entry.place),
    };
    let what = if error.kind.is_empty() { String::new() } else { format!("{}: ", error.kind) };
    Issue::new(field, Reason::Undecodable, format!("{what}{}; what the file gave before stays", error.reason))
}

fn conflict(path: &Path, others: &[Arc<Path>], twice: bool) -> Option<Issue> {
    let message = match others {
        [] if twice => format!("stands more than once in {}; the last one holds", path.display()),
        [] => return None,
        others => {
            let others: Vec<_> = others.iter().map(|other| other.to_string_lossy()).collect();
            format!("stands in {} as well; {} holds, since its path comes last", others.join(" and "), path.display())
        }
    };
    Some(Issue::new("metadata.name", Reason::Conflict, message))
}

// === impl File ===

impl File {
    fn object(&self, id: &Id) -> Option<&Object> {
        let document = self.documents.get(self.objects.get(id)?)?;
        document.iter().rev().find(|object| object.id == *id)
    }
}

#[cfg(test)]
mod tests;
