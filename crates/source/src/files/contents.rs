//! Which file gave which object.
//!
//! Files are compared document by document by their text: of a file of 50,000 objects in which one changed, one is decoded. The same
//! object in two files is the later file's, by path name. What an API server would have added, and controllers made, is added here:
//! the default IngressClass, slices for Endpoints without any.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use api::{AnyObject, Content, Endpoints, Entry};
use model::{Change, Issue, ObjectKind};
use tracing::{debug, warn};

use crate::lower::{self, Id, Interner};

#[derive(Default)]
pub(super) struct Contents {
    files: BTreeMap<PathBuf, File>,
    texts: Interner,
    /// Endpoints by namespace and name, and the slices that stand for them now.
    endpoints: BTreeMap<(Box<str>, Box<str>), Mirrored>,
    /// The slices that files hold, by the Service they belong to.
    slices: HashMap<(Box<str>, Box<str>), HashSet<Id>>,
    /// Services whose slices or Endpoints changed since the last `settle`.
    unsettled: BTreeSet<(Box<str>, Box<str>)>,
    /// The class of Ingresses that name none.
    default_class: Option<Box<str>>,
}

struct Mirrored {
    endpoints: Endpoints,
    slices: Vec<Id>,
}

#[derive(Default)]
struct File {
    /// By the hash of its text.
    documents: HashMap<u64, Document>,
    ids: HashSet<ObjectId>,
}

/// What one document gave.
#[derive(Clone, Default)]
struct Document {
    objects: Vec<Object>,
}

/// One object, with what is needed to make it again when another file's no longer hides it.
#[derive(Clone)]
struct Object {
    id: ObjectId,
    /// The object is named here but cannot be read: its last readable state stays.
    broken: Option<Issue>,
    /// Class of an IngressClass that says it is the default.
    is_default_class: bool,
    /// Lacks a class, so that the default applies.
    takes_default_class: bool,
    changes: Option<[Change; 2]>,
    of_service: Option<(Box<str>, Box<str>)>,
    endpoints: Option<Endpoints>,
}

/// Endpoints are no facts by themselves and have no [`Id`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum ObjectId {
    Fact(Id),
    Endpoints(Box<str>, Box<str>),
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

// === impl Contents ===

