//! The embedded Kubernetes API.

pub mod defaults;
pub mod fields;
pub mod openapi;
pub mod patch;
pub mod protobuf;
mod quantity;
pub mod schema;
pub mod selectors;
pub mod table;
#[cfg(test)]
mod testing;
pub mod validate;
mod value;
