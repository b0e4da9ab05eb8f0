//! Pods on this machine: their networks, their processes, their logs, and what the API hears of them.
//!
//! Owns everything a kubelet does that Rutter does. Must not know Services, DNS or ingress, nor how the API stores anything.

pub mod env;
pub mod files;
pub mod log;
pub mod network;
pub mod probe;
pub mod shim;
pub mod spec;
pub mod status;
pub mod volumes;