impl Contents {
    /// Takes up a file as it is now.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8], told: &mut Vec<Change>) {
        let mut old = self.files.remove(path).unwrap_or_default();
        let mut new = File::default();
        let mut cut_short = false;
        let mut fresh = Vec::new();
        for document in api::documents(bytes) {
            let hash = hash(document.raw());
            if let Some(known) = old.documents.remove(&hash) {
                new.documents.insert(hash, known);
                continue;
            }
            let mut decoded = Document::default();
            for entry in document.entries() {
                match self.decode(path, &entry) {
                    Decoded::Object(object) => decoded.objects.push(*object),
                    Decoded::Nothing => {}
                    Decoded::Unreadable => cut_short = true,
                }
            }
            fresh.extend(decoded.objects.iter().cloned());
            new.documents.insert(hash, decoded);
        }
        let named: HashSet<_> = new.objects().map(|object| object.id.clone()).collect();
        let mut gone: Vec<_> = old.objects().filter(|object| !named.contains(&object.id)).cloned().collect();
        if cut_short {
            // What the broken part held is not known: nothing that this file gave goes for now.
            for (hash, document) in old.documents {
                let kept: Vec<_> = document.objects.into_iter().filter(|object| !named.contains(&object.id)).collect();
                new.documents.entry(hash).or_insert(Document { objects: kept });
            }
            gone.clear();
        }
        new.ids = new.objects().map(|object| object.id.clone()).collect();
        self.files.insert(path.to_path_buf(), new);
        for object in fresh {
            self.appear(path, object, told);
        }
        for object in gone {
            self.vanish(&object, told);
        }
    }

    /// A file is gone, with all it gave.
    pub(super) fn remove(&mut self, path: &Path, told: &mut Vec<Change>) {
        let Some(file) = self.files.remove(path) else { return };
        for document in file.documents.into_values() {
            for object in document.objects {
                self.vanish(&object, told);
            }
        }
    }

    /// After a round of changes: adds what a server and its controllers would have made of them.
    pub(super) fn settle(&mut self, told: &mut Vec<Change>) {
        for service in std::mem::take(&mut self.unsettled) {
            let has_slices = self.slices.get(&service).is_some_and(|slices| !slices.is_empty());
            let Some(mirrored) = self.endpoints.get_mut(&service) else { continue };
            let wanted = if has_slices { Vec::new() } else { lower::slices_of(&mirrored.endpoints) };
            let mut made = Vec::new();
            for slice in wanted {
                let slice = AnyObject::from(slice);
                if let (Some(id), Some(lowered)) = (Id::of(&slice, &mut self.texts), lower::lower(&slice, &mut self.texts)) {
                    made.push(id);
                    told.extend([lowered.change, lowered.issues]);
                }
            }
            for old in mirrored.slices.iter().filter(|old| !made.contains(old)) {
                told.extend(old.gone());
            }
            mirrored.slices = made;
        }
        self.settle_default_class(told);
    }

    /// The admission plugin DefaultIngressClass: an Ingress without a class is given the default one.
    fn settle_default_class(&mut self, told: &mut Vec<Change>) {
        let shown = self.shown();
        // Of several the first by name; the API takes the newest, but files have no age.
        let class = shown.values().filter(|object| object.is_default_class).filter_map(|object| object.id.name()).min();
        let class: Option<Box<str>> = class.map(Into::into);
        let is_new = self.default_class != class;
        let text = class.as_deref().map(|class| self.texts.text(class));
        let told_now: HashSet<_> =
            told.iter().filter_map(|change| if let Change::Ingress(name, Some(_)) = change { Some(name.clone()) } else { None }).collect();
        for object in shown.values().filter(|object| object.takes_default_class) {
            let Some([Change::Ingress(name, Some(ingress)), _]) = &object.changes else { continue };
            if is_new || text.is_some() && told_now.contains(name) {
                let mut ingress = ingress.clone();
                ingress.class = text.clone();
                told.push(Change::Ingress(name.clone(), Some(ingress)));
            }
        }
        self.default_class = class;
    }

    /// Every object once, as the last file that has it says.
    fn shown(&self) -> HashMap<ObjectId, Object> {
        let relevant = |object: &&Object| object.is_default_class || object.takes_default_class;
        let objects = self.files.values().flat_map(File::objects).filter(relevant);
        objects.map(|object| (object.id.clone(), object.clone())).collect()
    }

    fn decode(&mut self, path: &Path, entry: &Entry) -> Decoded {
        match &entry.content {
            Content::Object(object) => self.object(object).map_or(Decoded::Nothing, |object| Decoded::Object(Box::new(object))),
            Content::Skipped => {
                debug!(path = %path.display(), place = %entry.place, kind = %entry.kind, "not a kind that is read");
                Decoded::Nothing
            }
            Content::Broken(error) => {
                warn!(path = %path.display(), place = %entry.place, %error, "left out an object of a file");
                let Some(kind) = lower::kind_of(&error.kind).filter(|_| !error.name.is_empty()) else { return Decoded::Unreadable };
                let namespace = if is_namespaced(kind) && error.namespace.is_empty() { "default" } else { &error.namespace };
                let id = Id { kind, namespace: self.texts.text(namespace), name: self.texts.text(&error.name) };
                Decoded::Object(Box::new(Object { broken: Some(lower::undecodable(error)), ..Object::of(ObjectId::Fact(id)) }))
            }
        }
    }

    fn object(&mut self, object: &AnyObject) -> Option<Object> {
        if let AnyObject::Endpoints(endpoints) = object {
            let meta = &endpoints.metadata;
            let id = ObjectId::Endpoints(meta.namespace.clone(), meta.name.clone());
            return Some(Object { endpoints: Some(Endpoints::clone(endpoints)), ..Object::of(id) });
        }
        let id = Id::of(object, &mut self.texts)?;
        let lowered = lower::lower(object, &mut self.texts)?;
        let mut found = Object { changes: Some([lowered.change, lowered.issues]), ..Object::of(ObjectId::Fact(id)) };
        match object {
            AnyObject::EndpointSlice(slice) => {
                let service = slice.metadata.labels.0.get(SERVICE_NAME);
                found.of_service = service.map(|service| (slice.metadata.namespace.clone(), service.clone()));
            }
            AnyObject::IngressClass(_) => {
                found.is_default_class = matches!(&found.changes, Some([Change::IngressClass(_, Some(class)), _]) if class.is_default);
            }
            AnyObject::Ingress(_) => {
                found.takes_default_class = matches!(
                    &found.changes,
                    Some([Change::Ingress(_, Some(ingress)), _]) if ingress.class.is_none() && ingress.class_annotation.is_none()
                );
            }
            _ => {}
        }
        Some(found)
    }

    /// A new or changed object of `path`: told, unless a later file has it too.
    fn appear(&mut self, path: &Path, object: Object, told: &mut Vec<Change>) {
        let holders = self.files.iter().filter(|(other, file)| *other != path && file.ids.contains(&object.id));
        let others: Vec<&PathBuf> = holders.map(|(path, _)| path).collect();
        if let Some(later) = others.iter().find(|other| other.as_path() > path) {
            warn!(path = %path.display(), other = %later.display(), object = %object.id, "an object stands in two files; the later one holds");
            return;
        }
        if let Some(earlier) = others.first() {
            warn!(path = %earlier.display(), other = %path.display(), object = %object.id, "an object stands in two files; the later one holds");
        }
        self.show(object, told);
    }

    /// An object is gone from one file: from the cluster too, unless another has it.
    fn vanish(&mut self, object: &Object, told: &mut Vec<Change>) {
        let holder = self.files.values().rev().find(|file| file.ids.contains(&object.id));
        if let Some(other) = holder.and_then(|file| file.objects().find(|other| other.id == object.id).cloned()) {
            return self.show(other, told);
        }
        self.note_slices(object, false);
        match &object.id {
            ObjectId::Fact(id) => told.extend(id.gone()),
            ObjectId::Endpoints(namespace, name) => {
                if let Some(mirrored) = self.endpoints.remove(&(namespace.clone(), name.clone())) {
                    told.extend(mirrored.slices.iter().flat_map(Id::gone));
                }
            }
        }
    }

    fn show(&mut self, object: Object, told: &mut Vec<Change>) {
        self.note_slices(&object, true);
        if let (ObjectId::Fact(id), Some(issue)) = (&object.id, &object.broken) {
            told.push(Change::Issues(id.object(), vec![issue.clone()]));
        }
        if let (ObjectId::Endpoints(namespace, name), Some(endpoints)) = (&object.id, object.endpoints) {
            let key = (namespace.clone(), name.clone());
            let slices = self.endpoints.remove(&key).map(|old| old.slices).unwrap_or_default();
            self.endpoints.insert(key.clone(), Mirrored { endpoints, slices });
            self.unsettled.insert(key);
        }
        told.extend(object.changes.into_iter().flatten());
    }

    /// Keeps account of which Services have slices of their own.
    fn note_slices(&mut self, object: &Object, there: bool) {
        let ObjectId::Fact(id) = &object.id else { return };
        if id.kind != ObjectKind::EndpointSlice {
            return;
        }
        let Some(service) = &object.of_service else { return };
        let slices = self.slices.entry(service.clone()).or_default();
        let changed = if there { slices.insert(id.clone()) } else { slices.remove(id) };
        if changed {
            self.unsettled.insert(service.clone());
        }
    }
}

enum Decoded {
    Object(Box<Object>),
    Nothing,
    /// Something that may have held anything.
    Unreadable,
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn is_namespaced(kind: ObjectKind) -> bool {
    !matches!(kind, ObjectKind::Node | ObjectKind::Namespace | ObjectKind::IngressClass | ObjectKind::ServiceCidr)
}

// === impl File ===

impl File {
    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.documents.values().flat_map(|document| &document.objects)
    }
}

// === impl Object ===

impl Object {
    fn of(id: ObjectId) -> Self {
        Self { id, broken: None, is_default_class: false, takes_default_class: false, changes: None, of_service: None, endpoints: None }
    }
}

impl ObjectId {
    fn name(&self) -> Option<&str> {
        match self {
            ObjectId::Fact(id) => Some(&id.name),
            ObjectId::Endpoints(..) => None,
        }
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ObjectId::Fact(id) => id.object().fmt(f),
            ObjectId::Endpoints(namespace, name) => write!(f, "Endpoints {namespace}/{name}"),
        }
    }
}
