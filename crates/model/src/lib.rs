//! The model: what Rutter knows about a cluster (facts) and what it decided from that (views).
//!
//! Owns every decision about Services, Endpoints, names and routes. Pure and total: facts in, views and issues out, no error,
//! no time, no input or output. Must not know wire types, netfilter, DNS messages or HTTP: what it hands on is already decided,
//! so that no sink ever asks about readiness, hints, policies or classes again.
//!
//! ```text
//! Change -> Model { Facts } -> resolve -> NodeView (packets), NameView (names), RouteView (requests), Issues
//! ```

pub mod choose;
pub mod facts;
pub mod issue;
pub mod labels;
pub mod name;
pub mod names;
pub mod node;
pub mod options;
pub mod resolve;
pub mod route;
pub mod texts;
pub mod view;

#[cfg(test)]
mod random;
#[cfg(test)]
mod testing;

pub use facts::{Change, Facts};
pub use issue::{Issue, Issues, Reason};
pub use name::NameView;
pub use names::{Family, NodePort, ObjectKind, ObjectRef, Protocol, Revision, SecretName, ServiceName, SliceName, Text};
pub use node::NodeView;
pub use resolve::{Config, Model, Views};
pub use route::RouteView;
pub use view::{Changed, View};
