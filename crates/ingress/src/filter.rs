//! Filters: what happens to a request's head between the match and the upstream, and to the answer's head on its way back.
//!
//! Each is a pure function over heads. Must not know connections, pools or the table.

pub(crate) mod cors;
pub(crate) mod forwarded;
pub(crate) mod hop;
pub(crate) mod limit;
pub(crate) mod redirect;
pub(crate) mod rewrite;
pub(crate) mod sources;
pub(crate) mod variables;
