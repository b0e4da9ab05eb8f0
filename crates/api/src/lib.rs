//! The Kubernetes wire as we read it: slim kinds, their metadata, `Status`, selectors, lists, watch events, and files of objects.
//!
//! Owns how bytes become kinds (JSON, protobuf, YAML) and what the API server would have filled in. Hands on kinds whose fields still
//! are what the wire says: an address is a string, a port any `i32`. Must not know HTTP, storage, or what a Service is for.
//!
//! # The front door
//! - [`Object`]: what every kind has: its [`Kind`], its [`ObjectMeta`], its decoders, its defaults.
//! - [`List`] and [`watch::Event`]: what a list or watch answers, decoded item by item, so that one broken object loses no other.
//! - [`documents`]: what a file holds, as texts that can be compared before they are decoded into [`AnyObject`]s.
//! - [`Selector`]: label selectors, from their string form or from a [`selector::LabelSelector`].
//!
//! # Conventions of the kinds
//! Fields that Go holds by value are plain and zero when unset (`""`, `0`, `false`); fields that Go holds by pointer are `Option`s.
//! Only fields that somebody reads exist. Unknown fields are skipped, as Kubernetes clients do.

#[macro_use]
mod protobuf;

pub mod coordination;
pub mod core;
mod defaults;
pub mod discovery;
mod error;
mod file;
mod json;
mod kind;
mod list;
pub mod meta;
pub mod multicluster;
pub mod networking;
pub mod selector;
mod status;
mod value;
pub mod watch;

pub use coordination::Lease;
pub use core::{ConfigMap, Endpoints, Namespace, Node, Pod, Secret, Service};
pub use discovery::EndpointSlice;
pub use error::DecodeError;
pub use file::{Content, Document, Entry, documents};
pub use kind::{AnyObject, Encoding, Kind, Object};
pub use list::List;
pub use meta::{ListMeta, ObjectMeta, OwnerReference};
pub use multicluster::ServiceImport;
pub use networking::{Ingress, IngressClass, ServiceCidr};
pub use selector::Selector;
pub use status::{Cause, Details, Status};
pub use value::{Bytes, IntOrString, Map, Time};
