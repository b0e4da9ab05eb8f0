//! Runtime: how a part of the process lives: readiness, draining, back-off, metrics, logs, listeners, status pages.
//!
//! Owns what every part does alike. Must not know any Kubernetes noun, nor what a part is for.

pub mod backoff;
pub mod drain;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod park;
pub mod ready;
pub mod status;
pub mod time;
pub mod tls;

pub use backoff::Backoff;
pub use drain::{Drain, Trigger};
pub use metrics::Registry;
pub use ready::{Pending, Readiness};
