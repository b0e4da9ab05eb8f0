//! `rutter trace`: what happens to a packet, a name or a URL, step by step, and by which object's which field.
//!
//! Reads facts and views, the same that the sinks are given; decides nothing itself. Each kind of target has a room.

pub mod packet;
pub mod target;

use std::fmt;

use model::ObjectRef;

pub use target::Target;

/// The whole answer; its last line is the outcome.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Trace {
    pub steps: Vec<Step>,
    pub outcome: String,
}

/// One thing that was decided.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Step {
    pub what: String,
    /// The object and the field that decided it; `None` where no object did (a default, a flag).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct By {
    pub object: String,
    pub field: String,
}

// === impl Trace ===

impl Trace {
    pub fn say(&mut self, what: impl Into<String>) {
        self.steps.push(Step { what: what.into(), by: None });
    }

    pub fn say_by(&mut self, what: impl Into<String>, object: &ObjectRef, field: impl Into<String>) {
        self.steps.push(Step { what: what.into(), by: Some(By { object: object.to_string(), field: field.into() }) });
    }

    #[must_use]
    pub fn end(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = outcome.into();
        self
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { what, by } in &self.steps {
            match by {
                Some(By { object, field }) => writeln!(f, "{what}  [{object}: {field}]")?,
                None => writeln!(f, "{what}")?,
            }
        }
        writeln!(f, "=> {}", self.outcome)
    }
}
