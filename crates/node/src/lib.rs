//! Pods on this machine: their networks, their processes, their logs, and what the API hears of them.
//!
//! Owns everything a kubelet does that Rutter does. Must not know Services, DNS or ingress, nor how the API stores anything.

mod container;
pub mod env;
pub mod files;
mod folder;
pub mod links;
pub mod log;
pub mod network;
mod objects;
pub mod probe;
pub mod shim;
pub mod spec;
pub mod status;
pub mod volumes;
