//! A client of the Kubernetes API: lists by pages, watches that resume, and the few writes that we make.
//!
//! Owns how a kind's contents are followed over disconnects, expiry, refusals and restarts of the server. Credentials (kubeconfig, exec
//! plugins, in-cluster tokens and their rotation) and TLS are kube-client's. Must not know what any kind means.
//!
//! # The front door
//! - [`Client::connect`] finds the server by an [`Origin`].
//! - [`follow`] keeps one interest up to date: a [`Scope`] of a kind goes in, [`Event`]s come out of a bounded channel. The first event
//!   is [`Event::Restarted`] with everything, or [`Event::Absent`]; from then on each change. Contents are swapped as a whole on every later `Restarted`,
//!   which happens only when the server no longer knows where we were.
//!   [`Own`] is for kinds of which the follower wants other fields than `api` keeps.
//! - [`Freshness`] says how far contents may lag behind the server.
//! - [`Client::get`], [`Client::create`], [`Client::patch`], [`Client::record`] and [`lease::Candidate`] are the writes.

mod error;
mod event;
mod follow;
mod freshness;
pub mod lease;
mod metrics;
mod outage;
mod own;
mod request;
mod scope;
mod transport;

pub use error::Error;
pub use event::{EventType, Occurrence, Subject};
pub use follow::{Absence, Event, Key, Pace, follow};
pub use freshness::Freshness;
pub use hyper::Method;
pub use metrics::Metrics;
pub use own::{FromTree, Own};
pub use request::{Client, Endpoint, Origin, Tls};
pub use scope::Scope;
