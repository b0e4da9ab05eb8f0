//! `Status`: how the API server says no.

use crate::meta::ListMeta;

message! {
    /// The answer to a request that did not succeed, and the object of a watch's ERROR event.
    pub struct Status {
        1 "metadata" metadata: ListMeta,
        2 "status" status: Box<str>,
        3 "message" message: Box<str>,
        4 "reason" reason: Box<str>,
        5 "details" details: Option<Details>,
        6 "code" code: i32,
    }

    pub struct Details {
        1 "name" name: Box<str>,
        2 "group" group: Box<str>,
        3 "kind" kind: Box<str>,
        4 "causes" causes: Vec<Cause>,
        5 "retryAfterSeconds" retry_after_seconds: i32,
    }

    pub struct Cause {
        1 "reason" reason: Box<str>,
        2 "message" message: Box<str>,
        3 "field" field: Box<str>,
    }
}

impl Status {
    /// Whether the version asked for is no longer kept: only a new list helps. The code decides; old servers say reason `Gone`.
    pub fn is_expired(&self) -> bool {
        self.code == 410 || matches!(&*self.reason, "Expired" | "Gone")
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = if self.message.is_empty() { &self.reason } else { &self.message };
        write!(f, "{} {message}", self.code)
    }
}
