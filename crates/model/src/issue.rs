//! Issues: what is wrong with an object, told beside the views and never instead of them.
//!
//! A bad object is not an error. What can be used of it is used, the rest becomes an issue that names the object and the field,
//! shown as an Event, a metric and in `/debug/issues`.

use std::fmt;

use rpds::RedBlackTreeMapSync;

use crate::names::{ObjectRef, Text};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// Where in the object, as a field path: `spec.ports[0].port`.
    pub field: Text,
    pub reason: Reason,
    /// One sentence for the operator, lower case, with the offending value.
    pub message: Text,
}

/// Why, in a word that an Event or a metric label can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A value that cannot be read as what the field holds (an address, a port, a regular expression).
    InvalidValue,
    /// The object could not be decoded at all.
    Undecodable,
    /// A name that leads to no object, or not to the right kind of it.
    NoSuchObject,
    /// The Service has no port of that name or number.
    NoSuchPort,
    /// An address of a family that the slice or Service does not have.
    WrongFamily,
    /// Two objects claim the same thing; the older one has it.
    Conflict,
    /// Something we know of but do not do.
    Unsupported,
    /// A kind that this cluster does not serve or does not let us read.
    NotReadable,
}

/// All issues of the moment, by object. An object without issues has no entry. Cheap to clone, like a view.
#[derive(Clone, Debug, Default)]
pub struct Issues {
    by_object: RedBlackTreeMapSync<ObjectRef, Vec<Issue>>,
}

// === impl Issue ===

impl Issue {
    pub fn new(field: impl Into<Text>, reason: Reason, message: impl Into<Text>) -> Self {
        Self { field: field.into(), reason, message: message.into() }
    }
}

// === impl Issues ===

impl Issues {
    /// Puts `issues` in place of what was known about `object`; tells whether anything changed.
    pub fn set(&mut self, object: ObjectRef, mut issues: Vec<Issue>) -> bool {
        issues.sort();
        issues.dedup();
        if issues.is_empty() {
            return self.by_object.remove_mut(&object);
        }
        if self.by_object.get(&object) == Some(&issues) {
            return false;
        }
        self.by_object.insert_mut(object, issues);
        true
    }

    pub fn of(&self, object: &ObjectRef) -> &[Issue] {
        self.by_object.get(object).map_or(&[], Vec::as_slice)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Issue)> {
        self.by_object.iter().flat_map(|(object, issues)| issues.iter().map(move |issue| (object, issue)))
    }

    pub fn is_empty(&self) -> bool {
        self.by_object.is_empty()
    }
}

// === impl Reason ===

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidValue => "InvalidValue",
            Reason::Undecodable => "Undecodable",
            Reason::NoSuchObject => "NoSuchObject",
            Reason::NoSuchPort => "NoSuchPort",
            Reason::WrongFamily => "WrongFamily",
            Reason::Conflict => "Conflict",
            Reason::Unsupported => "Unsupported",
            Reason::NotReadable => "NotReadable",
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} ({})", self.message, self.reason.as_str())
    }
}
