//! The subcommands, one room each: a room has its flags, and turns them into a running thing.

pub mod agent;
mod api_flags;
pub mod apiserver;
pub mod backup;
pub mod cleanup;
pub mod controllers;
pub mod coredns;
pub mod dns;
mod go_flags;
pub mod ingress;
pub mod kube_proxy;
pub mod node_cache;
pub mod objects;
pub mod proxy;
pub mod render;
pub mod restore;
pub mod shim;
pub mod trace;
pub mod up;
pub mod version;
