//! Label and field selectors of list and watch requests, matched against what is indexed of objects.
//!
//! Owns the grammar with the API server's error texts, and which fields each kind can be selected by. Must not know storage.

mod fields;
mod index;
mod labels;
mod selectable;
#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use index::Index;
pub use labels::Labels;
pub(crate) use selectable::Selectable;
