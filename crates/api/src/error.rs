//! What is wrong with bytes that should have been an object: which object, which field, why.

/// An object that could not be decoded. The rest of its list, file or watch is not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct DecodeError {
    /// As far as it could be read; empty when even that is broken.
    pub kind: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// The field's path as Kubernetes writes it, `spec.ports[0].port`; empty when the whole is meant.
    pub field: Box<str>,
    pub reason: Box<str>,
}

/// What is wrong at a field, before it is known whose field it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) path: String,
    pub(crate) reason: String,
}

// === impl DecodeError ===

impl DecodeError {
    pub(crate) fn new(kind: &str, namespace: &str, name: &str, fault: Fault) -> DecodeError {
        DecodeError {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            field: fault.path.into(),
            reason: fault.reason.into(),
        }
    }

    fn sentence(&self) -> String {
        let mut text = String::from(if self.kind.is_empty() { "object" } else { &*self.kind });
        if !self.name.is_empty() {
            text.push(' ');
            if !self.namespace.is_empty() {
                text.push_str(&self.namespace);
                text.push('/');
            }
            text.push_str(&self.name);
        }
        text.push_str(": ");
        if !self.field.is_empty() {
            text.push_str(&self.field);
            text.push_str(": ");
        }
        text.push_str(&self.reason);
        text
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Fault {
        Fault { path: String::new(), reason: reason.into() }
    }

    /// The same fault, seen from the message that holds `field`.
    pub(crate) fn inside(mut self, field: &str) -> Fault {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{field}{joint}{}", self.path);
        self
    }
}
